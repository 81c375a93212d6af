"""Collections in BEIR's format: a folder with `corpus.jsonl`, `queries.jsonl` and the judgements in `qrels.tsv`.

Arrow's reader is some ten times as fast as a loop over the lines, but says no line where it stumbles. So whatever it
does not like of the documents is read again by the loop, which says where and what, or finds that nothing is amiss.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as arrow_json

from optical_mteb.collection import Entry
from optical_mteb.collection.arrow_corpus import SCHEMA, cached_corpus, corpus_folder, write_blocks, write_corpus
from optical_mteb.collection.lines import read_json_lines, read_lines
from optical_mteb.collection.split import UnmatchedError, documents_among, retrieval_split
from optical_mteb.errors import InputError
from optical_mteb.storage import remove

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

BLOCK = 4 << 20
"""Bytes that Arrow's reader takes at once; a longer line is left to the loop."""

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels.tsv"
HEAD = ("query-id", "corpus-id", "score")
# Measures of gain count up to the highest grade, for every query.
_GRADE = re.compile(r"[+-]?[0-9]{1,4}")
_FIX = "fix the line, or take it out"
_READ = pa.schema([(key, pa.string()) for key in ("_id", "text", "title")])


class BeirFiles(NamedTuple):
    """The files of a collection."""

    corpus: Path
    queries: Path
    qrels: Path


def beir_files(folder: Path, split: str) -> BeirFiles:
    """The files of one split: the judgements are in `qrels.tsv` or, as BEIR has them, in `qrels/<split>.tsv`.

    Raises:
        InputError: A file is not there, or the judgements are there twice.
    """
    of_split = folder / "qrels" / f"{split}.tsv"
    qrels = of_split if of_split.is_file() else folder / QRELS
    files = BeirFiles(folder / CORPUS, folder / QUERIES, qrels)
    for file in files:
        if not file.is_file():
            hint = f" or {of_split}" if file == qrels else ""
            raise InputError(
                f"{file}{hint}: no such file; a collection is a folder with {CORPUS}, {QUERIES} and {QRELS}"
            )
    if qrels == of_split and (folder / QRELS).is_file():
        raise InputError(f"{qrels} and {folder / QRELS}: both have judgements; take one of the files out")
    return files


def read_beir(folder: Path, *, split: str = "test", name: str = "") -> RetrievalSplitData:
    """One split of a collection, checked, in the form that `AbsTaskRetrieval.dataset` holds.

    Where the judgements are in `qrels/<split>.tsv`, queries that stand in no line of it belong to another split and
    are left out. Grades of 0 and below are not kept.

    Args:
        folder: The collection.
        split: Name of the split.
        name: What to call it in error messages; the folder by default.

    Raises:
        InputError: A file is not there; a line of it is broken, has another form, an empty text or an id that stood
            before; a judgement names no query, or no document with text; a query has no relevant document. The text names file
            and line.
    """
    files = beir_files(folder, split)
    corpus, qrels = beir_corpus(files.corpus), _read_qrels(files.qrels)
    queries: Sequence[Entry] = list(read_entries(files.queries))
    if files.qrels.name != QRELS:
        queries = [query for query in queries if query.id in qrels]
    try:
        return retrieval_split(name or str(folder), corpus, queries, qrels)
    except UnmatchedError as error:
        _place(files, corpus, queries, error)
        raise


def _read_qrels(path: Path) -> dict[str, dict[str, int]]:
    """The grade of every judged document, by query; a line that appears twice counts once."""
    qrels: dict[str, dict[str, int]] = {}
    for number, query, document, grade in _judgements(path):
        judged = qrels.setdefault(query, {})
        if judged.setdefault(document, grade) != grade:
            raise InputError(
                f"{path}:{number}: query {query!r} and document {document!r} have the grade {grade}, "
                f"but {judged[document]} before; take one of the lines out"
            )
    if not qrels:
        raise InputError(f"{path}: holds no judgement; write a line for every relevant document")
    return qrels


