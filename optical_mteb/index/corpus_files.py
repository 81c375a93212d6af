"""Documents and queries in files: BEIR and other JSON lines, tables, TREC's SGML."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from optical_mteb.collection import Entry
from optical_mteb.collection.arrow_corpus import corpus_dataset
from optical_mteb.collection.beir import CORPUS, QUERIES
from optical_mteb.collection.beir_corpus import beir_corpus, read_entries
from optical_mteb.collection.fingerprint import fingerprint
from optical_mteb.collection.json_lines import read_json_lines, text_of
from optical_mteb.collection.lines import read_lines
from optical_mteb.collection.packed import unpacked_suffix
from optical_mteb.collection.trec_documents import read_documents
from optical_mteb.collection.trec_topics import read_topics
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

ID_KEYS = ("_id", "id", "docid", "doc_id", "docno")
TEXT_KEYS = ("text", "contents", "content", "body")
"""Keys of JSON lines, the first that a file's first line has."""

TOPICS = "topics.tsv"
_FIX = "fix the line, or take it out"


def read_corpus(path: Path) -> Dataset:
    """The documents of a folder or file, as columns `id`, `text` and `title`, memory-mapped from the cache.

    Args:
        path: A folder with `corpus.jsonl` or with TREC's SGML files; or a file of one of these kinds, of JSON lines
            with other keys, or of lines `id, text` or `id, title, text` with tabs between. Files other than folders'
            `corpus.jsonl` may be packed (gzip, bzip2, xz, zstd).

    Raises:
        InputError: It is none of these, a line is broken, an id appears twice, or there is no document with text.
    """
    if path.is_dir():
        return beir_corpus(path / CORPUS) if (path / CORPUS).is_file() else _trec(path, _sgml_files(path))
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; name documents that are there")
    kind = unpacked_suffix(path)
    if kind in (".jsonl", ".json"):
        _, first = next(read_json_lines(path, fix=_FIX), ("", {}))
        if "_id" in first:
            return beir_corpus(path)
        return _cached(path, [path], lambda: _json_entries(path))
    if kind == ".tsv":
        return _cached(path, [path], lambda: _table_entries(path))
    if _is_sgml(path):
        return _trec(path, [path])
    raise InputError(f"{path}: expected .jsonl, .tsv, TREC's SGML or a folder with {CORPUS}; give it that name or form")


def find_queries(path: Path) -> list[Entry]:
    """The queries that stand beside the documents of a folder; none where there is no file of them."""
    found = (path / name for name in (QUERIES, TOPICS) if path.is_dir() and (path / name).is_file())
    return next((read_queries(file) for file in found), [])


def read_queries(path: Path) -> list[Entry]:
    """The queries of a file: BEIR's JSON lines, a table `id, text`, or TREC's topics.

    Raises:
        InputError: It is not there or is none of these, or an id appears twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of queries; name one that is there")
    if unpacked_suffix(path) in (".jsonl", ".json"):
        entries = list(read_entries(path))
    else:
        entries = [Entry(topic.id, topic.text, where=topic.where) for topic in read_topics(path)]
    first: dict[str, str] = {}
    for entry in entries:
        if entry.id in first:
            raise InputError(
                f"{entry.where}: query id {entry.id!r} appears twice, the first at {first[entry.id]}; {_FIX}"
            )
        first[entry.id] = entry.where
    if not entries:
        raise InputError(f"{path}: holds no query; write one a line")
    return entries


def _cached(path: Path, files: list[Path], entries: object) -> Dataset:
    state = fingerprint("index 1", *files)
    return corpus_dataset(str(path), f"{path.resolve()}\n{state}", entries)  # type: ignore[arg-type]


def _trec(path: Path, files: list[Path]) -> Dataset:
    def entries() -> Iterator[Entry]:
        for file in files:
            yield from read_documents(file, texts=["TEXT"], titles=["TITLE", "HEADLINE"])

    return _cached(path, files, entries)


def _sgml_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and _is_sgml(file))
    if not files:
        raise InputError(
            f"{folder}: has neither {CORPUS} nor a file that begins with <DOC>; name a folder of documents"
        )
    return files


def _is_sgml(file: Path) -> bool:
    try:
        return any(line.startswith("<DOC>") for line in islice(read_lines(file, otherwise="iso-8859-1"), 1))
    except InputError:
        return False


def _json_entries(path: Path) -> Iterator[Entry]:
    keys: tuple[str, str] | None = None
    for where, record in read_json_lines(path, fix=_FIX):
        if keys is None:
            keys = _first_of(ID_KEYS, record, where), _first_of(TEXT_KEYS, record, where)
        title = text_of(record, "title", where) if "title" in record else ""
        yield Entry(text_of(record, keys[0], where), text_of(record, keys[1], where), title, where)


def _first_of(keys: tuple[str, ...], record: dict[str, object], where: str) -> str:
    found = next((key for key in keys if key in record), None)
    if found is None:
        raise InputError(
            f"{where}: the object has none of the keys {', '.join(keys)}; rename one of its keys to {keys[0]!r}"
        )
    return found


def _table_entries(path: Path) -> Iterator[Entry]:
    width = 0
    for number, line in enumerate(read_lines(path, indented=True), start=1):
        columns = [column.strip() for column in line.split("\t")]
        if not line:
            continue
        width = width or len(columns)
        # The reader takes white space off the end of a line, and empty columns with it.
        if not 2 <= len(columns) <= width <= 3:
            raise InputError(
                f"{path}:{number}: expected id, text or id, title, text, tabs between, found {len(columns)} columns; {_FIX}"
            )
        if not columns[0]:
            raise InputError(f"{path}:{number}: has no id in its first column; {_FIX}")
        title = columns[1] if width == 3 else ""
        yield Entry(columns[0], columns[-1] if len(columns) == width else "", title, f"{path}:{number}")
