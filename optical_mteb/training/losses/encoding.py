"""What the losses see of a sentence: its token embeddings, which of them count, and its embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import PreTrainedModel

from optical_mteb.errors import InputError


class Encoded(NamedTuple):
    """A batch of B encoded sentences of up to n tokens.

    Attributes:
        tokens: Token embeddings, [B, n, d].
        content: Tokens that enter the transport problem, [B, n], boolean: no padding, special or prompt token.
        sentence: Sentence embeddings, [B, d].
        ids: Token ids, [B, n], zero on padding: equal rows are equal sentences.
        hidden: Outputs of the transformer layers that a loss asks for, [B, n, h] each, by layer: -1, -2, ...
        group: What a sentence says, [B], int64: equal numbers say the same, in whatever language they are read; without
            it, equal `ids` do.
    """

    tokens: Tensor
    content: Tensor
    sentence: Tensor
    ids: Tensor
    hidden: Mapping[int, Tensor] | None = None
    group: Tensor | None = None

    def rows(self, index: slice | Tensor) -> Encoded:
        """Some of the sentences."""
        hidden = None if self.hidden is None else {layer: output[index] for layer, output in self.hidden.items()}
        group = None if self.group is None else self.group[index]
        return Encoded(self.tokens[index], self.content[index], self.sentence[index], self.ids[index], hidden, group)


class Packed(NamedTuple):
    """The content tokens of a batch alone, moved to the front: transport problems without holes.

    Attributes:
        tokens: Token embeddings, [B, k, d], where k is the largest number of content tokens, at least 1.
        mask: Which of them are there, [B, k], boolean.
        order: Positions that they come from, [B, k].
    """

    tokens: Tensor
    mask: Tensor
    order: Tensor

    def gather(self, values: Tensor) -> Tensor:
        """Other figures of the same tokens, [B, n] or [B, n, e], in the packed order."""
        order = self.order if values.dim() == 2 else self.order.unsqueeze(-1).expand(-1, -1, values.shape[-1])
        return values.gather(1, order)


def special_token_ids(model: SentenceTransformer) -> Tensor:
    """Ids of the tokens that a tokenizer adds and no text contains; the unknown token stands for text, so not it."""
    tokenizer = model.tokenizer
    return torch.tensor(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}), dtype=torch.long)


def encode(
    model: torch.nn.Module, features: dict[str, Any], special_ids: Tensor, layers: Sequence[int] = ()
) -> Encoded:
    """Run a model on the features of one column.

    Args:
        model: A `SentenceTransformer` or a `MultiVectorEncoder`, or one wrapped for distributed training.
        features: What `SentenceTransformer.preprocess` returned for B sentences, or what a `TeacherCache` has on disk:
            then nothing is run.
        special_ids: What `special_token_ids` returned for the model.
        layers: Transformer layers to keep the outputs of, counted from the last: -1, -2, ...

    Raises:
        InputError: The model has not so many layers.
    """
    attended = features["attention_mask"].bool()
    if "token_embeddings" in features:
        return Encoded(
            tokens=features["token_embeddings"],
            content=features["content_mask"],
            sentence=features["sentence_embedding"],
            ids=features["input_ids"],
            hidden=dict(zip(layers, features["hidden_layers"].unbind(2), strict=True)) if layers else None,
        )
    with hidden_states(model, bool(layers)):
        output = model(dict(features))
    hidden = output.get("all_layer_embeddings", ())
    if layers and -min(layers) > len(hidden):
        raise InputError(f"layers {list(layers)}: the model has {len(hidden)}, its word embeddings counted in")
    tokens = output["token_embeddings"]
    content = content_mask(features["input_ids"], attended, special_ids, features.get("prompt_length"))
    return Encoded(
        tokens=tokens,
        content=content,
        # A late-interaction model gives none; the mean of its tokens stands in.
        sentence=output["sentence_embedding"] if "sentence_embedding" in output else _mean(tokens, content),
        ids=features["input_ids"].masked_fill(~attended, 0),
        hidden={layer: hidden[layer] for layer in layers} if layers else None,
    )


def _mean(tokens: Tensor, content: Tensor) -> Tensor:
    counted = content.unsqueeze(-1)
    return (tokens * counted).sum(1) / counted.sum(1).clamp_min(1)


@contextmanager
def hidden_states(model: torch.nn.Module, wanted: bool) -> Iterator[None]:
    """Let a model's transformer return the outputs of all its layers inside the block, if they are wanted."""
    configs = {id(module.config): module.config for module in model.modules() if isinstance(module, PreTrainedModel)}
    before = {key: config.output_hidden_states for key, config in configs.items()}
    try:
        for config in configs.values() if wanted else ():
            config.output_hidden_states = True
        yield
    finally:
        for key, config in configs.items() if wanted else ():
            config.output_hidden_states = before[key]


