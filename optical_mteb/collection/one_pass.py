"""One pass per corpus: subsets of a task that share their documents have a model read them once.

MTEB evaluates subset by subset, and has a model encode or index the documents for each. Here it is given the model in a
form that remembers. An encoder keeps the vectors of documents, and of queries, that another subset has, too. A model that does
its own search (BM25, an index) gets the queries of all such subsets at once, and its answers are handed out subset by
subset. Scores, predictions and records stay MTEB's own; those of late interaction do to 1e-5, as MaxSim is computed here.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol, SearchProtocol
from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper
from mteb.types import PromptType

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.model_meta import ModelMeta
    from mteb.models.models_protocols import MTEBModels
    from mteb.types import (
        Array,
        BatchedInput,
        CorpusDatasetType,
        QueryDatasetType,
        RetrievalOutputType,
        TopRankedDocumentsType,
    )
    from torch import Tensor
    from torch.utils.data import DataLoader

Part = Literal["corpus", "queries"]

LARGEST = 50_000
"""Texts of the largest corpus that is read once. MTEB holds the vectors of so many at a time, so no memory is added."""

PRODUCTS = 1 << 22
"""Inner products of token vectors that are in memory together, of 4 bytes each."""

HITS = 4_000_000
"""Documents, over all queries, that one search of a `SearchProtocol` may find; about 200 bytes each."""


class OnePass:
    """The evaluation of one model on one split of a task, whose subsets come one after the other."""

    def __init__(self, model: MTEBModels, split: str, data: Callable[[], Mapping[str, RetrievalSplitData]]) -> None:
        """Begin.

        Args:
            model: Any that MTEB takes. Cross-encoders read pairs, so there is nothing to share.
            split: The split.
            data: Gives the split's data by subset; called when the model first reads, after the task has loaded them.
        """
        self._given, self._split, self._read = model, split, data
        self._subset = ""
        self._done: set[str] = set()
        self._kept: dict[bytes, dict[Hashable, Any]] = {}
        self._model = self._remembering(model)

    @contextmanager
    def over(self, subset: str) -> Iterator[MTEBModels]:
        """What to evaluate on a subset in place of the model; afterwards, texts that no other one has are forgotten."""
        self._subset = subset
        yield self._model
        self._done.add(subset)
        needed = {texts for (subset, _), texts in self._digests.items() if subset not in self._done}
        self._kept = {texts: kept for texts, kept in self._kept.items() if texts in needed}

    @property
    def ended(self) -> bool:
        """Whether every subset is done."""
        return self._done >= self.data.keys()

    def serves(self, model: MTEBModels, split: str, subset: str) -> bool:
        """Whether a subset belongs to this pass: the same model and split, and not evaluated in it yet."""
        return model is self._given and split == self._split and subset not in self._done

    def sharing(self, part: Part = "corpus") -> list[str]:
        """The subset and those to come with the same documents, or the same queries."""
        texts = self._digests.get((self._subset, part))
        if texts is None:
            return [self._subset]
        return [subset for (subset, _), found in self._digests.items() if found == texts and subset not in self._done]

    @cached_property
    def data(self) -> Mapping[str, RetrievalSplitData]:
        """The split's data by subset."""
        return self._read()

    @cached_property
    def _digests(self) -> dict[tuple[str, Part], bytes]:
        """A digest of the documents and of the queries by subset; none where there is nothing to share."""
        if len(self.data) < 2:
            return {}
        return {
            (subset, part): part.encode() + digest(texts)
            for subset, split in self.data.items()
            for part, texts in texts_of(split).items()
            if len(texts) <= LARGEST
        }

    def size(self, part: Part = "corpus") -> int:
        """How many documents, or queries, the subset has."""
        return len(texts_of(self.data[self._subset])[part])

    def once(self, key: Hashable, encode: Callable[[], Any], part: Part = "corpus") -> Any:  # noqa: ANN401 - any model's
        """What a model gives for documents or queries, or what it gave for another subset with the same ones.

        Args:
            key: Tells what is encoded, and how.
            encode: Has the model encode it.
            part: Whether documents or queries are encoded.
        """
        texts = self._digests.get((self._subset, part))
        if texts is None:
            return encode()
        kept = self._kept.setdefault(texts, {})
        if key in kept:
            return kept[key]
        found = encode()
        if len(self.sharing(part)) > 1:
            kept[key] = found
        return found

    def _remembering(self, model: MTEBModels) -> MTEBModels:
        if isinstance(model, EncoderProtocol) and not isinstance(model, SearchProtocol):
            return _OnceEncoder(model, self)
        if isinstance(model, CrossEncoderProtocol):
            return model
        if isinstance(model, MultiVectorWrapper):
            return _late_interaction(model, self)
        return _JointSearch(model, self)


