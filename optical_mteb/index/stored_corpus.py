"""Documents of an evaluation as vectors in the store: encoded once, whatever index they are searched by.

A folder a corpus: `vectors` holds shards in float32, so that an exact search gives MTEB's scores, and beside it stands
a folder for each index over them. What is damaged is made again: a shard by encoding its documents, an index from the
shards.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout

from optical_mteb.errors import InputError
from optical_mteb.index.assembly import BuildSettings, assemble, left_out
from optical_mteb.index.build import LATE_SAMPLE, SAMPLE
from optical_mteb.index.build_folder import building, storing
from optical_mteb.index.choice import choose
from optical_mteb.index.documents import IDS
from optical_mteb.index.faiss_index import FaissIndex
from optical_mteb.index.manifest import MANIFEST, CorpusRecord, ModelRecord
from optical_mteb.index.rows import ONE_ROW, Metric, Rows
from optical_mteb.index.shards import ShardKey, ShardStore
from optical_mteb.index.spec import AUTO

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
        metric: How the model compares.
    """

    def __init__(
        self,
        folder: Path,
        record: CorpusRecord,
        model: ModelRecord | None,
        settings: BuildSettings,
        metric: Metric = ONE_ROW,
    ) -> None:
        self.folder, self.record, self.model, self.metric = folder, record, model, metric
        self.late = metric != ONE_ROW
        self.settings = settings.for_late_interaction() if self.late else settings

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

    def fill(self, encode: Callable[[int, int], tuple[Sequence[str], Rows]]) -> None:
        """Encode the documents of shards that are missing or damaged; a line says how many of all have no vector.

        `encode` gives ids and rows of the documents at positions `start` to `stop - 1`: of length 1; zero, or none, for
        documents that cannot be compared.

        Raises:
            InputError: No document has a vector, or the folder cannot be written to.
        """
        with self.held() as store:
            absent = set(store.missing())
            for number in range(len(store)):
                if number in absent or _damaged(store, number):
                    ids, rows = encode(*store.bounds(number))
                    store.write(number, rows, pa.table([list(ids)], schema=IDS))
            source = self.record.source
            left_out(store, source, self.model, lambda line: logger.warning(f"{source}: {line}"))

    def index(self, queries: Rows) -> FaissIndex:
        """The index over the documents; built and tuned on the queries where there is none, or a damaged one.

        Raises:
            InputError: The index cannot be built over these documents, or there is no room on the disk.
        """
        with self.held() as store:
            settings = self.settings
            if settings.spec == AUTO:
                tokens = store.total if self.late else None
                spec, why = choose(len(self), store.width, memory=NO_LIMIT, recall=settings.recall, tokens=tokens)
                logger.info(why)
                settings = replace(settings, spec=str(spec))
            if settings.spec == EXACT:
                settings = replace(settings, recall=1.0)
            settings.check(len(self), store.width)
            folder = self.folder / f"{settings.spec}-{settings.recall}"
            index = self._opened(folder, settings)
            if index is None:
                with building(folder) as site:
                    assemble(
                        *(site, folder, store, self.record, self.model, settings, lambda: self._sample(queries)),
                        metric=self.metric,
                        say=logger.info,
                    )
                index = FaissIndex.open(folder)
        tuning = index.manifest.tuning
        tuned = {"nprobe": tuning.nprobe, "efSearch": tuning.ef_search, "candidates": tuning.candidates}
        parameters = "".join(f", {name} {value:,}" for name, value in tuned.items() if value is not None)
        logger.info(f"{folder}: {tuning.found}{parameters}")
        return index

    def _sample(self, queries: Rows) -> tuple[Rows, str]:
        asked = np.random.default_rng(self.settings.seed).permutation(np.flatnonzero(queries.lengths))
        chosen = np.sort(asked[: LATE_SAMPLE if self.late else SAMPLE])
        return queries.at(chosen), f"queries of {self.record.source}"

    def rows_of(self, ids: Sequence[str]) -> tuple[dict[str, int], Rows]:
        """The rows of documents, and which of them are those of an id.

        Raises:
            InputError: There is no document of an id.
        """
        wanted = set(ids)
        with self.held() as store:
            places: dict[str, int] = {}
            for number in range(len(store)):
                names = store.documents(number)["id"].to_pylist()
                start, _ = store.bounds(number)
                places |= {name: start + row for row, name in enumerate(names) if name in wanted}
            lost = next((name for name in ids if name not in places), None)
            if lost is not None:
                raise InputError(f"{self.record.source}: has no document {lost!r}, which is to be ranked; fix the task")
            rows = store.at(np.fromiter(places.values(), np.int64, len(places)))
        return {name: row for row, name in enumerate(places)}, rows

    def _key(self) -> ShardKey:
        size = self.settings.shard_size
        return ShardKey.of(self.record, self.model, shard_size=size, texts=False, dtype="float32", tokens=self.late)

    def _opened(self, folder: Path, settings: BuildSettings) -> FaissIndex | None:
        """The index in a folder, or None where it is to be built: it is the one of its name, to the last byte."""
        if not (folder / MANIFEST).is_file():
            return None
        try:
            index = FaissIndex.open(folder)
            manifest, corpus = index.manifest, index.manifest.corpus
            expected = (self.record.fingerprint, settings.spec, settings.recall, settings.seed, len(self))
            found = (corpus.fingerprint, manifest.spec, manifest.tuning.target, manifest.seed, manifest.count)
            if found != expected or manifest.removed != corpus.left_out:
                raise InputError(f"{folder}: is over other documents, or tuned otherwise, than its place says")
            manifest.check_files(folder, read_up_to=math.inf)
        except InputError as error:
            logger.warning(f"{_finding(error)}; builds the index again from the vectors")
            return None
        return index


def _damaged(store: ShardStore, number: int) -> bool:
    try:
        store.rows(number)
        store.documents(number)
    except InputError as error:
        logger.warning(f"{_finding(error)}; encodes its documents again")
        return True
    return False


def _finding(error: InputError) -> str:
    """What was found, without the advice to fix it by hand."""
    return str(error).partition(";")[0]
