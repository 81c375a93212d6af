"""A collection as MTEB takes it, checked: documents, queries, and which documents are relevant to which query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from optical_mteb.collection import Entry, Qrels
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData


class UnmatchedError(InputError):
    """Judgements, documents and queries that are each as they should be, but do not belong together."""


def retrieval_split(
    name: str, documents: Iterable[Entry] | Dataset, queries: Iterable[Entry], qrels: Qrels
) -> RetrievalSplitData:
    """One subset and split in the form that `AbsTaskRetrieval.dataset` holds.

    Args:
        name: What to call it in error messages, `NTREXRetrieval/swh-eng/test`.
        documents: All that is searched, relevant or not; white space around a text or title is taken off. Or a corpus
            that `corpus_dataset` has checked.
        queries: The queries.
        qrels: Judgements; grades of 0 and below are kept out, as MTEB expects of a task without hard negatives.

    Raises:
        InputError: A text is empty, an id appears twice, a judgement names no document or no query, a query has no
            relevant document, or there is no document or query at all.
    """
    from datasets import Dataset

    corpus = documents if isinstance(documents, Dataset) else _in_memory(_checked(name, "document", documents))
    questions = _checked(name, "query", queries)
    relevant = {query: {key: grade for key, grade in judged.items() if grade > 0} for query, judged in qrels.items()}
    judged_documents = {key for judged in relevant.values() for key in judged}
    known = documents_among(corpus, judged_documents)
    for query, judged in relevant.items():
        if query not in questions:
            raise UnmatchedError(f"{name}: the judgements name query {query!r}, which is not there; {_FIX}")
        lost = next((key for key in judged if key not in known), None)
        if lost is not None:
            raise UnmatchedError(f"{name}: query {query!r} is judged on document {lost!r}, which is not there; {_FIX}")
    unanswered = next((query for query in questions if not relevant.get(query)), None)
    if unanswered is not None:
        raise UnmatchedError(f"{name}: query {unanswered!r} has no relevant document; {_FIX}")
    return {
        "corpus": corpus,
        "queries": Dataset.from_dict({"id": list(questions), "text": [entry.text for entry in questions.values()]}),
        "relevant_docs": relevant,
        "top_ranked": None,
    }


def check_entry(name: str, kind: str, entry: Entry) -> None:
    """Check a document or a query, which is its `kind`, by itself.

    Raises:
        InputError: It has no id, something that is not a string, or a half of a surrogate pair, which no file can hold.
    """
    for column, value in (("id", entry.id), ("text", entry.text), ("title", entry.title)):
        if not isinstance(value, str):
            raise InputError(
                f"{entry.where or name}: the {column} of a {kind} is {value!r:.80}, expected a string; {_FIX}"
            )
    if not entry.id:
        raise InputError(f"{entry.where or name}: a {kind} has no id; {_FIX}")
    try:
        f"{entry.id}{entry.title}{entry.text}".encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{entry.where or name}: {kind} {entry.id!r} has half a surrogate pair, which is not a character; {_FIX}"
        ) from error


def documents_among(corpus: Dataset, ids: Iterable[str]) -> set[str]:
    """Those ids that documents of a corpus bear; the corpus is passed over once and not held in memory."""
    wanted, found = set(ids), set[str]()
    for batch in corpus.select_columns("id").iter(_IDS_AT_ONCE):
        found |= wanted.intersection(batch["id"])
    return found


_IDS_AT_ONCE = 10_000
_FIX = "get the data again, or take the line out"


def _in_memory(documents: Mapping[str, Entry]) -> Dataset:
    from datasets import Dataset

    columns = {"id": list(documents), "text": [entry.text for entry in documents.values()]}
    if any(entry.title for entry in documents.values()):
        columns["title"] = [entry.title for entry in documents.values()]
    return Dataset.from_dict(columns)


def _checked(name: str, kind: str, entries: Iterable[Entry]) -> dict[str, Entry]:
    by_id: dict[str, Entry] = {}
    for entry in entries:
        check_entry(name, kind, entry)
        place = entry.where or name
        text = entry.text.strip()
        if not text:
            raise InputError(f"{place}: {kind} {entry.id!r} has no text; {_FIX}")
        first = by_id.get(entry.id)
        if first is not None:
            before = f", the first at {first.where}" if first.where else ""
            raise InputError(f"{place}: {kind} id {entry.id!r} appears twice{before}; give every {kind} its own id")
        by_id[entry.id] = Entry(entry.id, text, entry.title.strip(), entry.where)
    if not by_id:
        raise InputError(f"{name}: there is no {kind}; {_FIX}")
    return by_id
