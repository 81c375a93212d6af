"""Judgements in TREC's format, `query 0 document grade`, set apart by white space; and the splits that they make."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from optical_mteb.collection import Entry
from optical_mteb.collection.lines import read_lines
from optical_mteb.collection.split import documents_among, retrieval_split
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

_log = logging.getLogger(__name__)
# Measures of gain count up to the highest grade, for every query.
_GRADE = re.compile(r"[+-]?[0-9]{1,4}")


class Judgement(NamedTuple):
    """The grade of a document for a query, and the file and line that it came from."""

    query: str
    document: str
    grade: int
    where: str


def read_qrels(path: Path) -> list[Judgement]:
    """The judgements of a file, in its order; empty lines are passed over, a repeated line counts once.

    Raises:
        InputError: A line is not valid UTF-8, does not have four columns or has no whole number as its grade, a
            document has two grades for one query, or there is no judgement.
    """
    judgements: dict[tuple[str, str], Judgement] = {}
    for number, line in enumerate(read_lines(path), start=1):
        columns = line.split()
        if not columns:
            continue
        where = f"{path}:{number}"
        if len(columns) != 4 or not _GRADE.fullmatch(columns[3]):
            raise InputError(
                f"{where}: expected 'query 0 document grade', the grade a whole number up to 9999, found {line[:60]!r}; "
                "get the file again, or fix the line"
            )
        query, _, document, grade = columns
        judgement = Judgement(query, document, int(grade), where)
        first = judgements.setdefault((query, document), judgement)
        if first.grade != judgement.grade:
            raise InputError(
                f"{where}: query {query!r} and document {document!r} have the grade {grade}, "
                f"but {first.grade} at {first.where}; take one of the lines out"
            )
    if not judgements:
        raise InputError(f"{path}: holds no judgement; get the file again")
    return list(judgements.values())


def by_query(judgements: Iterable[Judgement]) -> dict[str, dict[str, int]]:
    """The grade of every judged document, by query."""
    qrels: dict[str, dict[str, int]] = {}
    for judgement in judgements:
        qrels.setdefault(judgement.query, {})[judgement.document] = judgement.grade
    return qrels


def judged_split(
    name: str, corpus: Dataset, queries: Sequence[Entry], judgements: Sequence[Judgement]
) -> RetrievalSplitData:
    """One subset and split in the form that `AbsTaskRetrieval.dataset` holds.

    Queries without a relevant document are left out, and their number is logged.

    Args:
        name: What to call it in error messages, `CIRALRetrieval/eng-hau/dev`.
        corpus: The documents, checked by `corpus_dataset`.
        queries: The queries.
        judgements: Grades above 0 are kept; only their queries and documents have to be there.

    Raises:
        InputError: A judgement names no query or no document with text, a query has no text or appears twice, or none
            is left.
    """
    relevant = [judgement for judgement in judgements if judgement.grade > 0]
    asked = {query.id for query in queries}
    known = documents_among(corpus, {judgement.document for judgement in relevant})
    for judgement in relevant:
        for what, key, there in (("query", judgement.query, asked), ("document", judgement.document, known)):
            if key not in there:
                raise InputError(
                    f"{judgement.where}: {what} {key!r} is not there, or has no text; "
                    "get the data again, or take the line out"
                )
    qrels = by_query(relevant)
    answered = [query for query in queries if query.id in qrels]
    if len(answered) < len(queries):
        _log.warning("%s: left out %d queries without a relevant document", name, len(queries) - len(answered))
    return retrieval_split(name, corpus, answered, qrels)
