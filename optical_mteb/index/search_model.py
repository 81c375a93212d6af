"""A model as MTEB evaluates it, with its documents in the store and its searches through an index."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, cast

from mteb.models.abs_encoder import get_prompt
from mteb.models.model_meta import ModelMeta
from mteb.models.models_protocols import EncoderProtocol, SearchProtocol
from mteb.models.search_wrappers import SearchEncoderWrapper
from mteb.models.sentence_transformer_wrapper import (
    MultiVectorWrapper,
    SentenceTransformerEncoderWrapper,
    SparseEncoderWrapper,
)
from mteb.types import PromptType

from optical_mteb.bases import base_revision
from optical_mteb.errors import InputError
from optical_mteb.index.backend import FaissBackend, metric_of
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.encoder import Encoder
from optical_mteb.index.manifest import ModelRecord
from optical_mteb.index.rows import ONE_ROW, Rows, comparable
from optical_mteb.index.stored_corpus import EXACT, StoredCorpus
from optical_mteb.mteb_compat import model_registry, model_renames, mteb_version, token_embeddings
from optical_mteb.storage import indexes_folder

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.models_protocols import MTEBModels
    from mteb.types import Array, BatchedInput, CorpusDatasetType, EncodeKwargs
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch.utils.data import DataLoader

    from optical_mteb.index.assembly import BuildSettings

NOT_OF_VECTORS = ("batch_size", "show_progress_bar")
"""Arguments of encoding that change no vector."""


class IndexedModel(SearchEncoderWrapper):
    """mteb's wrapper for search by an encoder, which looks for the documents in the store before it encodes them.

    Attributes:
        model: The model.
        mteb_model_meta: Its metadata, with the index among the experiment's settings.
    """

    def __init__(self, model: EncoderProtocol, settings: BuildSettings) -> None:
        """Wrap a model; `settings` as for `FaissBackend`.

        Raises:
            InputError: The model has no revision by which its vectors could be known again.
        """
        backend = FaissBackend(settings)
        super().__init__(model, index_backend=backend)
        self._backend = backend
        meta = model.mteb_model_meta
        self._own_settings = dict(meta.experiment_kwargs or {})
        # By these mteb keeps scores of an index apart from exact ones, and from those of other indexes.
        kept_apart = self._own_settings | {"index": settings.spec}
        if settings.spec != EXACT:
            kept_apart["recall"] = settings.recall
        self.mteb_model_meta = meta.model_copy(update={"experiment_kwargs": kept_apart})
        self._revision = _revision(model)

    def index(
        self,
        corpus: CorpusDatasetType,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: EncodeKwargs,
        num_proc: int | None = None,
        **kwargs: Any,  # noqa: ANN401 - mteb's protocol
    ) -> None:
        """Encode the documents of a task that are not in the store, as mteb's protocol has it.

        Raises:
            InputError: The index cannot be built over so few documents, one of them has no text or shares its id, or the
                model does not compare by the angle.
        """
        documents = Corpus(f"{task_metadata.name}/{hf_subset}/{hf_split}", corpus)
        stored = self._stored(documents, task_metadata, encode_kwargs)
        stored.settings.check(len(documents), None)

        def encode(start: int, stop: int) -> tuple[list[str], Rows]:
            # mteb's own method encodes a part of the corpus and adds it to the backend.
            super(IndexedModel, self).index(
                corpus.select(range(start, stop)),
                task_metadata=task_metadata,
                hf_split=hf_split,
                hf_subset=hf_subset,
                encode_kwargs=encode_kwargs,
                num_proc=num_proc,
                **kwargs,
            )
            ids, rows = self._backend.added()
            metric_of(rows, self.model.similarity, late=stored.late)
            return ids, comparable(rows, ids, late=stored.late, model=documents.source)

        stored.fill(encode)
        # All that searching by a backend needs of it; a column of a data set would be read anew for every hit.
        self.task_corpus = cast("CorpusDatasetType", {"id": list(corpus["id"])})
        self._backend.use(stored)

    def _stored(self, documents: Corpus, task: TaskMetadata, encode_kwargs: EncodeKwargs) -> StoredCorpus:
        """The place of documents in the store, by their text and whatever else their vectors depend on."""
        name, settings = self.mteb_model_meta.name or "model", self._backend.settings
        model = ModelRecord(name=name, revision=self._revision)
        inner, metric = _sentence_transformer(self.model), ONE_ROW
        if inner is not None:
            encoder = Encoder.of(inner, name=name, revision=self._revision).for_task(task)
            model, metric = encoder.record, encoder.metric
        depends_on = {
            "model": model.model_dump(),
            "settings": self._own_settings,
            "encode": {key: value for key, value in encode_kwargs.items() if key not in NOT_OF_VECTORS},
            "task": _read_as(self.model, task),
            "fingerprint": documents.fingerprint,
            "shard_size": settings.shard_size,
            # Its wrappers hold the prompts of many models.
            "mteb": mteb_version(),
        }
        digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True, default=repr).encode()).hexdigest()
        place = indexes_folder() / _file_name(name) / f"{documents.fingerprint[:16]}-{digest[:16]}"
        return StoredCorpus(place, documents.record, model, settings, metric)


class LateInteraction:
    """mteb's wrapper of a late-interaction model as an `EncoderProtocol`: by itself it only searches all documents."""

    def __init__(self, wrapper: MultiVectorWrapper) -> None:
        self._wrapper, self.model, self.mteb_model_meta = wrapper, wrapper.model, wrapper.mteb_model_meta
        self.model_prompts = wrapper.model_prompts
        self.similarity, self.similarity_pairwise = wrapper.similarity, wrapper.similarity_pairwise

    def encode(self, inputs: DataLoader[BatchedInput], **kwargs: Any) -> Array:  # noqa: ANN401 - mteb's protocol
        """The token vectors of texts, [tokens, width] each."""
        return token_embeddings(self._wrapper, inputs, **kwargs)


