"""Where a corpus comes from: files (BEIR and other JSON lines, tables, TREC's SGML), MTEB tasks, data sets of the Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from optical_mteb.collection import Entry
from optical_mteb.collection.arrow_corpus import corpus_dataset, fingerprint
from optical_mteb.collection.beir import CORPUS, QUERIES, beir_corpus, read_entries
from optical_mteb.collection.lines import read_json_lines, read_lines, text_of
from optical_mteb.collection.packed import unpacked_suffix
from optical_mteb.collection.text_retrieval import load_data
from optical_mteb.collection.trec_documents import read_documents
from optical_mteb.collection.trec_topics import read_topics
from optical_mteb.errors import InputError
from optical_mteb.index.corpus import Corpus
from optical_mteb.storage import expanded, local_data

if TYPE_CHECKING:
    from datasets import Dataset

HUB = "hub:"

ID_KEYS = ("_id", "id", "docid", "doc_id", "docno")
TEXT_KEYS = ("text", "contents", "content", "body")
"""Keys of JSON lines, the first that a file's first line has."""

TOPICS = "topics.tsv"
_FIX = "fix the line, or take it out"


def open_corpus(source: str, *, subset: str | None = None, split: str | None = None) -> Corpus:
    """Find and check a corpus.

    Args:
        source: A folder or file, `hub:OWNER/NAME` or `hub:OWNER/NAME@REVISION`, or an MTEB task. A folder has
            `corpus.jsonl` or TREC's SGML files. A file is one of these, or of JSON lines with other keys, or of lines
            `id, text` or `id, title, text` with tabs between; it may be packed (gzip, bzip2, xz, zstd), a folder's
            `corpus.jsonl` not.
        subset: Of a Hub data set or a task; its only one by default.
        split: Likewise; the first that a task evaluates, or `corpus` or `train` of a data set.

    Raises:
        InputError: It cannot be loaded, or something is wrong with it.
    """
    path = expanded(source)
    if source.startswith(HUB):
        return Corpus(source, _hub_documents(source.removeprefix(HUB), subset, split))
    if path.exists() or path.suffix or len(path.parts) > 1:
        if subset or split:
            raise InputError(
                f"{source}: files have no subsets and splits; leave them out, or name a task or {HUB} data set"
            )
        return Corpus(str(path), _documents_of(path), queries=[query.text for query in _queries_beside(path)])
    return _task_corpus(source, subset, split)


def _task_corpus(name: str, subset: str | None, split: str | None) -> Corpus:
    """The documents of a retrieval task, with its queries."""
    import mteb
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    try:
        about = mteb.get_task(name).metadata
    except KeyError as error:
        reason = str(error.args[0]).removeprefix("KeyError: ")
        raise InputError(f"corpus {name}: no such file or folder, and as a task: {reason}") from error
    subset = _among(f"task {name}", "subset", subset, list(about.hf_subsets), several=True)
    split = _among(f"task {name}", "split", split, list(about.eval_splits))
    task = mteb.get_task(name, eval_splits=[split], hf_subsets=[subset])
    if not isinstance(task, AbsTaskRetrieval):
        raise InputError(f"task {name}: is {about.type}, which has no documents; name a retrieval task")
    load_data(task)
    data = task.dataset[subset][split]
    queries = data["queries"]["text"]
    texts = [text for text in queries if isinstance(text, str)]
    return Corpus(f"{name}/{subset}/{split}", data["corpus"], queries=texts, task=about)


def _hub_documents(spec: str, subset: str | None, split: str | None) -> Dataset:
    """The documents of a data set; a folder of its name in `OPTICAL_MTEB_DATA` is looked at first, and no code is run."""
    import datasets

    repository, _, revision = spec.partition("@")
    local = local_data()
    own = local / repository if local is not None and (local / repository).is_dir() else None
    try:
        found = datasets.load_dataset(str(own or repository), subset, revision=None if own else revision or None)
    # Nothing narrower: the client lets errors of its HTTP, file system and parser libraries through unchanged.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(
            f"{HUB}{spec}: cannot be read ({reason}); check name, --subset, network and HF_HUB_OFFLINE, "
            "or download it and give the files"
        ) from error
    names = list(map(str, found))
    default = "corpus" if "corpus" in names else None
    documents = found[_among(f"{HUB}{spec}", "split", split or default, names, several=True)]
    columns = {"id": ID_KEYS, "text": TEXT_KEYS}
    for wanted, keys in columns.items():
        key = next((key for key in keys if key in documents.column_names), None)
        if key is None:
            raise InputError(
                f"{HUB}{spec}: has the columns {', '.join(documents.column_names)}, expected one of {', '.join(keys)}; "
                "write its documents as JSON lines"
            )
        if key != wanted:
            documents = documents.rename_column(key, wanted)
    return documents


def _among(where: str, kind: str, asked: str | None, there: list[str], *, several: bool = False) -> str:
    """The one that is asked for, else the first; where there are several of which one has to be named, it must be."""
    if asked is None and (len(there) == 1 or not several):
        return there[0]
    if asked not in there:
        found = f"has no {kind} {asked!r}" if asked else f"has several {kind}s"
        raise InputError(f"{where}: {found}; name one by --{kind}: {', '.join(there)}")
    return asked


def _documents_of(path: Path) -> Dataset:
    """The documents of a folder or file, as columns `id`, `text` and `title`, memory-mapped from the cache."""
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


def _queries_beside(path: Path) -> list[Entry]:
    """The queries of a folder of documents, empty if it has no file of queries."""
    found = (path / name for name in (QUERIES, TOPICS) if path.is_dir() and (path / name).is_file())
    return next((read_queries(file) for file in found), [])


def read_queries(path: Path) -> list[Entry]:
    """The queries of a file: BEIR's JSON lines, a table `id, text`, or TREC's topics.

    Raises:
        InputError: It is not there or is none of these, or an id appears twice.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file of queries; name one that is there")
    entries = list(read_entries(path)) if unpacked_suffix(path) in (".jsonl", ".json") else read_topics(path)
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


def _cached(path: Path, files: list[Path], entries: Callable[[], Iterator[Entry]]) -> Dataset:
    return corpus_dataset(str(path), f"{path.resolve()}\n{fingerprint('index 1', *files)}", entries)


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
