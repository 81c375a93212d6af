"""Rankings as a TREC run: a line `query Q0 document rank score tag` for every rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from optical_mteb.collection import Entry
from optical_mteb.errors import InputError
from optical_mteb.index.build_folder import storing
from optical_mteb.index.faiss_index import FaissIndex, Ranking

BATCH = 1024
"""Queries that are encoded and searched at once."""


def write_run(index: FaissIndex, queries: Sequence[Entry], path: Path, *, k: int) -> None:
    """Search queries and write their rankings of `k` documents each, whole or not at all.

    Raises:
        InputError: A query is empty, an id cannot stand in a run, the run cannot be written, or as `FaissIndex.search`.
    """
    tag = "-".join(Path(index.manifest.model.name if index.manifest.model else "vectors").name.split())
    blank = next((query for query in queries if not query.text.strip()), None)
    if blank is not None:
        raise InputError(f"{blank.where or path}: query {blank.id!r} is empty; write text there, or take it out")
    scratch = path.with_name(f".{path.name}.new")
    with storing(path):
        try:
            with scratch.open("w", encoding="utf-8", newline="\n") as file:
                for start in range(0, len(queries), BATCH):
                    part = queries[start : start + BATCH]
                    for query, ranking in zip(part, index.search([query.text for query in part], k), strict=True):
                        file.writelines(_lines(query.id, ranking, tag))
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)


def _lines(query: str, ranking: Ranking, tag: str) -> list[str]:
    broken = next((key for key in (query, *ranking.ids) if len(key.split()) != 1 or key.split()[0] != key), None)
    if broken is not None:
        raise InputError(f"id {broken!r}: has white space, which no line of a run can hold; rename it")
    ranked = zip(ranking.ids, ranking.scores.tolist(), strict=True)
    return [f"{query} Q0 {key} {rank} {score:.6f} {tag}\n" for rank, (key, score) in enumerate(ranked, start=1)]
