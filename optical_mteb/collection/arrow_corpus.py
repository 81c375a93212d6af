"""Corpora that are too large for memory: written once to an Arrow file in the cache, read memory-mapped."""

from __future__ import annotations

import hashlib
import logging
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from optical_mteb.collection import Entry
from optical_mteb.collection.download import progress_bar
from optical_mteb.collection.split import check_entry
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, data_folder, held, not_writable

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 1_000
"""Documents that are held in memory while writing."""

COLUMNS = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
"""Of the bar that is shown while documents are read."""

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
    """A corpus in an Arrow file, opened as a memory map, written first where it is not there.

    Args:
        folder: Where the cache keeps it, complete or not at all.
        write: Writes the file to a path.

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
    """Write documents to an Arrow file, as they come.

    Memory holds one batch and 8 bytes for every document.

    Args:
        name: What to call the corpus in error messages.
        entries: Reads the documents; called again to place a duplicate id.
        path: The file; its folder is there.

    Raises:
        InputError: A document has no id, an id appears twice, there is no document, or the file cannot be written.
    """
    from datasets import Features, Value
    from datasets.arrow_writer import ArrowWriter

    hashes, empty = array("Q"), 0
    features = Features({column: Value("string") for column in ("id", "text", "title")})
    with _storing(path):
        writer = ArrowWriter(path=str(path), features=features)
    with writer, progress_bar(*COLUMNS) as progress:
        bar = progress.add_task(name, total=None)
        documents = iter(entries())
        while batch := list(islice(documents, BATCH)):
            kept = [entry for entry in batch if entry.text.strip() or entry.title.strip()]
            columns = _columns(name, kept)
            hashes.extend(_hash(entry.id) for entry in kept)
            empty += len(batch) - len(kept)
            with _storing(path):
                writer.write_batch(columns)
            progress.advance(bar, len(batch))
        if not hashes:
            raise InputError(f"{name}: there is no document with text; get the data again")
        with _storing(path):
            writer.finalize()
    _check_unique(name, hashes, entries)
    say_left_out(name, empty)


def say_left_out(name: str, empty: int) -> None:
    """Log how many documents of a corpus were left out, where some were."""
    if empty:
        _log.warning("%s: left out %d documents that have no text", name, empty)


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise not_writable(path, error) from error


def _columns(name: str, entries: Sequence[Entry]) -> dict[str, list[str]]:
    for entry in entries:
        check_entry(name, "document", entry)
    return {
        "id": [entry.id for entry in entries],
        "text": [entry.text.strip() for entry in entries],
        "title": [entry.title.strip() for entry in entries],
    }


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little")


def _check_unique(name: str, hashes: array[int], entries: Callable[[], Iterable[Entry]]) -> None:
    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64))
    doubtful = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not doubtful:
        return
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