def _judgements(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """Number, query, document and grade of every line."""
    lines = enumerate(read_lines(path), start=1)
    if tuple(next(lines, (1, ""))[1].split("\t")) != HEAD:
        raise InputError(f"{path}:1: expected the head {' '.join(HEAD)!r}, tabs between; put it before the judgements")
    for number, line in lines:
        if not line:
            continue
        columns = line.split("\t")
        if len(columns) != 3 or not columns[1] or not _GRADE.fullmatch(columns[2]):
            raise InputError(
                f"{path}:{number}: expected query, document and a whole number up to 9999 as grade, tabs between, "
                f"found {line[:60]!r}; {_FIX}"
            )
        yield number, columns[0], columns[1], int(columns[2])


def _place(files: BeirFiles, corpus: Dataset, queries: Sequence[Entry], error: UnmatchedError) -> None:
    """Say at which line judgements, queries and documents do not belong together."""
    asked = {query.id for query in queries}
    known = documents_among(corpus, {document for _, _, document, grade in _judgements(files.qrels) if grade > 0})
    answered = set()
    for number, query, document, grade in _judgements(files.qrels):
        if query not in asked:
            raise InputError(f"{files.qrels}:{number}: query {query!r} is not in {files.queries}; {_FIX}") from error
        if grade > 0:
            if document not in known:
                written = next((e for e in read_entries(files.corpus, empty=True) if e.id == document), None)
                found = f"has no text at {written.where}" if written else f"is not in {files.corpus}"
                raise InputError(f"{files.qrels}:{number}: document {document!r} {found}; {_FIX}") from error
            answered.add(query)
    for entry in queries:
        if entry.id not in answered:
            raise InputError(
                f"{entry.where}: query {entry.id!r} has no relevant document in {files.qrels}; "
                "add one there, or take the query out"
            ) from error


def beir_corpus(path: Path) -> Dataset:
    """The documents of a `corpus.jsonl`, as columns `id`, `text` and `title`, read memory-mapped.

    They are written to an Arrow file in the cache once for every state of the file, told by its size and time of
    change; the Arrow file of an earlier state is removed. White space around texts and titles is taken off. Documents
    with neither text nor title are left out, as MTEB does, and their number is logged.

    Args:
        path: The file: an object a line, with `_id`, `text` and perhaps `title`; other keys are passed over.

    Raises:
        InputError: A line is not of this form, an id is empty or appears twice, or there is no document with text; or the
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

    Those with neither text nor title are refused, unless `empty` ones are asked for.

    Raises:
        InputError: A line is not valid UTF-8, no JSON object, has no `_id` or no `text`, or something else than text
            there, or neither text nor title.
    """
    for where, record in read_json_lines(path, fix=_FIX):
        entry = Entry(_text(record, "_id", where), _text(record, "text", where), _title(record, where), where)
        if not (empty or entry.text.strip() or entry.title.strip()):
            raise InputError(f"{where}: {entry.id!r} has an empty text; {_FIX}")
        yield entry


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    if key not in record:
        raise InputError(f"{where}: the object has no {key!r}, its keys are {', '.join(map(repr, record))}; {_FIX}")
    value = record[key]
    if not isinstance(value, str):
        raise InputError(f"{where}: expected text at {key!r}, found {json.dumps(value)[:40]}; {_FIX}")
    return value


def _title(record: Mapping[str, Any], where: str) -> str:
    return "" if record.get("title") is None else _text(record, "title", where)


class _DoubtfulError(Exception):
    """The columns hold what the loop over the lines has to look at."""


def _write(source: Path, target: Path) -> None:
    def entries() -> Iterator[Entry]:
        return read_entries(source, empty=True)

    try:
        write_blocks(str(source), _blocks(source), target, entries)
    except (_DoubtfulError, pa.ArrowException):
        write_corpus(str(source), entries, target)


def _blocks(source: Path) -> Iterator[tuple[pa.RecordBatch, int]]:
    """The documents as Arrow reads them, with the number of lines that they come from."""
    parse = arrow_json.ParseOptions(explicit_schema=_READ, unexpected_field_behavior="ignore")
    try:
        with (
            pa.OSFile(str(source), "rb") as lines,
            arrow_json.open_json(lines, arrow_json.ReadOptions(block_size=BLOCK), parse) as blocks,
        ):
            for block in blocks:
                yield _checked(block), len(block)
    except OSError as error:
        raise _DoubtfulError from error


def _checked(block: pa.RecordBatch) -> pa.RecordBatch:
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
    return pa.record_batch([ids, texts, titles], schema=SCHEMA).filter(filled)
