"""A bank of texts that a frozen teacher has read once, to rank for every pair of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optical_mteb.training.losses.encoding import Encoded

Features = Callable[[Sequence[str]], dict[str, Tensor]]
"""A teacher's outputs for some texts, as `TeacherCache.features` gives them."""


@dataclass(frozen=True)
class Bank:
    """N texts, all read by the teacher with one prompt.

    Attributes:
        texts: The texts.
        embeddings: Their sentence embeddings, [N, d].
        features: Gives the token embeddings of some texts, for scores by MaxSim.
    """

    texts: Sequence[str]
    embeddings: Tensor
    features: Features | None = None

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.embeddings) or len(self.texts) < 2:
            raise ValueError(
                f"a bank of {len(self.texts)} texts and {len(self.embeddings)} embeddings: "
                "expected two texts or more, and an embedding of each"
            )

    def tokens(self, places: Sequence[int], device: torch.device) -> Encoded:
        """The token embeddings of some texts.

        Args:
            places: Places in the bank; a text may be asked for more than once.
            device: Where to put them.

        Raises:
            ValueError: The bank has sentence embeddings alone.
        """
        if self.features is None:
            raise ValueError(
                "MaxSim needs the token embeddings of the bank, and this one has sentence embeddings alone"
            )
        different = sorted(set(places))
        features = self.features([self.texts[place] for place in different])
        read = Encoded(
            features["token_embeddings"],
            features["content_mask"],
            features["sentence_embedding"],
            features["input_ids"],
        )
        row = {place: number for number, place in enumerate(different)}
        encoded = read.rows(torch.tensor([row[place] for place in places]))
        return encoded._replace(
            **{name: getattr(encoded, name).to(device) for name in ("tokens", "content", "sentence", "ids")}
        )
