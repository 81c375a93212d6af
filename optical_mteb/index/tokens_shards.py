"""The shards of a late-interaction model as one row of token vectors, and where each document's begin in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.documents import Integers
from optical_mteb.index.shards import ShardStore

TOKEN_SHARD_SIZE = 512
"""Documents of a shard at most: each has as many vectors as tokens."""


class TokenShards:
    """Token vectors of whole shards by position, as `ShardStore` gives those of documents.

    Attributes:
        store: The shards.
        offsets: Position of the first token of each document, and the one past the last of all, [count + 1].
    """

    def __init__(self, store: ShardStore) -> None:
        """Read how many tokens each document has.

        Args:
            store: The shards; all are there.

        Raises:
            InputError: A shard is missing or damaged.
        """
        self.store = store
        lengths = np.concatenate([store.lengths(number) for number in range(len(store))])
        self.offsets: Integers = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self._starts = self.offsets[[store.bounds(number)[0] for number in range(len(store))]]

    def __len__(self) -> int:
        return len(self.store)

    @property
    def total(self) -> int:
        """Tokens of all documents."""
        return int(self.offsets[-1])

    @property
    def width(self) -> int:
        """Components of a vector."""
        return self.store.width

    def bounds(self, number: int) -> tuple[int, int]:
        """Position of the first token of a shard, and the one past its last."""
        start, stop = self.store.bounds(number)
        return int(self.offsets[start]), int(self.offsets[stop])

    def documents(self, number: int) -> Integers:
        """Where the tokens of each document of a shard begin and end in `vectors`, [n + 1]."""
        start, stop = self.store.bounds(number)
        places: Integers = self.offsets[start : stop + 1] - self.offsets[start]
        return places

    def vectors(self, number: int) -> NDArray[np.floating[Any]]:
        """The token vectors of a shard, [tokens, width].

        Raises:
            InputError: The shard is missing or damaged.
        """
        return self.store.vectors(number)

    def rows(self, positions: Integers, dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """The token vectors at some positions, [n, width]."""
        rows = np.empty((len(positions), self.width), dtype)
        # Of several shards that begin at one place, the last has the token: the others have none.
        owners = np.searchsorted(self._starts, positions, side="right") - 1
        for owner in np.unique(owners):
            chosen = owners == owner
            rows[chosen] = self.store.mapped(int(owner))[positions[chosen] - self._starts[owner]]
        return rows


def read_offsets(path: Path, count: int, tokens: int) -> Integers:
    """The first position of each document's tokens, and the one past the last of all, [count + 1].

    Raises:
        InputError: The file cannot be read, or does not divide so many tokens among so many documents.
    """
    try:
        offsets: Integers = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); copy or build the index again") from error
    if (
        offsets.shape != (count + 1,)
        or offsets.dtype != np.int64
        or (offsets[0], offsets[-1]) != (0, tokens)
        or (np.diff(offsets) < 0).any()
    ):
        raise InputError(
            f"{path}: does not say where the {tokens:,} tokens of {count:,} documents begin; "
            "copy or build the index again"
        )
    return offsets
