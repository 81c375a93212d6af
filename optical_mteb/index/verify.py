"""Whether an index is as it was written, and finds its own documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optical_mteb.errors import InputError
from optical_mteb.index.faiss_index import FaissIndex
from optical_mteb.index.manifest import IndexManifest
from optical_mteb.storage import expanded

SELF_SEARCHES = 200
"""Documents that are searched by their own vectors."""

SELF_DEPTH = 10
SELF_SHARE = 0.95
"""Share of them that has to be among the best `SELF_DEPTH` for itself: codes of a few bytes are not one to a document."""


@dataclass(frozen=True)
class IndexCheck:
    """The outcome of one check, in one line."""

    name: str
    passed: bool
    found: str


def verify(folder: Path) -> Iterator[IndexCheck]:
    """Check an index: its files, its counts, its ids, and whether documents are found by their own vectors.

    Args:
        folder: The index.

    Raises:
        InputError: The folder has no manifest that can be read, or another process changes the index meanwhile.
    """
    folder = expanded(folder)
    manifest = IndexManifest.read(folder)
    whole = True
    for name, record in manifest.files.items():
        problem = record.problem(folder / name)
        if problem and IndexManifest.read(folder) != manifest:
            raise InputError(f"{folder}: another process changed it meanwhile; run the command again")
        whole &= not problem
        yield IndexCheck(name, not problem, problem or f"{record.bytes:,} bytes, checksum as written")
    if not whole:
        return
    try:
        index = FaissIndex.open(folder)
    except InputError as error:
        yield IndexCheck("opening", False, str(error))
        return
    manifest = index.manifest
    live = manifest.count - manifest.removed
    yield IndexCheck("counts", len(index) == live, f"{len(index):,} documents to be found, {live:,} recorded")
    yield _unique_ids(index)
    yield _self_retrieval(index)


def _unique_ids(index: FaissIndex) -> IndexCheck:
    ids = index.documents.table["id"].chunks
    every = np.concatenate([np.fromiter(map(hash, part.to_pylist()), np.int64, len(part)) for part in ids])
    kept = np.delete(every, index.searcher.removed)
    twice = len(kept) - len(np.unique(kept))
    return IndexCheck("ids", not twice, f"{twice:,} appear twice" if twice else "no two documents share one")


def _self_retrieval(index: FaissIndex) -> IndexCheck:
    live = index.findable()
    if not len(live):
        return IndexCheck("self-retrieval", True, "no document is left to be found")
    chosen = np.random.default_rng(index.manifest.seed).choice(live, min(SELF_SEARCHES, len(live)), replace=False)
    rankings = index.search(index.own_rows(np.sort(chosen)), SELF_DEPTH)
    found = [position in ranking.positions for position, ranking in zip(np.sort(chosen), rankings, strict=True)]
    share = float(np.mean(found))
    text = f"{sum(found)} of {len(found)} documents are among the best {SELF_DEPTH} for their own vectors"
    return IndexCheck("self-retrieval", share >= SELF_SHARE, text)
