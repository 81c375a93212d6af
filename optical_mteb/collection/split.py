"""A collection as MTEB takes it, checked: documents, queries, and which documents are relevant to which query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

Qrels = Mapping[str, Mapping[str, int]]
"""Grade of every judged document, by query; a grade above 0 is relevant."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document or a query.

    Attributes:
        id: Unique among the documents, or the queries, of a split.
        text: What is read.
        title: A document's title, read before its text.
        where: File and line that it came from, for error messages.
    """

    id: str
    text: str
    title: str = ""
    where: str = ""


def retrieval_split(
    name: str, documents: Iterable[Entry], queries: Iterable[Entry], qrels: Qrels
) -> RetrievalSplitData:
    """One subset and split in the form that `AbsTaskRetrieval.dataset` holds.

    Args:
        name: What to call it in error messages, `NTREXRetrieval/swh-eng/test`.
        documents: All that is searched, relevant or not. White space around a text is taken off.
        queries: The queries.
        qrels: Judgements; grades of 0 and below are kept out, as MTEB expects of a task without hard negatives.

    Raises:
        InputError: A text is empty, an id stands twice, a judgement names no document or no query, a query has no
            relevant document, or there is no document or query at all.
    """
    from datasets import Dataset

    corpus, questions = _checked(name, "document", documents), _checked(name, "query", queries)
    relevant = {query: {key: grade for key, grade in judged.items() if grade > 0} for query, judged in qrels.items()}
    check_qrels(name, relevant, corpus.keys(), questions.keys())
    titled = any(entry.title for entry in corpus.values())
    columns = {"id": list(corpus), "text": [entry.text for entry in corpus.values()]}
    if titled:
        columns["title"] = [entry.title for entry in corpus.values()]
    return {
        "corpus": Dataset.from_dict(columns),
        "queries": Dataset.from_dict({"id": list(questions), "text": [entry.text for entry in questions.values()]}),
        "relevant_docs": relevant,
        "top_ranked": None,
    }


def check_qrels(name: str, relevant: Qrels, documents: Iterable[str], queries: Iterable[str]) -> None:
    """Check that judgements and collection belong together.

    Args:
        name: What to call the collection in error messages.
        relevant: Relevant documents by query.
        documents: Ids of all documents; looked up by `in`.
        queries: Ids of all queries.

    Raises:
        InputError: A judgement names no document or no query, or a query has no relevant document.
    """
    known, asked = _as_set(documents), _as_set(queries)
    for query, judged in relevant.items():
        if query not in asked:
            raise InputError(f"{name}: the judgements name query {query!r}, which is not there; {_MEND}")
        lost = next((key for key in judged if key not in known), None)
        if lost is not None:
            raise InputError(f"{name}: query {query!r} is judged on document {lost!r}, which is not there; {_MEND}")
    unanswered = next((query for query in asked if not relevant.get(query)), None)
    if unanswered is not None:
        raise InputError(f"{name}: query {unanswered!r} has no relevant document; {_MEND}")


_MEND = "get the data again, or take the line out"


def _as_set(ids: Iterable[str]) -> set[str]:
    return ids if isinstance(ids, set) else set(ids)


def _checked(name: str, kind: str, entries: Iterable[Entry]) -> dict[str, Entry]:
    by_id: dict[str, Entry] = {}
    for entry in entries:
        place = entry.where or name
        if not entry.id:
            raise InputError(f"{place}: a {kind} has no id; {_MEND}")
        text = entry.text.strip()
        if not text:
            raise InputError(f"{place}: {kind} {entry.id!r} has no text; {_MEND}")
        first = by_id.get(entry.id)
        if first is not None:
            before = f", the first at {first.where}" if first.where else ""
            raise InputError(
                f"{place}: {kind} id {entry.id!r} stands twice{before}; give every {kind} an id of its own"
            )
        by_id[entry.id] = entry if text == entry.text else Entry(entry.id, text, entry.title, entry.where)
    if not by_id:
        raise InputError(f"{name}: there is no {kind}; {_MEND}")
    return by_id