class _OnceEncoder:
    """mteb's `EncoderProtocol`: a model whose vectors of documents and queries are kept for other subsets."""

    def __init__(self, model: EncoderProtocol, one_pass: OnePass) -> None:
        self._model, self._pass = model, one_pass
        self.mteb_model_meta: ModelMeta = model.mteb_model_meta
        self.similarity = model.similarity
        self.similarity_pairwise = model.similarity_pairwise

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        prompt_type: PromptType | None = None,
        **kwargs: Any,  # noqa: ANN401 - mteb's protocol
    ) -> Array:
        """The model's vectors."""

        def encode() -> Array:
            return self._model.encode(inputs, prompt_type=prompt_type, **kwargs)

        part: Part = "corpus" if prompt_type == PromptType.document else "queries"
        # A part of a corpus is not kept: which one it is cannot be told.
        if prompt_type is None or len(inputs.dataset) != self._pass.size(part):  # type: ignore[arg-type]
            return encode()
        of_encoding = {name: value for name, value in kwargs.items() if name not in ("task_metadata", "hf_subset")}
        vectors: Array = self._pass.once(repr(sorted(of_encoding.items())), encode, part)
        return vectors


def _late_interaction(model: MultiVectorWrapper, one_pass: OnePass) -> MultiVectorWrapper:
    """A late-interaction model whose token vectors of documents are kept, batch by batch, for other subsets."""
    inner = copy.copy(model.model)

    def encode_document(texts: Sequence[str], **kwargs: Any) -> list[Any]:  # noqa: ANN401 - as sentence-transformers'
        digest = hashlib.sha256(repr((list(texts), sorted(kwargs.items()))).encode()).digest()
        batch: list[Any] = one_pass.once(digest, lambda: model.model.encode_document(texts, **kwargs))
        return batch

    def similarity(queries: Sequence[Array], documents: Sequence[Array]) -> Array:
        scores = maxsim(queries, documents) if inner.device.type == "cpu" else None
        return model.similarity(queries, documents) if scores is None else scores  # type: ignore[arg-type]

    vars(inner)["encode_document"] = encode_document
    once = copy.copy(model)
    once.model = inner
    vars(once)["similarity"] = similarity
    return once


