"""Names of places, languages, currencies and units: query in a low-resource language, document in English."""

from __future__ import annotations

from typing import TYPE_CHECKING

from babel.core import get_cldr_version
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata

if TYPE_CHECKING:
    from optical_mteb.bitext.cldr import CldrName

_EVAL_SPLIT = "test"

_TAGS = """
    swh-Latn som-Latn fil-Latn mar-Deva yor-Latn hau-Latn ibo-Latn zul-Latn amh-Ethi fra-Latn spa-Latn por-Latn
"""


class CLDRNameRetrieval(CollectionRetrieval):
    """Retrieve the English name of what a name in another language denotes.

    The data come with the installed `babel`, so the task needs no network. A split by CLDR key, the same for all
    languages, sets the test names apart from those that training may use. The corpus holds the English name of every
    test key, its kind as title: a name that two kinds share is two documents. The queries are the test keys' names in
    the other language, less those spelled as in English and those that a training key bears, too.
    """

    metadata = TaskMetadata(
        name="CLDRNameRetrieval",
        dataset={"path": "babel", "revision": f"CLDR-{get_cldr_version()}"},
        description=(
            "Cross-lingual name retrieval over the Unicode Common Locale Data Repository: the query is the name of a "
            "territory, language, script, currency, unit or city in another language, the document its English name."
        ),
        reference="https://cldr.unicode.org/",
        eval_splits=[_EVAL_SPLIT],
        eval_langs={f"{tag[:3]}-eng": [tag, "eng-Latn"] for tag in _TAGS.split()},
        date=("2003-12-01", "2025-03-13"),
        domains=["Written", "Encyclopaedic"],
        task_subtypes=[],
        license="https://www.unicode.org/license.txt",
        annotations_creators="expert-annotated",
        sample_creation="human-translated and localized",
        bibtex_citation="",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """Names in one language from the installed `babel`, and all English ones."""
        from optical_mteb.bitext.cldr import cldr_names
        from optical_mteb.collection.split import retrieval_split

        documents = _documents()
        queries = _queries(cldr_names(subset.split("-")[0]), documents)
        return retrieval_split(
            f"{self.metadata.name}/{subset}/{split}",
            [Entry(key, english, title=kind) for (kind, english), key in documents.items()],
            [Entry(key, text) for key, (text, _) in queries.items()],
            {key: relevant for key, (_, relevant) in queries.items()},
        )


def _documents() -> dict[tuple[str, str], str]:
    """Document id of every (kind, English name) of the test split: the first CLDR key that bears it."""
    from optical_mteb.bitext.cldr import cldr_names, split_of

    documents: dict[tuple[str, str], str] = {}
    for name in cldr_names("eng"):
        if split_of(name.key) == _EVAL_SPLIT:
            documents.setdefault((name.kind, name.english), name.key)
    return documents


def _queries(names: list[CldrName], documents: dict[tuple[str, str], str]) -> dict[str, tuple[str, dict[str, int]]]:
    """Queries by id, each with its text and the documents that it names."""
    from optical_mteb.bitext.cldr import split_of

    trained_on = {name.name.casefold() for name in names if split_of(name.key) != _EVAL_SPLIT}
    queries: dict[str, tuple[str, dict[str, int]]] = {}
    first_key: dict[str, str] = {}
    for name in names:
        spelling = name.name.casefold()
        in_test = split_of(name.key) == _EVAL_SPLIT
        if not in_test or spelling == name.english.casefold() or spelling in trained_on:
            continue
        _, relevant = queries.setdefault(first_key.setdefault(spelling, name.key), (name.name, {}))
        relevant[documents[name.kind, name.english]] = 1
    return queries