def read_texts(
    preprocess: Callable[..., Any], texts: Sequence[str], prompt: str = "", *, blank: int | None = None
) -> dict[str, Any]:
    """Features of B texts after a prompt; `prompt_length` is what the prompt takes of them, the first special token too.

    Args:
        preprocess: The model's own.
        texts: Texts without the prompt.
        prompt: Text before every text, empty for none.
        blank: What `blank_tokens` returned for the prompt; counted by default.
    """
    features: dict[str, Any] = dict(preprocess(list(texts), prompt=prompt or None))
    if prompt:
        features["prompt_length"] -= blank_tokens(preprocess, prompt) if blank is None else blank
    return features


def differing_last_tokens(features: Mapping[str, Any]) -> bool:
    """Whether the last token of the prompt is not the same in all rows: it is then joined to what follows it.

    Args:
        features: What a model's `preprocess` returned, `prompt_length` among it.
    """
    attended = features["attention_mask"].bool()
    last = attended & (attended.long().cumsum(-1) == int(torch.as_tensor(features["prompt_length"]).max()))
    tokens = features["input_ids"][last]
    return bool((tokens != tokens[:1]).any())


def blank_tokens(preprocess: Callable[..., Any], prompt: str) -> int:
    """Tokens of a prompt's trailing blank, which byte-level tokenizers join to the text's first word instead."""
    if prompt == prompt.rstrip():
        return 0
    whole, stripped = (preprocess([text])["input_ids"].shape[-1] for text in (prompt, prompt.rstrip()))
    return int(whole - stripped)


def prompt_tokens(preprocess: Callable[..., Any], prompt: str) -> int:
    """Tokens of a prompt before a text, the first special token counted in; 0 for an empty prompt."""
    return int(preprocess([""], prompt=prompt)["prompt_length"]) - blank_tokens(preprocess, prompt) if prompt else 0


def content_mask(ids: Tensor, attended: Tensor, special_ids: Tensor, prompt_length: int | Tensor | None) -> Tensor:
    """Tokens of the text itself.

    Args:
        ids: Token ids, [B, n].
        attended: Tokens that are not padding, [B, n], boolean.
        special_ids: Ids of special tokens, [k].
        prompt_length: Tokens of the prompt, the first special token counted in, of all texts or of each, [B, 1]; None
            where there is no prompt.

    Returns:
        Mask, [B, n], boolean.
    """
    mask = attended & ~torch.isin(ids, special_ids.to(ids.device))
    if prompt_length is None:
        return mask
    # Counting attended tokens, not columns, holds for left padding too.
    return mask & (attended.long().cumsum(-1) > prompt_length)


def packed(encoded: Encoded) -> Packed:
    """The content tokens of each sentence alone, moved to the front."""
    longest = int(encoded.content.sum(-1).max().clamp_min(1))
    order = encoded.content.long().argsort(dim=-1, descending=True, stable=True)[:, :longest]
    tokens = encoded.tokens.gather(1, order.unsqueeze(-1).expand(-1, -1, encoded.tokens.shape[-1]))
    return Packed(tokens, encoded.content.gather(1, order), order)


def duplicates(encoded: Encoded) -> Tensor:
    """Which sentences of a batch say the same, [B, B], boolean, true on the diagonal."""
    if encoded.group is not None:
        return encoded.group.unsqueeze(1) == encoded.group.unsqueeze(0)
    return (encoded.ids.unsqueeze(1) == encoded.ids.unsqueeze(0)).all(-1)
