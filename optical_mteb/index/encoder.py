"""The model of an index: loaded as MTEB loads it, with the prompts that MTEB gives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from optical_mteb.bases import base_revision, load_as_saved
from optical_mteb.errors import InputError, reason_of
from optical_mteb.index.manifest import ModelRecord
from optical_mteb.index.rows import ONE_ROW, Metric, Rows
from optical_mteb.mteb_compat import model_registry, model_renames
from optical_mteb.storage import expanded

if TYPE_CHECKING:
    import torch
    from mteb.abstasks.task_metadata import TaskMetadata
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    from optical_mteb.index.encoding import EncodedTexts

DOCUMENT_PROMPTS = ("document", "passage", "corpus")
"""Names under which a model keeps its prompt for documents, as sentence-transformers looks them up."""


@dataclass(frozen=True)
class Encoder:
    """A model with one vector a text, or one a token.

    Attributes:
        model: The model.
        record: What an index keeps of it.
    """

    model: SentenceTransformer | MultiVectorEncoder
    record: ModelRecord

    @classmethod
    def of(cls, model: SentenceTransformer | MultiVectorEncoder, *, name: str, revision: str | None = None) -> Encoder:
        """An encoder with a model's own prompts; its revision is what `base_revision` says by default."""
        default = model.prompts.get(model.default_prompt_name or "") or ""
        documents = next((model.prompts[key] for key in DOCUMENT_PROMPTS if key in model.prompts), default)
        longest = getattr(model[0], "document_length", None) or model.max_seq_length
        record = ModelRecord(
            name=name,
            revision=revision or base_revision(model),
            document_prompt=documents or "",
            query_prompt=model.prompts.get("query", default) or "",
            # Tokenizers without a limit name a number that no text reaches.
            max_tokens=longest if longest is not None and longest < 1 << 30 else None,
        )
        return cls(model, record)

    @property
    def metric(self) -> Metric:
        """How the model compares: by one vector, the sum over the query's tokens, or their mean."""
        how = self.model.similarity_fn_name
        return cast("Metric", how) if how in ("maxsim", "meanmaxsim") else ONE_ROW

    @property
    def late(self) -> bool:
        """Whether each token of a text has a vector."""
        return self.metric != ONE_ROW

    @property
    def width(self) -> int | None:
        """Components of a vector, where that is known."""
        return self.model.get_embedding_dimension()

    def precision(self, texts: Sequence[str]) -> torch.dtype:
        """What documents are encoded in, by a sample of them; `fast_precision`."""
        from optical_mteb.index.encoding import fast_precision

        return fast_precision(self.model, texts, self.record.document_prompt)

    def documents(self, texts: Sequence[str], precision: torch.dtype) -> EncodedTexts:
        """Vectors of documents, by the prompt for documents, and how many were longer than the model reads."""
        from optical_mteb.index.encoding import encode

        prompt, longest = self.record.document_prompt, self.record.max_tokens
        return encode(self.model, texts, task="document", prompt=prompt, max_tokens=longest, precision=precision)

    def queries(self, texts: Sequence[str]) -> Rows:
        """Vectors of queries, by the prompt for queries."""
        from optical_mteb.index.encoding import encode

        return encode(self.model, texts, task="query", prompt=self.record.query_prompt).rows

    def for_task(self, task: TaskMetadata) -> Encoder:
        """The encoder with the prompts that MTEB's order of precedence picks for a task."""
        from mteb.models.abs_encoder import get_prompt
        from mteb.types import PromptType

        known = {name: text for name, text in self.model.prompts.items() if text}
        prompts = {
            "document_prompt": get_prompt(known, task, PromptType.document),
            "query_prompt": get_prompt(known, task, PromptType.query),
        }
        picked = {field: text for field, text in prompts.items() if text is not None}
        return Encoder(self.model, self.record.model_copy(update=picked))


def load_encoder(name: str, *, device: str | None = None) -> Encoder:
    """Load a model by MTEB's name for it, a student's name, a `pypi:` spec, a folder or a Hub id.

    A model of MTEB's registry is loaded as MTEB does, with its prompts; others with their own.

    Raises:
        InputError: There is no such model, it cannot be loaded, the device is not there, or the model gives vectors
            neither of texts nor of tokens.
    """
    from optical_mteb.hardware import check_inference_device

    check_inference_device(device)
    if expanded(name).is_dir():
        folder = expanded(name).resolve()
        return Encoder.of(load_as_saved(str(folder), device=device), name=str(folder))
    return _registered(name, device) or Encoder.of(load_as_saved(name, device=device), name=name)


def _registered(name: str, device: str | None) -> Encoder | None:
    """A model of MTEB's registry, or None where it has none of that name."""
    import mteb
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    full = model_renames().get(name, name)
    if full not in model_registry():
        return None
    try:
        wrapper = mteb.get_model(full, device=device)
    except InputError:
        raise
    # Nothing narrower: loaders let errors of any library through unchanged.
    except Exception as error:
        raise InputError(
            f"model {name}: MTEB cannot load it ({reason_of(error)}); fix that, or use another model"
        ) from error
    model = getattr(wrapper, "model", None)
    if not isinstance(model, SentenceTransformer | MultiVectorEncoder):
        raise InputError(
            f"model {name}: gives vectors neither of texts nor of tokens through sentence-transformers; use a dense "
            "model, or one of late interaction"
        )
    prompts = getattr(wrapper, "model_prompts", None)
    if prompts:
        model.prompts.update(prompts)
    return Encoder.of(model, name=full, revision=model_registry()[full].revision)
