"""Documents and queries in BEIR's JSON lines: read in columns where nothing is wrong, line by line where something is.

Arrow's reader is some ten times as fast as a loop over the lines, but says no line where it stumbles. So whatever it
does not like is read again by the loop, which says where and what, or finds that nothing is amiss.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json
from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

from optical_mteb.collection import Entry
from optical_mteb.collection.arrow_corpus import cached_corpus, corpus_folder, say_left_out, write_corpus
from optical_mteb.collection.download import progress_bar
from optical_mteb.collection.json_lines import read_json_lines
from optical_mteb.errors import InputError
from optical_mteb.storage import not_writable, remove

if TYPE_CHECKING:
    from datasets import Dataset

BLOCK = 4 << 20
"""Bytes that Arrow's reader takes at once; a longer line is left to the loop."""

FIX = "fix the line, or take it out"
_READ = pa.schema([(key, pa.string()) for key in ("_id", "text", "title")])
_COLUMNS = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())


def beir_corpus(path: Path) -> Dataset:
    """The documents of a `corpus.jsonl`, as columns `id`, `text` and `title`, read memory-mapped.

    They are written to an Arrow file in the cache once for every state of the file, told by its size and time of
    change; the Arrow file of an earlier state is removed. White space around texts and titles is taken off. Documents
    with neither text nor title are left out, as MTEB does, and their number is logged.

    Args:
        path: The file: an object a line, with `_id`, `text` and perhaps `title`; other keys are passed over.

    Raises:
        InputError: A line is no such object, an id is empty or appears twice, or there is no document with text; or the
            cache cannot be written to.
    """
    state = path.stat()
    folder = cache_folder(path) / f"{state.st_size}-{state.st_mtime_ns}"
    corpus = cached_corpus(folder, lambda target: _write(path, target))
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder and not other.name.startswith("."):
            with suppress(InputError, OSError):
                remove(other)
                Path(f"{other}.lock").unlink()
    return corpus


def cache_folder(path: Path) -> Path:
    """Where the cache keeps the documents of a file."""
    resolved = path.resolve()
    return corpus_folder(f"own {resolved.parent.name}", str(resolved))


def read_entries(path: Path, *, empty: bool = False) -> Iterator[Entry]:
    """The documents, or the queries, of a file line by line.

    Args:
        path: The file.
        empty: Give those with neither text nor title, too, and do not refuse them.

    Raises:
        InputError: A line is not valid UTF-8, no JSON object, has no `_id` or no `text`, or something else than text
            there, or neither text nor title.
    """
    for where, record in read_json_lines(path, fix=FIX):
        entry = Entry(_text(record, "_id", where), _text(record, "text", where), _title(record, where), where)
        if not (empty or entry.text.strip() or entry.title.strip()):
            raise InputError(f"{where}: {entry.id!r} has an empty text; {FIX}")
        yield entry


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    if key not in record:
        raise InputError(f"{where}: the object has no {key!r}, its keys are {', '.join(map(repr, record))}; {FIX}")
    value = record[key]
    if not isinstance(value, str):
        raise InputError(f"{where}: expected text at {key!r}, found {json.dumps(value)[:40]}; {FIX}")
    return value


def _title(record: Mapping[str, Any], where: str) -> str:
    return "" if record.get("title") is None else _text(record, "title", where)


class _DoubtfulError(Exception):
    """The columns hold what the loop over the lines has to look at."""


def _write(source: Path, target: Path) -> None:
    try:
        _write_columns(source, target)
    except (_DoubtfulError, pa.ArrowException):
        write_corpus(str(source), lambda: read_entries(source, empty=True), target)


def _write_columns(source: Path, target: Path) -> None:
    """Write the Arrow file block by block; memory holds a few blocks, and 8 bytes for every document."""
    from datasets import Features, Value

    schema = Features({column: Value("string") for column in ("id", "text", "title")}).arrow_schema
    parse = arrow_json.ParseOptions(explicit_schema=_READ, unexpected_field_behavior="ignore")
    hashes, empty = [], 0
    try:
        lines = pa.OSFile(str(source), "rb")
    except OSError as error:
        raise _DoubtfulError from error
    try:
        with (
            lines,
            arrow_json.open_json(lines, arrow_json.ReadOptions(block_size=BLOCK), parse) as blocks,
            pa.OSFile(str(target), "wb") as file,
            pa.ipc.new_stream(file, schema) as writer,
            progress_bar(*_COLUMNS) as progress,
        ):
            bar = progress.add_task(str(source), total=None)
            for block in blocks:
                ids, texts, titles = _checked(block)
                hashes.append(np.fromiter(map(hash, ids.to_pylist()), dtype=np.int64, count=len(ids)))
                writer.write_batch(pa.record_batch([ids, texts, titles], schema=schema))
                progress.advance(bar, len(block))
                empty += len(block) - len(ids)
    except OSError as error:
        raise not_writable(target, error) from error
    ordered = np.sort(np.concatenate(hashes)) if hashes else np.empty(0)
    if not ordered.size or (ordered[1:] == ordered[:-1]).any():
        raise _DoubtfulError
    say_left_out(str(source), empty)


def _checked(block: pa.RecordBatch) -> tuple[pa.StringArray, pa.StringArray, pa.StringArray]:
    """Ids, texts and titles of a block, without white space around them and documents that have neither of the two."""
    for column in block.columns:
        column.validate(full=True)
    ids, texts, titles = (block.column(field.name) for field in _READ)
    if ids.null_count or texts.null_count:
        raise _DoubtfulError
    texts, titles = pc.utf8_trim_whitespace(texts), pc.utf8_trim_whitespace(pc.fill_null(titles, ""))
    filled = pc.invert(pc.and_(pc.equal(texts, ""), pc.equal(titles, "")))
    if pc.any(pc.and_(filled, pc.equal(ids, ""))).as_py():
        raise _DoubtfulError
    return ids.filter(filled), texts.filter(filled), titles.filter(filled)
