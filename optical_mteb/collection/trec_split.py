"""Splits whose judgements come from TREC files: what does not fit is placed, queries without an answer left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from optical_mteb.collection import Entry
from optical_mteb.collection.split import documents_among, retrieval_split
from optical_mteb.collection.trec_qrels import Judgement, by_query
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

_log = logging.getLogger(__name__)


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
