"""What the losses see of a sentence: its token embeddings, which of them count, and its embedding."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor


class Encoded(NamedTuple):
    """A batch of B encoded sentences of up to n tokens.

    Attributes:
        tokens: Token embeddings, [B, n, d].
        content: Tokens that enter the transport problem, [B, n], boolean: no padding, special or prompt token.
        sentence: Sentence embeddings, [B, d].
        ids: Token ids, [B, n], zero on padding: equal rows are equal sentences.
    """

    tokens: Tensor
    content: Tensor
    sentence: Tensor
    ids: Tensor


def special_token_ids(model: SentenceTransformer) -> Tensor:
    """Ids of the tokens that a tokenizer adds and no text contains; the unknown token stands for text, so not it."""
    tokenizer = model.tokenizer
    return torch.tensor(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}), dtype=torch.long)


def encode(model: torch.nn.Module, features: dict[str, Any], special_ids: Tensor) -> Encoded:
    """Run a model on the features of one column.

    Args:
        model: A `SentenceTransformer`, or one wrapped for distributed training.
        features: What `SentenceTransformer.preprocess` returned for B sentences.
        special_ids: What `special_token_ids` returned for the model.
    """
    output = model(dict(features))
    attended = features["attention_mask"].bool()
    return Encoded(
        tokens=output["token_embeddings"],
        content=content_mask(features["input_ids"], attended, special_ids, features.get("prompt_length")),
        sentence=output["sentence_embedding"],
        ids=features["input_ids"].masked_fill(~attended, 0),
    )


def content_mask(ids: Tensor, attended: Tensor, special_ids: Tensor, prompt_length: int | Tensor | None) -> Tensor:
    """Tokens of the text itself.

    Args:
        ids: Token ids, [B, n].
        attended: Tokens that are not padding, [B, n], boolean.
        special_ids: Ids of special tokens, [k].
        prompt_length: Tokens of the prompt, the first special token counted in, or None where there is no prompt.

    Returns:
        Mask, [B, n], boolean.
    """
    mask = attended & ~torch.isin(ids, special_ids.to(ids.device))
    if prompt_length is None:
        return mask
    # Counting attended tokens, not columns, holds for left padding too.
    return mask & (attended.long().cumsum(-1) > prompt_length)


def packed(encoded: Encoded) -> tuple[Tensor, Tensor]:
    """The content tokens of each sentence alone, moved to the front: transport problems without holes.

    Returns:
        Tokens, [B, k, d], and their mask, [B, k], where k is the largest number of content tokens, at least 1.
    """
    longest = int(encoded.content.sum(-1).max().clamp_min(1))
    order = encoded.content.long().argsort(dim=-1, descending=True, stable=True)[:, :longest]
    tokens = encoded.tokens.gather(1, order.unsqueeze(-1).expand(-1, -1, encoded.tokens.shape[-1]))
    return tokens, encoded.content.gather(1, order)


def duplicates(encoded: Encoded) -> Tensor:
    """Which sentences of a batch are the same text, [B, B], boolean, true on the diagonal."""
    return (encoded.ids.unsqueeze(1) == encoded.ids.unsqueeze(0)).all(-1)