def indexed(
    model: MTEBModels | ModelMeta | SentenceTransformer | MultiVectorEncoder, settings: BuildSettings
) -> IndexedModel:
    """A model that `mteb.evaluate` takes, with its searches through an index; it is loaded where it is metadata.

    Raises:
        InputError: The model does not give one vector a text or a token, or has no revision.
    """
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    if isinstance(model, IndexedModel):
        return model
    if isinstance(model, ModelMeta):
        if not {"dense", "late-interaction"} & set(model.model_type):
            raise _no_vectors(model, ", ".join(model.model_type))
        model = model.load_model()
    elif isinstance(model, SentenceTransformer):
        model = SentenceTransformerEncoderWrapper(model)
    elif isinstance(model, MultiVectorEncoder):
        model = MultiVectorWrapper(model)
    if isinstance(model, MultiVectorWrapper):
        return IndexedModel(cast("EncoderProtocol", LateInteraction(model)), settings)
    if isinstance(model, EncoderProtocol) and not isinstance(model, SearchProtocol | SparseEncoderWrapper):
        return IndexedModel(model, settings)
    meta = getattr(model, "mteb_model_meta", None)
    raise _no_vectors(meta, ", ".join(meta.model_type) if meta else type(model).__name__)


def _no_vectors(meta: ModelMeta | None, found: str) -> InputError:
    return InputError(
        f"model {(meta and meta.name) or found}: does not give one vector a text or a token (found: {found}), which an "
        "index needs; leave --index and OPTICAL_MTEB_INDEX out, or use a dense model, or one of late interaction"
    )


def _revision(model: EncoderProtocol) -> str:
    """What a model's vectors are known again by: the registered revision, else the Hub commit or a hash of the weights."""
    meta = model.mteb_model_meta
    registered = model_registry().get(model_renames().get(meta.name or "", meta.name or ""))
    if registered is not None and meta.revision and registered.revision == meta.revision:
        return meta.revision
    dense = _sentence_transformer(model)
    if dense is None:
        raise InputError(
            f"model {meta.name}: has no revision in MTEB's registry by which its vectors could be known again; "
            "leave --index out, or register the model"
        )
    return base_revision(dense)


def _sentence_transformer(model: EncoderProtocol) -> SentenceTransformer | MultiVectorEncoder | None:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    inner = getattr(model, "model", None)
    return inner if isinstance(inner, SentenceTransformer | MultiVectorEncoder) else None


def _read_as(model: EncoderProtocol, task: TaskMetadata) -> tuple[str, str | None]:
    """What a task changes in vectors of documents: its kind, and the prompt; its name where MTEB does not pick the prompt."""
    if isinstance(model, SentenceTransformerEncoderWrapper | LateInteraction):
        return str(task.type), get_prompt(model.model_prompts or {}, task, PromptType.document)
    return str(task.type), task.name


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name.replace("/", "__"))
