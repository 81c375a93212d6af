"""Collections in BEIR's format: a folder with `corpus.jsonl`, `queries.jsonl` and the judgements in `qrels.tsv`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from optical_mteb.collection import Entry
from optical_mteb.collection.beir_corpus import FIX, beir_corpus, read_entries
from optical_mteb.collection.lines import read_lines
from optical_mteb.collection.split import UnmatchedError, documents_among, retrieval_split
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels.tsv"
HEAD = ("query-id", "corpus-id", "score")
# Measures of gain count up to the highest grade, for every query.
_GRADE = re.compile(r"[+-]?[0-9]{1,4}")


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
                f"found {line[:60]!r}; {FIX}"
            )
        yield number, columns[0], columns[1], int(columns[2])


def _place(files: BeirFiles, corpus: Dataset, queries: Sequence[Entry], error: UnmatchedError) -> None:
    """Say at which line judgements, queries and documents do not belong together."""
    asked = {query.id for query in queries}
    known = documents_among(corpus, {document for _, _, document, grade in _judgements(files.qrels) if grade > 0})
    answered = set()
    for number, query, document, grade in _judgements(files.qrels):
        if query not in asked:
            raise InputError(f"{files.qrels}:{number}: query {query!r} is not in {files.queries}; {FIX}") from error
        if grade > 0:
            if document not in known:
                written = next((e for e in read_entries(files.corpus, empty=True) if e.id == document), None)
                found = f"has no text at {written.where}" if written else f"is not in {files.corpus}"
                raise InputError(f"{files.qrels}:{number}: document {document!r} {found}; {FIX}") from error
            answered.add(query)
    for entry in queries:
        if entry.id not in answered:
            raise InputError(
                f"{entry.where}: query {entry.id!r} has no relevant document in {files.qrels}; "
                "add one there, or take the query out"
            ) from error
