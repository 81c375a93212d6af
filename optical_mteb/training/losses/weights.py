"""Marginals of the transport problem: how much mass each token carries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from optical_mteb.training.losses.encoding import Encoded

TEXTS_AT_ONCE = 1000


class TokenWeights(nn.Module):
    """Equal weights; the base class of the others."""

    def forward(self, encoded: Encoded) -> Tensor:
        """Nonnegative weights, [B, n], float32; the transport solvers mask and normalise them."""
        return torch.ones(encoded.content.shape, device=encoded.content.device)


class NormWeights(TokenWeights):
    """The length of a token's embedding: what mean pooling lets it contribute.

    Source: Yokoi et al., Word Rotator's Distance, EMNLP 2020 (arXiv 2004.15003), which takes the norm for a word's
    importance and the direction for its meaning.
    """

    def forward(self, encoded: Encoded) -> Tensor:
        """Norms, [B, n], float32."""
        norms: Tensor = torch.linalg.vector_norm(encoded.tokens.detach().float(), dim=-1)
        return norms


class IdfWeights(TokenWeights):
    """Inverse document frequency: function words carry little mass.

    The weight of token v is log(1 + (N - n_v + 0.5) / (n_v + 0.5)), where n_v of N texts hold it (the form of BM25 that
    never goes negative; Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009, section 3.1).

    Args:
        table: Weight of each token id, [vocabulary].
    """

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table.float(), persistent=False)

    def forward(self, encoded: Encoded) -> Tensor:
        """Weights by token id, [B, n], float32."""
        return self.table[encoded.ids]

    @classmethod
    def count(cls, model: SentenceTransformer, texts: Iterable[str]) -> IdfWeights:
        """Count a model's tokens in texts; a text that occurs again counts once."""
        counts: Counter[int] = Counter()
        distinct = list(dict.fromkeys(texts))
        for start in range(0, len(distinct), TEXTS_AT_ONCE):
            chunk = distinct[start : start + TEXTS_AT_ONCE]
            for ids in model.tokenizer(chunk, add_special_tokens=False)["input_ids"]:
                counts.update(set(ids))
        table = torch.full((len(model.tokenizer),), _idf(0, len(distinct)))
        for token, number in counts.items():
            table[token] = _idf(number, len(distinct))
        return cls(table)


def _idf(holding: int, total: int) -> float:
    return math.log(1 + (total - holding + 0.5) / (holding + 0.5))
