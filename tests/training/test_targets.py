"""Targets put together from several readers and several processes: row by row, and by what a loss makes of them."""

import threading
from functools import partial

import pytest
import torch

from optical_mteb.training.losses import (
    ContrastiveDistillationLoss,
    OpticalLoss,
    TransportContrastiveLoss,
    targets,
)
from optical_mteb.training.losses.targets import from_all_devices, joined
from tests.training.conftest import handmade


def some(lengths, seed):
    """Encoded sentences with a hidden layer and groups."""
    group = torch.randint(0, 2**62, (len(lengths),), generator=torch.Generator().manual_seed(seed))
    return handmade(lengths, seed)._replace(hidden={-2: handmade(lengths, 100 + seed).tokens}, group=group)


def assert_rows(found, parts):
    """Every row is that of its part as far as that goes, and padding beyond."""
    rows = [(part, row) for part in parts for row in range(len(part.ids))]
    assert len(found.ids) == len(rows)
    for place, (part, row) in enumerate(rows):
        n = part.ids.shape[1]
        for name in ("tokens", "content", "ids"):
            assert torch.equal(getattr(found, name)[place, :n], getattr(part, name)[row])
            assert not getattr(found, name)[place, n:].any()
        assert torch.equal(found.hidden[-2][place, :n], part.hidden[-2][row])
        assert torch.equal(found.sentence[place], part.sentence[row])
        assert torch.equal(found.group[place], part.group[row])


def test_targets_of_two_readers_are_one_batch():
    """Guards against shorter rows that lose tokens, and layers or groups that get lost on the way."""
    for lengths in ([[3, 5], [2, 4, 1]], [[2, 1], [7]]):
        parts = [some(own, seed) for seed, own in enumerate(lengths)]
        assert_rows(joined(parts), parts)
    assert joined(parts[:1]) is parts[0]
    assert joined([parts[0], parts[1]._replace(group=None)]).group is None


class Processes:
    """Stands in for `torch.distributed`: threads that exchange tensors, as strict about types and shapes as gloo."""

    ReduceOp = torch.distributed.ReduceOp

    def __init__(self, number):
        self.own, self.barrier, self.number = threading.local(), threading.Barrier(number, timeout=20), number
        self.slots = [None] * number

    def is_initialized(self):
        return True

    def get_world_size(self):
        return self.number

    def get_rank(self):
        return self.own.rank

    def exchange(self, value):
        self.slots[self.own.rank] = value.clone()
        self.barrier.wait()
        everyones = list(self.slots)
        self.barrier.wait()
        return everyones

    def all_reduce(self, value, op):
        assert op == self.ReduceOp.MAX
        value.copy_(torch.stack(self.exchange(value)).amax(0))

    def all_gather(self, into, value):
        for place, other in zip(into, self.exchange(value), strict=True):
            assert (place.dtype, place.shape) == (other.dtype, other.shape)
            place.copy_(other)


def gathered(monkeypatch, parts):
    """What each of several processes has of all their targets."""
    processes, found = Processes(len(parts)), {}
    monkeypatch.setattr(targets, "distributed", processes)

    def run(rank):
        processes.own.rank = rank
        found[rank] = from_all_devices(parts[rank])

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(parts)
    return [found[rank] for rank in range(len(parts))]


def test_targets_of_all_processes(monkeypatch):
    """Guards against negatives of one device alone, or in another place: each process has all rows, its own first."""
    parts = [some(lengths, seed) for seed, lengths in enumerate([[3, 5], [2, 8], [4, 1]])]
    for rank, found in enumerate(gathered(monkeypatch, parts)):
        assert_rows(found, [*parts[rank:], *parts[:rank]])


def test_processes_whose_targets_have_different_types(monkeypatch):
    """Guards against a hang under autocast: one process has a cached teacher's float32, another its student's bfloat16 alone."""
    parts = [some(lengths, seed) for seed, lengths in enumerate([[3, 5], [2, 8]])]
    student = parts[1]
    low = {name: getattr(student, name).bfloat16() for name in ("tokens", "sentence")}
    parts[1] = student._replace(**low, hidden={-2: student.hidden[-2].bfloat16()})
    for found in gathered(monkeypatch, parts):
        assert (found.tokens.dtype, found.sentence.dtype, found.hidden[-2].dtype) == (torch.float32,) * 3


@pytest.mark.long
@pytest.mark.parametrize(
    "loss_class",
    [
        partial(OpticalLoss, center=True, layers=[-1, -2]),
        partial(ContrastiveDistillationLoss, temperature=0.5),
        partial(ContrastiveDistillationLoss, temperature=0.5, score="maxsim"),
        partial(TransportContrastiveLoss, temperature=0.5),
    ],
)
def test_processes_add_up_to_the_batch(tiny_model, monkeypatch, loss_class):
    """Guards against a contrast within one process: the mean of the processes' losses is that of the whole batch."""
    loss = loss_class(tiny_model(seed=1), tiny_model(seed=2))
    students = [some(lengths, 10 + seed) for seed, lengths in enumerate([[3, 5], [2, 8], [4, 1]])]
    parts = [some(lengths, seed) for seed, lengths in enumerate([[6, 2], [1, 3], [7, 4]])]
    # Rows of two processes say the same.
    parts[2].group[0] = parts[0].group[1]
    whole = loss.compute_loss_from_encoded(joined(students), joined(parts))
    everyones = gathered(monkeypatch, parts)
    values = [loss.compute_loss_from_encoded(own, wanted) for own, wanted in zip(students, everyones, strict=True)]
    assert sum(values).item() / 3 == pytest.approx(whole.item(), rel=1e-4)
