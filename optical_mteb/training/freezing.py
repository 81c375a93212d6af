"""The weights of a student that training leaves as they are: layers, and word embeddings but for the rows that a bitext uses."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, cast

import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import PreTrainedModel

from optical_mteb.bases import transformer_layers
from optical_mteb.errors import InputError

TEXTS_AT_ONCE = 10_000


def word_embeddings(model: SentenceTransformer) -> nn.Embedding:
    """The embedding layer of a model's transformer."""
    return cast("nn.Embedding", _transformer(model).get_input_embeddings())


def embedding_modules(model: SentenceTransformer | MultiVectorEncoder) -> list[nn.Module]:
    """What embeds below the layers: positions and the norm beside the words, in a module where a model has one."""
    transformer = _transformer(model)
    words = transformer.get_input_embeddings()
    return [
        module
        for module in transformer.modules()
        if module is not transformer and any(child is words for child in module.children())
    ]


def freeze(model: SentenceTransformer, *, words: bool, layers: int = 0) -> None:
    """Freeze what gets no gradient, in place: neither a backward pass nor an optimizer state is spent on it.

    BERT's own pooler is frozen where another pools. `layers` is how many transformer layers are frozen, the first ones; with
    them, all that is embedded below.

    Raises:
        InputError: The model has no more layers than that, or none that could be told apart.
    """
    word_embeddings(model).requires_grad_(not words)
    pooler = getattr(model.transformers_model, "pooler", None)
    if isinstance(pooler, nn.Module) and any(isinstance(module, Pooling) for module in model):
        pooler.requires_grad_(False)
    if not layers:
        return
    present = transformer_layers(model)
    if layers >= len(present):
        raise InputError(f"freeze_layers = {layers}: the student has {len(present)} layers; freeze fewer")
    for layer in present[:layers]:
        layer.requires_grad_(False)
    for module in embedding_modules(model):
        module.requires_grad_(False)


class PartlyTrainedEmbedding(nn.Embedding):
    """An embedding layer whose weight stays as it is, plus what has been learnt of some of its rows.

    The optimizer's state is that of these rows, and weight decay pulls them to where they came from.

    Args:
        whole: The layer to start from, whose weight is kept and not copied.
        rows: Rows that are trained, [k], different ones.
    """

    place: Tensor

    def __init__(self, whole: nn.Embedding, rows: Tensor) -> None:
        super().__init__(
            whole.num_embeddings, whole.embedding_dim, whole.padding_idx, _weight=whole.weight.requires_grad_(False)
        )
        self.weight = whole.weight
        # Row 0 stands for all that are not trained.
        place = torch.zeros(whole.num_embeddings, dtype=torch.long, device=whole.weight.device)
        place[rows] = torch.arange(1, len(rows) + 1, device=place.device)
        self.register_buffer("place", place, persistent=False)
        self.trained = nn.Parameter(torch.zeros(len(rows) + 1, whole.embedding_dim, device=place.device))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the parent's name
        """Embeddings of token ids."""
        return super().forward(input) + embedding(self.place[input], self.trained, padding_idx=0)

    def whole(self) -> nn.Embedding:
        """A plain layer with the same embeddings."""
        weight = self.weight.detach().clone()
        weight += self.trained.detach()[self.place]
        return nn.Embedding(self.num_embeddings, self.embedding_dim, self.padding_idx, _weight=weight)


def train_used_words(model: SentenceTransformer, texts: Iterable[str]) -> int:
    """Let only the rows of a model's word embeddings train that some texts use, in place; `keep_whole_words` undoes it.

    Returns:
        Rows that are trained.
    """
    rows = torch.tensor(sorted(_used(model, texts)), dtype=torch.long)
    layer = PartlyTrainedEmbedding(word_embeddings(model), rows)
    _transformer(model).set_input_embeddings(layer)
    return len(rows)


def keep_whole_words(model: SentenceTransformer) -> None:
    """Put what was learnt of single rows into the weight of a plain embedding layer, in place."""
    layer = word_embeddings(model)
    if isinstance(layer, PartlyTrainedEmbedding):
        _transformer(model).set_input_embeddings(layer.whole())


def _used(model: SentenceTransformer, texts: Iterable[str]) -> set[int]:
    """Token ids of some texts."""
    tokenizer: Any = model.tokenizer
    used: set[int] = set()
    left = iter(texts)
    while some := list(islice(left, TEXTS_AT_ONCE)):
        for ids in tokenizer(some, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]:
            used.update(ids)
    return used


def _transformer(model: SentenceTransformer | MultiVectorEncoder) -> PreTrainedModel:
    return cast("PreTrainedModel", model.transformers_model)
