"""Texts to vectors, in batches of texts of about the same length that have about the same number of tokens.

Texts are sorted by length, so that little of a batch is padding, and a batch has as many as fit into a budget of
tokens, so that short ones do not leave the device idle nor long ones fill its memory. While the model reads one part
of them, the next is tokenized.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.util import batch_to_device

from optical_mteb.hardware import computes_in_bfloat16
from optical_mteb.index.rows import Rows

TOKENS_PER_BATCH = {"cpu": 2048}
"""Tokens that the model reads at once by device, padding counted in: what stays in the caches of a processor.

A text by itself may have more.
"""
MOST_TOKENS_PER_BATCH = 8192
"""The same on other devices."""

TOKENIZED_AT_ONCE = 1024
SAME = 0.999
"""Cosine with the vector computed in float32 from which another precision counts as as good."""

Task = Literal["query", "document"]
Model = SentenceTransformer | MultiVectorEncoder
Lowered = TypeVar("Lowered", bound=Model)


@dataclass(frozen=True)
class EncodedTexts:
    """Vectors of texts.

    Attributes:
        rows: Float32; a dense model's are of length 1, and not finite where it gave no number, or only zeros.
        truncated: Texts that the model did not read to the end.
    """

    rows: Rows
    truncated: int


def encode(
    model: Model,
    texts: Sequence[str],
    *,
    task: Task,
    prompt: str = "",
    max_tokens: int | None = None,
    precision: torch.dtype = torch.float32,
) -> EncodedTexts:
    """The vectors that `model.encode_document`, or `encode_query`, gives; a dense model's are normalised.

    Args:
        model: The model, dense or of late interaction; it is put into evaluation mode.
        texts: At least one, without the prompt.
        task: What the texts are, for models that tell the two apart.
        prompt: Text before every text.
        max_tokens: Longest input that the model reads, for counting longer ones; None to count none.
        precision: What the model's first module, the transformer, computes in.
    """
    model.eval()
    if precision != torch.float32:
        model = lowered(model, precision)
    budget = TOKENS_PER_BATCH.get(model.device.type, MOST_TOKENS_PER_BATCH)
    order = np.argsort([-len(text) for text in texts], kind="stable")
    parts = [order[start : start + TOKENIZED_AT_ONCE] for start in range(0, len(order), TOKENIZED_AT_ONCE)]
    texts_of: list[torch.Tensor] = []
    truncated = 0

    def tokenized(part: NDArray[np.int64]) -> tuple[dict[str, Any], int]:
        chosen = [texts[index] for index in part]
        features: dict[str, Any] = model.preprocess(chosen, prompt=prompt or None, task=task)
        return features, _longer(model, chosen, features, prompt, max_tokens)

    with torch.inference_mode(), ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(tokenized, parts[0])
        for number, part in enumerate(parts):
            features, longer = coming.result()
            if number + 1 < len(parts):
                coming = ahead.submit(tokenized, parts[number + 1])
            truncated += longer
            texts_of += _forward(model, features, len(part), task, budget)
    rows = Rows.joined([texts_of[place].numpy() for place in np.argsort(order)])
    if isinstance(model, SentenceTransformer):
        # A vector of zeros has no direction: dividing by its length makes it not a number, which is what is looked for.
        with np.errstate(invalid="ignore"):
            rows = Rows(rows.vectors / np.linalg.norm(rows.vectors, axis=1, keepdims=True), rows.lengths)
    return EncodedTexts(rows, truncated)


def fast_precision(model: Model, texts: Sequence[str], prompt: str) -> torch.dtype:
    """bfloat16 on a device that computes in it, where a sample of documents comes out as in float32; else float32."""
    if not computes_in_bfloat16(model.device):
        return torch.float32
    exact, fast = (
        encode(model, texts, task="document", prompt=prompt, precision=each).rows.vectors
        for each in (torch.float32, torch.bfloat16)
    )
    return torch.bfloat16 if np.einsum("nw,nw->n", exact, fast).min(initial=1) >= SAME else torch.float32


def lowered(model: Lowered, precision: torch.dtype) -> Lowered:
    """A model that shares all but its first module, which computes in another precision and gives float32."""
    first: Any = model[0]
    shared = [getattr(first, name, None) for name in ("tokenizer", "processor")]
    own = copy.deepcopy(first, {id(each): each for each in shared if each is not None}).to(precision)
    own.register_forward_hook(_to_float32)
    twin = copy.copy(model)
    # A copy of a module shares its dictionary of modules.
    twin._modules = {**model._modules, next(iter(model._modules)): own}
    return twin


def _to_float32(module: torch.nn.Module, inputs: Any, output: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001, ANN401 - a hook
    return {
        name: value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in output.items()
    }


def _forward(model: Model, features: dict[str, Any], count: int, task: Task, budget: int) -> list[torch.Tensor]:
    """What the model makes of tokenized texts, [rows, width] each, float32 and in memory."""
    found: list[torch.Tensor] = [torch.empty(0)] * count
    for places, batch in _batches(features, count, budget):
        output = model(batch_to_device(batch, model.device), task=task)
        if isinstance(model, SentenceTransformer):
            texts = output["sentence_embedding"][:, : model.truncate_dim].float().cpu().split(1)
        else:
            masks = output["attention_mask"].bool()
            texts = [rows[mask].float().cpu() for rows, mask in zip(output["token_embeddings"], masks, strict=True)]
        for place, rows in zip(places.tolist(), texts, strict=True):
            found[place] = rows
    return found


def _batches(features: dict[str, Any], count: int, budget: int) -> Iterator[tuple[torch.Tensor, dict[str, Any]]]:
    """Rows of tokenized texts, longest first, with the columns that any of them fills."""
    mask = features.get("attention_mask")
    if not isinstance(mask, torch.Tensor) or mask.shape[:1] != (count,) or mask.ndim != 2:
        # Flat inputs, as of static embeddings, have no padding.
        yield torch.arange(count), features
        return
    lengths, order = mask.sum(1).sort(descending=True, stable=True)
    start = 0
    while start < count:
        size = max(budget // max(int(lengths[start]), 1), 1)
        rows = order[start : start + size]
        filled = mask[rows].any(0).nonzero()
        first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 1)
        yield rows, {key: _cut(value, rows, mask.shape, first, last) for key, value in features.items()}
        start += size


def _cut(value: Any, rows: torch.Tensor, shape: torch.Size, first: int, last: int) -> Any:  # noqa: ANN401 - features are of any kind
    if not isinstance(value, torch.Tensor) or value.shape[:1] != shape[:1]:
        return value
    return value[rows, first:last] if value.shape[1:2] == shape[1:] else value[rows]


def _longer(model: Model, texts: Sequence[str], features: dict[str, Any], prompt: str, max_tokens: int | None) -> int:
    """Texts that have more tokens than the model reads; without a mask, their bytes tell which are to be counted."""
    if max_tokens is None:
        return 0
    mask = features.get("attention_mask")
    if isinstance(mask, torch.Tensor) and mask.shape[:1] == (len(texts),) and mask.ndim == 2:
        full = (mask.sum(1) >= max_tokens).nonzero().flatten().tolist()
    else:
        full = [index for index, text in enumerate(texts) if len(text.encode()) >= max_tokens]
    if not full:
        return 0
    # One that fills the limit may end there: only all its tokens tell.
    whole = model.tokenizer([prompt + texts[index] for index in full], truncation=False, verbose=False)
    return sum(len(ids) > max_tokens for ids in whole["input_ids"])
