"""Translate-then-retrieve: a machine translation model in front of an English retriever, as a model of MTEB's."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from typing import TYPE_CHECKING

from datasets import Dataset
from mteb.models.model_meta import ModelMeta, ScoringFunction
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer
from torch.utils.data import DataLoader

from optical_mteb.bases import base_revision
from optical_mteb.storage import expanded
from optical_mteb.study.translator import ENGLISH, Translator

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.types import Array, BatchedInput, EncodeKwargs
    from typing_extensions import Unpack

logger = logging.getLogger(__name__)

CORPUS_FIRST = ("BelebeleRetrieval", "MLQARetrieval")
"""Tasks whose subsets name the documents' language first; all others name the queries' first, as in `swh-eng`."""


class TranslateThenRetrieve(SentenceTransformerEncoderWrapper):
    """An English retriever that reads queries of other languages in machine translation.

    Queries and documents are told apart by MTEB's prompt type; what is neither, as in bitext mining, is not translated.
    The language of a query is the first one of its subset, that of a document the last; see `CORPUS_FIRST`.
    """

    def __init__(self, translator: Translator, retriever: SentenceTransformer, *, retriever_name: str) -> None:
        """Put a translator in front of a retriever of English, which was loaded from the spec `retriever_name`."""
        super().__init__(retriever)
        self.translator = translator
        self.mteb_model_meta = _meta(translator, retriever, retriever_name)
        self._left_as_they_are: set[tuple[str, str]] = set()

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Unpack[EncodeKwargs],
    ) -> Array:
        """Embed texts, queries of other languages by their translation; arguments as in MTEB's wrapper.

        Raises:
            InputError: The translator does not know the language.
        """
        language = self._language(task_metadata, hf_subset, prompt_type)
        if language is not None:
            texts = [text for batch in inputs for text in batch["text"]]
            english = Dataset.from_dict({"text": self.translator.translate(texts, language)})
            inputs = DataLoader(english, batch_size=inputs.batch_size or 1)
        return super().encode(
            inputs,
            task_metadata=task_metadata,
            hf_split=hf_split,
            hf_subset=hf_subset,
            prompt_type=prompt_type,
            **kwargs,
        )

    def _language(self, task: TaskMetadata, subset: str, prompt_type: PromptType | None) -> str | None:
        """Language to translate from, or None to leave the texts as they are."""
        if prompt_type == PromptType.query:
            return needs_translation(task, subset)
        _, documents = subset_languages(task, subset)
        told = (task.name, subset) in self._left_as_they_are
        if prompt_type == PromptType.document and not _is_english(documents) and not told:
            self._left_as_they_are.add((task.name, subset))
            logger.warning("%s %s: documents are in %s and not translated", task.name, subset, documents)
        return None


def subset_languages(task: TaskMetadata, subset: str) -> tuple[str | None, str | None]:
    """Language-script tags of a subset's queries and documents; None where the task does not say."""
    tags = task.hf_subsets_to_langscripts.get(subset)
    if not tags:
        return None, None
    return (tags[-1], tags[0]) if task.name in CORPUS_FIRST else (tags[0], tags[-1])


def needs_translation(task: TaskMetadata, subset: str) -> str | None:
    """Language-script tag of a subset's queries where it is not English."""
    queries, _ = subset_languages(task, subset)
    return None if _is_english(queries) else queries


def encoder_revision(model: SentenceTransformer) -> str:
    """What tells an encoder from others: `base_revision`, and a hash of the prompts that it has now."""
    prompts = json.dumps(model.prompts, sort_keys=True)
    return f"{base_revision(model)}-{hashlib.sha256(prompts.encode()).hexdigest()[:8]}"


def path_name(spec: str) -> str:
    """A spec as one part of a model's name: the folder's name, or the id without what a path does not take."""
    folder = expanded(spec)
    return re.sub(r"[^\w.-]+", "__", folder.resolve().name if folder.is_dir() else spec)


def _meta(translator: Translator, retriever: SentenceTransformer, retriever_name: str) -> ModelMeta:
    revision, _, prompts = encoder_revision(retriever).rpartition("-")
    # All that a score depends on, so that MTEB's cache never takes one for another.
    parts = [translator.revision[:12], revision[:12], prompts]
    parts += [f"beams{translator.num_beams}", f"tokens{translator.max_tokens}"]
    parameters = sum(p.numel() for model in (translator.model, retriever) for p in model.parameters())
    return ModelMeta.create_empty(
        overwrites={
            "name": f"translate/{path_name(translator.name)}__{path_name(retriever_name)}",
            "revision": "-".join(parts).replace("/", "_"),
            "n_parameters": parameters,
            "memory_usage_mb": round(parameters * 4 / 2**20),
            "max_tokens": retriever.max_seq_length,
            "embed_dim": retriever.get_embedding_dimension(),
            "similarity_fn_name": ScoringFunction.from_str(retriever.similarity_fn_name),
            "open_weights": True,
            "framework": ["Sentence Transformers", "PyTorch", "Transformers", "safetensors"],
            "use_instructions": any(retriever.prompts.values()),
            "model_type": ["dense"],
        }
    )


def _is_english(tag: str | None) -> bool:
    return tag is None or tag.split("-")[0] == ENGLISH.split("-")[0]
