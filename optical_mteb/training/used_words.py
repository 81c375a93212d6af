"""Word embeddings of which only the rows that a bitext uses are trained."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import PreTrainedModel

TEXTS_AT_ONCE = 10_000


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
    """Let only the rows of a model's word embeddings train that some texts use; `keep_whole_words` undoes it.

    Args:
        model: The student, changed in place.
        texts: What it will read, prompts included.

    Returns:
        Rows that are trained.
    """
    transformer = _transformer(model)
    rows = torch.tensor(sorted(_used(model, texts)), dtype=torch.long)
    layer = PartlyTrainedEmbedding(cast("nn.Embedding", transformer.get_input_embeddings()), rows)
    transformer.set_input_embeddings(layer)
    return len(rows)


def keep_whole_words(model: SentenceTransformer) -> None:
    """Put what was learnt of single rows into the weight of a plain embedding layer, in place."""
    transformer = _transformer(model)
    layer = transformer.get_input_embeddings()
    if isinstance(layer, PartlyTrainedEmbedding):
        transformer.set_input_embeddings(layer.whole())


def _transformer(model: SentenceTransformer) -> PreTrainedModel:
    return cast("PreTrainedModel", model.transformers_model)


def _used(model: SentenceTransformer, texts: Iterable[str]) -> set[int]:
    """Token ids of some texts."""
    tokenizer: Any = model.tokenizer
    used: set[int] = set()
    left = iter(texts)
    while some := list(islice(left, TEXTS_AT_ONCE)):
        for ids in tokenizer(some, add_special_tokens=True, truncation=False, verbose=False)["input_ids"]:
            used.update(ids)
    return used
