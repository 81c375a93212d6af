"""Judgements in TREC's format: `query 0 document grade`, set apart by white space."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from optical_mteb.collection.lines import read_lines
from optical_mteb.errors import InputError

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
    """The grade of every document, by query."""
    qrels: dict[str, dict[str, int]] = {}
    for judgement in judgements:
        qrels.setdefault(judgement.query, {})[judgement.document] = judgement.grade
    return qrels
