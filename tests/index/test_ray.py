"""Builds on a Ray cluster of two workers on this machine, against builds of one process."""

import os
import signal

import numpy as np
import psutil
import pytest

from optical_mteb.errors import InputError
from optical_mteb.index import FaissIndex
from optical_mteb.index.assembly import BuildSettings
from optical_mteb.index.build import build_index
from optical_mteb.index.encoder import load_encoder
from optical_mteb.index.ray_engine import RayEngine, ShardEncoder
from optical_mteb.index.shards import ShardStore
from tests.index.processes import corpus_of

pytestmark = pytest.mark.slow

ray = pytest.importorskip("ray")

WORDS = ["water", "hand", "soap", "mask", "doctor", "river", "school", "market", "letter", "music"]
SETTINGS = BuildSettings(spec="flat", shard_size=60, depth=10)


@pytest.fixture(autouse=True)
def not_nice(monkeypatch):
    """Ray gives way to all else, which on a busy machine takes minutes."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture
def corpus():
    rng = np.random.default_rng(3)
    return corpus_of([" ".join(rng.choice(WORDS, rng.integers(2, 9))) + f" {n}" for n in range(600)])


def test_a_dead_workers_shards_are_done_again(corpus, tiny_base, tmp_path, monkeypatch):
    """Guards against other ids or scores than one process gives, and documents that are lost with the worker that had them."""
    encoder = load_encoder(str(tiny_base), device="cpu")
    alone = build_index(tmp_path / "alone", corpus, encoder, settings=SETTINGS, say=str)
    written, killed = ShardStore.write, []

    def kill_a_worker(self, number, *arguments, **more):
        if not killed:
            workers = [
                process
                for process in psutil.Process().children(recursive=True)
                if any("ShardEncoder" in part for part in process.cmdline())
            ]
            assert len(workers) == 2
            os.kill(workers[0].pid, signal.SIGKILL)
            killed.append(workers[0].pid)
        written(self, number, *arguments, **more)

    monkeypatch.setattr(ShardStore, "write", kill_a_worker)
    lines = []
    engine = RayEngine(workers=2, device="cpu")
    spread = build_index(tmp_path / "ray", corpus, encoder, settings=SETTINGS, fill=engine, say=lines.append)
    assert killed
    assert not psutil.pid_exists(killed[0]) or psutil.Process(killed[0]).status() == psutil.STATUS_ZOMBIE
    assert any("2 workers" in line for line in lines)
    assert (spread.count, spread.corpus) == (alone.count, alone.corpus)
    asked = ["hand soap", "river school 17", "music"]
    found = [FaissIndex.open(tmp_path / name, encoder=encoder).search(asked, 20) for name in ("alone", "ray")]
    for one, two in zip(*found, strict=True):
        assert one.ids == two.ids
        np.testing.assert_allclose(one.scores, two.scores, atol=1e-6)


def test_a_worker_with_another_model_is_refused(corpus, tiny_base, tiny_model, tmp_path):
    """Guards against shards of another revision in one index, and a worker that raises, which Ray begins anew for ever."""
    folder = tmp_path / "model"
    tiny_model().save_pretrained(str(folder), create_model_card=False)
    encoder = load_encoder(str(folder), device="cpu")
    tiny_model(seed=1).save_pretrained(str(folder), create_model_card=False)

    # What Ray has a worker do.
    worker = ShardEncoder(encoder.record, "cpu", encoder.precision(["a name"]), None)
    with pytest.raises(InputError, match="a worker has revision") as error:
        worker.encode(corpus, 0, 0, 60)
    assert "\n" not in str(error.value)
