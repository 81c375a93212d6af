"""What tests of indexes share: vectors in clusters with their exact ranking, and a tiny encoder."""

from __future__ import annotations

import json
from dataclasses import dataclass

import faiss
import numpy as np
import pytest

from optical_mteb.index import FaissIndex
from optical_mteb.index.build import build_from_vectors
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


@pytest.fixture
def encoder(tiny_base):
    """The tiny encoder, as it is loaded from its folder."""
    from optical_mteb.index.encoder import load_encoder

    return load_encoder(str(tiny_base), device="cpu")


def contents(folder):
    """The manifest of an index, its day aside, and its other files by name."""
    manifest = json.loads((folder / "manifest.json").read_text()) | {"created": ""}
    return manifest, {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "manifest.json"}


def share_found(index, collection, k=10):
    """Recall against the ranking of a plain product of matrices."""
    best = collection.best(k)
    found = index.search(collection.queries, k)
    return np.mean([len(set(each.positions) & set(row)) / k for each, row in zip(found, best, strict=True)])


@pytest.fixture
def build(tmp_path, collection):
    """Builds over the collection; returns the index and what was said."""

    def built(spec, folder=None, **more):
        said = []
        target = tmp_path / "index" if folder is None else folder
        build_from_vectors(
            target,
            collection.ids,
            collection.vectors,
            settings=settings(spec, **more),
            queries=collection.queries,
            say=said.append,
        )
        return FaissIndex.open(target), said

    return built
