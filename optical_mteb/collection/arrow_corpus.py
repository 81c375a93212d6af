"""Corpora that are too large for memory: written once to an Arrow file in the cache, read memory-mapped."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from optical_mteb.collection import Entry
from optical_mteb.collection.download import progress_bar
from optical_mteb.collection.split import check_entry
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, data_folder, held, writing

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 1_000
"""Documents that are held in memory while writing."""

SCHEMA = pa.schema([(column, pa.string()) for column in ("id", "text", "title")])
"""Columns of a corpus."""

_BAR = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
_FILE = "corpus.arrow"
_log = logging.getLogger(__name__)


def corpus_dataset(name: str, fingerprint: str, entries: Callable[[], Iterable[Entry]]) -> Dataset:
    """A corpus with the columns `id`, `text` and `title`, from the cache, or written there first.

    Documents with neither text nor title are left out, and their number is logged; one that has a title alone stays.

    Args:
        name: What to call it in error messages and in the cache, `MMarcoCrosslingualRetrieval/english`.
        fingerprint: Everything that the documents depend on: revision, file names, library version. Another
            fingerprint is another file.
        entries: Reads the documents; called only where they are not in the cache, and again to place a duplicate id.

    Raises:
        InputError: A document has no id, an id appears twice, there is no document, or the cache cannot be written to.
    """
    return cached_corpus(corpus_folder(name, fingerprint), lambda path: write_corpus(name, entries, path))


def fingerprint(revision: str, *files: Path) -> str:
    """What a corpus was made of: another one for another revision, or a file of another name, size or time of change."""
    states = [(file.name, file.stat()) for file in files]
    return "\n".join([revision, *(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)])


def cached_corpus(folder: Path, write: Callable[[Path], None]) -> Dataset:
    """A corpus that the cache keeps in a folder, opened as a memory map; written first where it is not there.

    Raises:
        InputError: The cache cannot be written to; and what `write` raises.
    """
    from datasets import Dataset

    # A complete one is read without the lock, whose file a reader may not be allowed to write.
    if not (folder / _FILE).is_file():
        with held(Path(f"{folder}.lock")):
            if not (folder / _FILE).is_file():
                with atomic_folder(folder) as scratch:
                    write(scratch / _FILE)
    return Dataset.from_file(str(folder / _FILE))


def corpus_folder(name: str, fingerprint: str) -> Path:
    """Where the cache keeps a corpus."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    key = hashlib.sha256(f"{name}\0{fingerprint}".encode()).hexdigest()[:16]
    return data_folder() / "corpora" / f"{readable}-{key}"


def write_corpus(name: str, entries: Callable[[], Iterable[Entry]], path: Path) -> None:
    """Write documents to an Arrow file, as they come; memory holds one batch, and 8 bytes for every document.

    Args:
        name: What to call the corpus in error messages.
        entries: Reads the documents; called again to place a duplicate id.
        path: The file; its folder is there.

    Raises:
        InputError: A document has no id, an id appears twice, there is no document, or the file cannot be written.
    """
    documents = iter(entries())
    batches = iter(lambda: list(islice(documents, BATCH)), [])
    write_blocks(name, (_block(name, batch) for batch in batches), path, entries)


def write_blocks(
    name: str,
    blocks: Iterable[tuple[pa.Table | pa.RecordBatch, int]],
    path: Path,
    entries: Callable[[], Iterable[Entry]],
) -> None:
    """As `write_corpus`, from blocks: columns of the documents that have text, and how many there are with the others."""
    hashes, left_out = [np.empty(0, np.int64)], 0
    with (
        writing(path),
        pa.OSFile(str(path), "wb") as file,
        pa.ipc.new_stream(file, SCHEMA) as writer,
        progress_bar(*_BAR) as progress,
    ):
        bar = progress.add_task(name, total=None)
        for block, read in blocks:
            hashes.append(np.fromiter(map(_hash, block.column("id").to_pylist()), np.int64, count=len(block)))
            writer.write(block)
            progress.advance(bar, read)
            left_out += read - len(block)
    ordered = np.sort(np.concatenate(hashes))
    if not ordered.size:
        raise InputError(f"{name}: there is no document with text; get the data again")
    doubtful = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if doubtful:
        _check_unique(name, doubtful, entries)
    if left_out:
        _log.warning("%s: left out %d documents that have no text", name, left_out)


def _block(name: str, batch: Sequence[Entry]) -> tuple[pa.Table, int]:
    kept = [entry for entry in batch if entry.text.strip() or entry.title.strip()]
    for entry in kept:
        check_entry(name, "document", entry)
    columns = ([entry.id for entry in kept], [e.text.strip() for e in kept], [e.title.strip() for e in kept])
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=SCHEMA), len(batch)


_hash: Callable[[str], int] = hash


def _check_unique(name: str, doubtful: Collection[int], entries: Callable[[], Iterable[Entry]]) -> None:
    # Two ids may share a hash, so the ids themselves decide.
    first: dict[str, str] = {}
    for entry in entries():
        if _hash(entry.id) in doubtful and (entry.text.strip() or entry.title.strip()):
            if entry.id in first:
                before = f", the first at {first[entry.id]}" if first[entry.id] else ""
                raise InputError(
                    f"{entry.where or name}: document id {entry.id!r} appears twice{before}; "
                    "give every document its own id"
                )
            first[entry.id] = entry.where
