"""A bank of texts that a frozen teacher has read once, to rank for every pair of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

    def tokens(self, places: Tensor) -> tuple[Encoded, Tensor]:
        """The token embeddings of some texts, each once.

        Args:
            places: Places in the bank, of any shape; a text may be asked for more than once.

        Returns:
            The texts, read, and the place of each that was asked for among them, shaped like `places`.

        Raises:
            ValueError: The bank has sentence embeddings alone.
        """
        if self.features is None:
            raise ValueError(
                "MaxSim needs the token embeddings of the bank, and this one has sentence embeddings alone"
            )
        different, among = places.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        features = self.features([self.texts[place] for place in different.tolist()])
        read = Encoded(
            features["token_embeddings"].to(places.device),
            features["content_mask"].to(places.device),
            features["sentence_embedding"].to(places.device),
            features["input_ids"].to(places.device),
        )
        return read, among