def maxsim(queries: Sequence[Array], documents: Sequence[Array]) -> Tensor | None:
    """MaxSim of all pairs by few products of many rows, without padding.

    Khattab and Zaharia, SIGIR 2020, section 3.3.

    Args:
        queries: [rows, width] each.
        documents: [rows, width] each.

    Returns:
        Scores, [queries, documents]; None if a text has no row, or if these are no lists of texts: MTEB judges them.
    """
    import torch

    asked, held = ([torch.as_tensor(text, dtype=torch.float32) for text in texts] for texts in (queries, documents))
    if any(text.ndim != 2 for text in (*asked, *held)):
        return None
    widths, lengths = [len(text) for text in asked], [len(text) for text in held]
    if not (widths and lengths and all(widths + lengths)):
        return None
    rows, step = torch.cat(asked).T.contiguous(), max(1, PRODUCTS // (sum(widths) * max(lengths)))
    scores = torch.empty(len(asked), len(held))
    for first in range(0, len(held), step):
        block = slice(first, first + step)
        products = torch.split(torch.cat(held[block]) @ rows, lengths[block])
        best = torch.split(torch.stack([each.amax(0) for each in products]), widths, dim=1)
        scores[:, block] = torch.stack([each.sum(1) for each in best])
    return scores


class _JointSearch:
    """mteb's `SearchProtocol`: a model that is asked the queries of several subsets in one search."""

    def __init__(self, model: SearchProtocol, one_pass: OnePass) -> None:
        self._model, self._pass = model, one_pass
        self.mteb_model_meta: ModelMeta = model.mteb_model_meta
        self._answers: dict[str, RetrievalOutputType] = {}

    def index(self, corpus: CorpusDatasetType, *, hf_subset: str, **kwargs: Any) -> None:  # noqa: ANN401 - mteb's
        """Have the model index documents, unless the answers are there."""
        if hf_subset not in self._answers:
            self._model.index(corpus, hf_subset=hf_subset, **kwargs)

    def search(
        self,
        queries: QueryDatasetType,
        *,
        task_metadata: TaskMetadata,
        hf_subset: str,
        top_k: int,
        top_ranked: TopRankedDocumentsType | None = None,
        **kwargs: Any,  # noqa: ANN401 - mteb's protocol
    ) -> RetrievalOutputType:
        """The answers to the queries of one subset."""
        if hf_subset not in self._answers:
            subsets = [hf_subset] if top_ranked is not None else self._together(task_metadata, hf_subset, top_k)
            asked = {subset: queries if subset == hf_subset else self._queries(subset) for subset in subsets}
            joint = _joined(asked) if len(asked) > 1 else queries
            found = self._model.search(
                joint,
                task_metadata=task_metadata,
                hf_subset=hf_subset,
                top_k=top_k,
                top_ranked=top_ranked,
                **kwargs,
            )
            if len(asked) == 1:
                return found
            self._answers |= {
                subset: {query: found[_joint_id(subset, query)] for query in each["id"]}
                for subset, each in asked.items()
            }
        answers = self._answers.pop(hf_subset)
        return {query: answers[query] for query in queries["id"]}

    def _together(self, task: TaskMetadata, subset: str, top_k: int) -> list[str]:
        """The subset and others that can be searched with it: alike for the model, and few enough for the memory."""
        like = self._kind(task, subset)
        chosen, hits = [subset], self._hits(subset, top_k)
        for other in self._pass.sharing():
            more = self._hits(other, top_k)
            if other not in {subset, *self._answers} and self._kind(task, other) == like and hits + more <= HITS:
                chosen.append(other)
                hits += more
        return chosen

    def _kind(self, task: TaskMetadata, subset: str) -> tuple[object, ...]:
        """What a search depends on: the language where there is one alone, by which BM25 reads; and what queries have."""
        languages = {tag.partition("-")[0] for tag in task.hf_subsets_to_langscripts[subset]}
        pre_ranked = self._pass.data[subset]["top_ranked"] is not None
        return (languages if len(languages) == 1 else None, pre_ranked, self._queries(subset).features)

    def _hits(self, subset: str, top_k: int) -> int:
        return len(self._queries(subset)) * min(top_k, self._pass.size())

    def _queries(self, subset: str) -> QueryDatasetType:
        return self._pass.data[subset]["queries"]


def _joint_id(subset: str, query: str) -> str:
    return f"{subset}/{query}"


def _joined(queries: Mapping[str, Dataset]) -> Dataset:
    from datasets import concatenate_datasets

    renamed = []
    for subset, each in queries.items():
        ids = [_joint_id(subset, query) for query in each["id"]]
        renamed.append(each.remove_columns("id").add_column("id", ids))
    return concatenate_datasets(renamed)


def texts_of(data: RetrievalSplitData) -> dict[Part, Dataset]:
    """The documents and the queries of a split."""
    return {"corpus": data["corpus"], "queries": data["queries"]}


def digest(texts: Dataset) -> bytes:
    """SHA-256 of documents or queries, by everything that they have."""
    found = hashlib.sha256(repr(texts.column_names).encode())
    for batch in texts.iter(1000):
        found.update(repr(batch).encode())
    return found.digest()
