"""Vocabulary pruning: an encoder without the embedding rows that its texts never look up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from optical_mteb.bases.tokenizer_pruning import essential_ids, keep_pieces, tokenizer_state, used_ids
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer
    from torch.nn import Embedding
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

_CONFIG_IDS = ("pad", "bos", "eos", "cls", "sep", "mask", "unk")


@dataclass(frozen=True)
class PruningReport:
    """What pruning did: embedding rows before and after, and bytes of embedding weights that are gone."""

    rows_before: int
    rows_after: int
    bytes_saved: int


def prune_vocabulary(model: SentenceTransformer, texts: Iterable[str], *, keep_most_frequent: int = 0) -> PruningReport:
    """Remove, in place, the pieces and embedding rows that tokenising `texts` does not need.

    Kept are the tokens of the texts, bare and after each of the model's prompts, all special and added tokens and every
    single character (so that unseen text still has pieces). The embeddings of the texts stay what they were, because
    their tokens do (see `optical_mteb.bases.tokenizer_pruning` for why). Whether the embedding matrix is trainable
    stays as it was. On an error the model is untouched.

    Args:
        model: A sentence-transformers model whose first module is a transformer with a Unigram or WordPiece tokenizer.
        texts: What the model has to go on encoding unchanged; read once.
        keep_most_frequent: Keep also this many of the most frequent pieces: highest score (Unigram), lowest id
            (WordPiece).

    Raises:
        InputError: The model has no such tokenizer, has fewer embedding rows than tokens, or counts positions from a
            padding id that would move.
    """
    first: Any = model[0]
    tokenizer, encoder = _parts(first)
    state = tokenizer_state(tokenizer.backend_tokenizer)
    prompts = [prompt for prompt in model.prompts.values() if prompt]
    with _unbounded(tokenizer.backend_tokenizer) as unbounded:
        used = used_ids(unbounded, state, texts, prompts)
    kept = used | essential_ids(state, keep_most_frequent) | set(tokenizer.all_special_ids)
    embeddings = cast("Embedding", encoder.get_input_embeddings())
    if embeddings.padding_idx is not None:
        kept.add(embeddings.padding_idx)
    backend, order = keep_pieces(state, kept)
    rows = embeddings.num_embeddings
    if max(order) >= rows:
        raise InputError(
            f"vocabulary pruning: the tokenizer has id {max(order)} but the model {rows} embedding rows; "
            "use the tokenizer that belongs to the model"
        )
    new_ids = {old: new for new, old in enumerate(order)}
    _check_positions(encoder, tokenizer.pad_token_id, new_ids)
    first.processor = _rewrap(tokenizer, backend)
    # sentence-transformers keeps a second reference, which would keep the whole tokenizer in memory, too.
    if hasattr(first, "input_formatter"):
        first.input_formatter.processor = first.processor
    saved = _slice_embeddings(embeddings, order, new_ids)
    _renumber_config(encoder.config, len(order), new_ids)
    return PruningReport(rows_before=rows, rows_after=len(order), bytes_saved=saved)


def _parts(first: Any) -> tuple[PreTrainedTokenizerFast, PreTrainedModel]:  # noqa: ANN401
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    tokenizer, encoder = getattr(first, "processor", None), getattr(first, "auto_model", None)
    if not isinstance(tokenizer, PreTrainedTokenizerFast) or not isinstance(encoder, PreTrainedModel):
        raise InputError(
            f"vocabulary pruning: the model starts with {type(first).__name__}, "
            "expected a transformer with a fast tokenizer"
        )
    return tokenizer, encoder


@contextmanager
def _unbounded(backend: Tokenizer) -> Iterator[Tokenizer]:
    """The tokenizer itself, which neither truncates nor pads inside the block; a copy would take its memory again."""
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    try:
        yield backend
    finally:
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def _check_positions(encoder: PreTrainedModel, pad: int | None, new_ids: dict[int, int]) -> None:
    import torch

    counts_from_pad = any(
        isinstance(getattr(module, "padding_idx", None), int) and not isinstance(module, torch.nn.Embedding)
        for module in encoder.modules()
    )
    if counts_from_pad and pad is not None and new_ids[pad] != pad:
        raise InputError(
            f"vocabulary pruning: {type(encoder).__name__} counts positions from its padding id {pad}, "
            f"which would become {new_ids[pad]}; keep the model unpruned"
        )


def _rewrap(tokenizer: PreTrainedTokenizerFast, backend: Tokenizer) -> PreTrainedTokenizerFast:
    """The pruned backend under the settings of `tokenizer`.

    The generic class is used because it loads `tokenizer.json` as it stands: those of single architectures rebuild
    the tokenizer and expect special tokens at the ids of the original.
    """
    from transformers import PreTrainedTokenizerFast

    special: dict[str, Any] = dict(tokenizer.special_tokens_map)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        model_input_names=tokenizer.model_input_names,
        **special,
    )


def _slice_embeddings(embeddings: Embedding, order: list[int], new_ids: dict[int, int]) -> int:
    """Keep the rows `order`; returns the bytes that are gone."""
    import torch

    old = embeddings.weight
    kept = old.detach()[torch.tensor(order, device=old.device)].clone()
    embeddings.weight = torch.nn.Parameter(kept, requires_grad=old.requires_grad)
    embeddings.num_embeddings = len(order)
    if embeddings.padding_idx is not None:
        embeddings.padding_idx = new_ids[embeddings.padding_idx]
    return (old.numel() - kept.numel()) * old.element_size()


def _renumber_config(config: Any, rows: int, new_ids: dict[int, int]) -> None:  # noqa: ANN401
    text_config = config.get_text_config()
    text_config.vocab_size = rows
    for name in _CONFIG_IDS:
        old = getattr(text_config, f"{name}_token_id", None)
        if isinstance(old, int):
            setattr(text_config, f"{name}_token_id", new_ids.get(old))
