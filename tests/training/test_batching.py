"""Length-bucketed batches: every pair once, little padding, an order that seed and epoch decide."""

import pytest
from datasets import Dataset

from optical_mteb.training.batching import LengthBucketSampler


@pytest.fixture
def dataset():
    lengths = [1 + (37 * i) % 100 for i in range(1003)]
    return Dataset.from_dict({"english": ["x" * n for n in lengths], "translation": ["y" * (n // 2) for n in lengths]})


@pytest.mark.parametrize(("drop_last", "batches", "rows"), [(False, 63, 1003), (True, 62, 992)])
def test_every_pair_comes_once(dataset, drop_last, batches, rows):
    """Pins pairs that are lost or repeated in an epoch, and a length that the trainer would miscount."""
    sampler = LengthBucketSampler(dataset, batch_size=16, drop_last=drop_last)
    drawn = [index for batch in sampler for index in batch]
    assert len(list(sampler)) == len(sampler) == batches
    assert len(drawn) == len(set(drawn)) == rows


def test_batches_hold_similar_lengths(dataset):
    """Pins buckets that do not save padding: characters over the longest of the batch, against shuffled batches."""

    def share_of_padding(batches):
        lengths = [len(text) for text in dataset["english"]]
        padded = sum(max(lengths[i] for i in batch) * len(batch) for batch in batches)
        return 1 - sum(lengths) / padded

    bucketed = share_of_padding(list(LengthBucketSampler(dataset, batch_size=16, drop_last=False)))
    shuffled = share_of_padding(list(LengthBucketSampler(dataset, batch_size=16, drop_last=False, window=1)))
    assert bucketed < 0.1 < 0.3 < shuffled


def test_seed_and_epoch_decide_the_order(dataset):
    """Pins an order that is not reproduced, or that is the same in every epoch."""
    sampler = LengthBucketSampler(dataset, batch_size=16, drop_last=False, seed=3)
    first = list(sampler)
    assert list(sampler) == first == list(LengthBucketSampler(dataset, batch_size=16, drop_last=False, seed=3))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(LengthBucketSampler(dataset, batch_size=16, drop_last=False, seed=4)) != first
