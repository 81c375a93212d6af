"""What tests of indexes share: vectors in clusters with their exact ranking, and a tiny encoder."""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass

import faiss
import numpy as np
import pyarrow as pa
import pytest

from optical_mteb.index import FaissIndex
from optical_mteb.index.build import build_from_vectors
from optical_mteb.index.documents import IDS
from optical_mteb.index.manifest import FileRecord
from optical_mteb.index.rows import Rows
from optical_mteb.index.shards import ShardKey, ShardStore
from tests.index.processes import settings

WIDTH = 32


@dataclass(frozen=True)
class Collection:
    """Documents and queries as vectors of length 1, rounded to float16 as an index keeps them."""

    ids: list[str]
    vectors: np.ndarray
    queries: np.ndarray

    def best(self, k: int, among=None) -> np.ndarray:
        """Positions of the best documents by comparing with all of them, [queries, k]."""
        scores = self.queries @ self.vectors.T
        if among is not None:
            scores[:, np.setdiff1d(np.arange(len(self.ids)), among)] = -np.inf
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.fixture(autouse=True)
def _one_thread():
    """Small searches are faster in one thread, and graphs are built alike."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    yield
    faiss.omp_set_num_threads(before)


@pytest.fixture(scope="session")
def collection() -> Collection:
    """2,000 documents around 40 centres, and 40 queries around the same."""
    generator = np.random.default_rng(7)
    centres = generator.standard_normal((40, WIDTH))

    def around(count):
        rows = centres[generator.integers(40, size=count)] + 0.6 * generator.standard_normal((count, WIDTH))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)

    return Collection([f"d{number}" for number in range(2000)], around(2000), around(40))


WORDS = ["rain", "maize", "market", "river", "school", "fever", "vote", "road", "goat", "moon", "salt", "drum"]


def sentence(number: int) -> str:
    """A text of 1 to 12 words, another one for every number."""
    generator = np.random.default_rng(number)
    return " ".join(generator.choice(WORDS, size=1 + number % 12)) + f" {number}"


def contents(folder):
    """The manifest of an index, its day aside, and its other files by name."""
    manifest = json.loads((folder / "manifest.json").read_text()) | {"created": ""}
    return manifest, {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "manifest.json"}


def flip(path, place=-1):
    """Change one byte of a file, so that its size stays."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def edit_manifest(folder, **changes):
    """Put other values into the manifest of an index."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def record_again(folder, name):
    """Put a file's present size and checksum on record, as somebody would who edits on purpose."""
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=files | {name: FileRecord.of(folder / name).model_dump()})


def share_found(index, collection, k=10, among=None):
    """Recall against the ranking of a plain product of matrices."""
    best = collection.best(k, among)
    found = index.search(collection.queries, k)
    return np.mean([len(set(each.positions) & set(row)) / k for each, row in zip(found, best, strict=True)])


@pytest.fixture
def index_command(command, monkeypatch, tmp_path):
    """Runs `optical-mteb index` in a folder of its own; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("optical_mteb.cli.index.register", lambda: None)
    return lambda *arguments: command("index", *map(str, arguments))


def write_shards(folder, vectors, shard_size, numbers=None, **more):
    """Write vectors of documents `d0`, `d1` and so on as shards; as many are not read to the end as a shard's number."""
    store = ShardStore(
        folder, ShardKey(fingerprint="f", count=len(vectors), shard_size=shard_size, texts=False, **more)
    )
    for number in range(len(store)) if numbers is None else numbers:
        start, stop = store.bounds(number)
        ids = pa.table([[f"d{row}" for row in range(start, stop)]], schema=IDS)
        store.write(number, Rows.single(vectors[start:stop]), ids, truncated=number)
    return store


@pytest.fixture
def largest_file():
    """Sets the bytes from which on writing a file fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def build(tmp_path, collection):
    """Builds over the collection; returns the index and what was said."""

    def built(spec, folder=None, **more):
        said, how = [], settings(spec, **more)
        target = tmp_path / "index" if folder is None else folder
        build_from_vectors(
            target, collection.ids, collection.vectors, settings=how, queries=collection.queries, say=said.append
        )
        return FaissIndex.open(target), said

    return built
