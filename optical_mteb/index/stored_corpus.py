"""Documents of an evaluation as vectors in the store: encoded once, whatever index they are searched by.

A folder a corpus: `vectors` holds shards in float32, so that an exact search gives MTEB's scores, and beside it stands
a folder for each index over them. What is damaged is made again: a shard by encoding its documents, an index from the
shards.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from optical_mteb.errors import InputError
from optical_mteb.index.assembly import BuildSettings, assemble, left_out
from optical_mteb.index.build import SAMPLE
from optical_mteb.index.documents import as_batch
from optical_mteb.index.faiss_index import FaissIndex
from optical_mteb.index.manifest import MANIFEST, CorpusRecord, FileRecord, IndexManifest, ModelRecord
from optical_mteb.index.place import building, storing
from optical_mteb.index.shards import ShardKey, ShardStore, Vectors
from optical_mteb.index.spec import AUTO, choose

# Below mteb's own logger, so that its --verbosity counts here, too.
logger = logging.getLogger("mteb.optical_mteb")

EXACT = "flat"
"""The spec that finds the exact best whatever recall is asked for."""

NO_LIMIT = 1 << 62
"""Bytes of memory that `auto` reckons with: a score is not to depend on the machine."""


class StoredCorpus:
    """The vectors of one corpus under one model, and the indexes over them.

    Attributes:
        folder: Where they are; another one for whatever changes a vector.
        record: The corpus.
        model: What encodes it; None where that is not known.
        settings: How its indexes are built; `texts` and `memory` count for nothing.
    """

    def __init__(self, folder: Path, record: CorpusRecord, model: ModelRecord | None, settings: BuildSettings) -> None:
        self.folder, self.record, self.model, self.settings = folder, record, model, settings

    def __len__(self) -> int:
        return self.record.count

    @contextmanager
    def held(self) -> Iterator[ShardStore]:
        """The shards, for this process alone as long as the block runs; another process is waited for.

        What may only be read is read without the lock.

        Raises:
            InputError: The folder cannot be written to, or its shards are of something else.
        """
        if self.folder.is_dir() and not os.access(self.folder, os.W_OK):
            yield ShardStore(self.folder / "vectors", self._key())
            return
        lock = FileLock(self.folder / ".lock")
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                logger.warning(f"{self.folder}: another process encodes or indexes these documents; waits for it")
                lock.acquire()
        try:
            yield ShardStore(self.folder / "vectors", self._key())
        finally:
            lock.release()

    def index(self, queries: Vectors) -> FaissIndex:
        """The index over the documents; built and tuned on the queries where there is none, or a damaged one.

        Args:
            queries: Of length 1, [n, width].

        Raises:
            InputError: The index cannot be built over these documents, or there is no room on the disk.
        """
        with self.held() as store:
            settings = self.settings
            if settings.spec == AUTO:
                choice = choose(len(self), store.width, memory=NO_LIMIT, recall=settings.recall)
                logger.info(choice.reason)
                settings = replace(settings, spec=str(choice.spec))
            if settings.spec == EXACT:
                settings = replace(settings, recall=1.0)
            settings.check(len(self), store.width)
            folder = self.folder / f"{settings.spec}-{settings.recall}"
            index = self._opened(folder, settings)
            if index is None:
                chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(queries))[:SAMPLE])
                source = f"queries of {self.record.source}"
                with building(folder) as site:
                    assemble(
                        *(site, folder, store, self.record, self.model, settings, queries[chosen]),
                        sample=source,
                        say=logger.info,
                    )
                index = FaissIndex.open(folder)
        tuning = index.manifest.tuning
        tuned = {"nprobe": tuning.nprobe, "efSearch": tuning.ef_search, "candidates": tuning.candidates}
        parameters = "".join(f", {name} {value:,}" for name, value in tuned.items() if value is not None)
        found = f"recall@{tuning.depth} {tuning.recall:.3f} on {tuning.queries} {tuning.sample}"
        logger.info(f"{folder}: {found}{parameters}")
        return index

    def vectors_of(self, ids: Sequence[str]) -> dict[str, Vectors]:
        """The vectors of documents by their ids, [width] each.

        Raises:
            InputError: There is no document of an id.
        """
        wanted = set(ids)
        with self.held() as store:
            places: dict[str, int] = {}
            for number in range(len(store)):
                names = store.documents(number).column("id").to_pylist()
                start, _ = store.bounds(number)
                places |= {name: start + row for row, name in enumerate(names) if name in wanted}
            lost = next((name for name in ids if name not in places), None)
            if lost is not None:
                raise InputError(
                    f"{self.record.source}: has no document {lost!r}, which is to be ranked; mend the task"
                )
            rows = store.rows(np.fromiter(places.values(), np.int64, len(places)))
        return dict(zip(places, rows, strict=True))

    def _key(self) -> ShardKey:
        model = self.model
        return ShardKey(
            fingerprint=self.record.fingerprint,
            count=self.record.count,
            revision=model.revision if model else "",
            document_prompt=model.document_prompt if model else "",
            max_tokens=model.max_tokens if model else None,
            shard_size=self.settings.shard_size,
            texts=False,
            dtype="float32",
        )

    def _opened(self, folder: Path, settings: BuildSettings) -> FaissIndex | None:
        """The index in a folder, or None where it is to be built."""
        if not (folder / MANIFEST).is_file():
            return None
        try:
            index = FaissIndex.open(folder)
            self._check(index.manifest, folder, settings)
        except InputError as error:
            logger.warning(f"{_finding(error)}; builds the index again from the vectors")
            return None
        return index

    def _check(self, manifest: IndexManifest, folder: Path, settings: BuildSettings) -> None:
        """Check that an index is the one that its folder is named after, to the last byte."""
        left_out = manifest.corpus.left_out
        expected = (self.record.fingerprint, settings.spec, settings.recall, settings.seed, len(self), left_out)
        corpus, tuning = manifest.corpus, manifest.tuning
        if (
            corpus.fingerprint,
            manifest.spec,
            tuning.target,
            manifest.seed,
            manifest.count,
            manifest.removed,
        ) != expected:
            raise InputError(f"{folder}: is over other documents, or tuned otherwise, than its place says")
        for name, record in manifest.files.items():
            if FileRecord.of(folder / name) != record:
                raise InputError(f"{folder / name}: has changed since it was written")


def warn_of_left_out(store: ShardStore, source: str) -> None:
    """Say how many documents have no vector, and are not found.

    Raises:
        InputError: None of them has one.
    """
    left_out(store, source, lambda line: logger.warning(f"{source}: {line}"))


def missing(store: ShardStore) -> list[int]:
    """Numbers of the shards whose documents are to be encoded: those that are not there, and those that are damaged."""
    absent = set(store.missing())
    return [number for number in range(len(store)) if number in absent or _damaged(store, number)]


def write(store: ShardStore, number: int, ids: Sequence[str], vectors: Vectors) -> None:
    """Write a shard of vectors of length 1, zero for documents that have none.

    Raises:
        InputError: The folder cannot be written to.
    """
    store.write(number, vectors, as_batch(ids, [], [], store.schema))


def _damaged(store: ShardStore, number: int) -> bool:
    try:
        store.vectors(number)
        store.documents(number)
    except InputError as error:
        logger.warning(f"{_finding(error)}; encodes its documents again")
        return True
    return False


def _finding(error: InputError) -> str:
    """What was found, without the advice to mend it by hand."""
    return str(error).partition(";")[0]
