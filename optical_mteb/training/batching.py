"""Batches of sentences of similar length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler


class LengthBucketSampler(DefaultBatchSampler):
    """Shuffles the pairs, sorts each window of some batches by length, and shuffles the batches.

    The order follows from seed and epoch alone.

    Args:
        dataset: Pairs with the columns `english` and `translation`.
        batch_size: Pairs in a batch.
        drop_last: Leave out an incomplete batch.
        seed: Seed of the order.
        window: Batches that are sorted together: more save padding, fewer mix lengths better.
        **kwargs: The rest of what sentence-transformers hands to a batch sampler; not used.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        drop_last: bool,
        seed: int = 0,
        window: int = 16,
        **kwargs: Any,  # noqa: ANN401, ARG002 - sentence-transformers' signature
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=drop_last, seed=seed)
        pairs = zip(dataset["english"], dataset["translation"], strict=True)
        self._lengths = torch.tensor([max(len(english), len(translation)) for english, translation in pairs])
        self._window = window

    def __iter__(self) -> Iterator[list[int]]:
        """Batches of row indices of one epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self._lengths), generator=generator)
        batches = []
        for window in _slices(order, self._window * self.batch_size):
            batches += _slices(window[self._lengths[window].argsort(stable=True)], self.batch_size)
        if self.drop_last:
            batches = [batch for batch in batches if len(batch) == self.batch_size]
        for index in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[index].tolist()

    def __len__(self) -> int:
        """Batches of one epoch."""
        rows = len(self._lengths)
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)


def _slices(rows: torch.Tensor, size: int) -> list[torch.Tensor]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
