"""Global Voices: the first sentence of an article in Swahili, the rest of the article in English."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import PublishedData
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata

_ARCHIVE = "en-sw.txt.zip"
_GLOBAL_VOICES = PublishedData(
    name="globalvoices",
    page="https://opus.nlpl.eu/GlobalVoices.php",
    revision="v2018q4",
    archives={_ARCHIVE: f"https://object.pouta.csc.fi/OPUS-GlobalVoices/v2018q4/moses/{_ARCHIVE}"},
)

_HELD_OUT = 5
"""Every so many articles, one is for evaluation: those whose index, counted from 0, it divides."""


class _Line(NamedTuple):
    number: int
    swahili: str
    english: str


class GlobalVoicesRetrieval(CollectionRetrieval):
    """Retrieve the article that a sentence introduces, across languages.

    OPUS has the articles of Global Voices, a site of citizens' news, aligned sentence by sentence and without their
    titles: a line that is blank on both sides ends an article. An article begins with its lead or, one in ten, with the
    caption of its picture. That first line, in Swahili, is the query; the article without it, and without its
    repetitions, is the document, in English, so that no document has the translation of its query. A line with which
    two articles begin is one query, relevant to both; a first line that repeats the English asks no query; articles of
    a single line are left out, and one that is there twice is one document.

    Every fifth article is in the collection: the others may be trained on.
    """

    metadata = TaskMetadata(
        name="GlobalVoicesRetrieval",
        dataset={"path": "OPUS/GlobalVoices", "revision": _GLOBAL_VOICES.revision},
        description=(
            "Cross-lingual retrieval of citizens' news: the query is the first sentence of an article in Swahili, the "
            "document the rest of the article in English. Every fifth article of the corpus GlobalVoices of OPUS."
        ),
        reference="https://opus.nlpl.eu/GlobalVoices.php",
        eval_splits=["test"],
        eval_langs={"swh-eng": ["swh-Latn", "eng-Latn"]},
        date=("2008-01-01", "2018-12-31"),
        domains=["News", "Blog", "Written"],
        task_subtypes=["Article retrieval"],
        license="cc-by-3.0",
        annotations_creators="derived",
        sample_creation="human-translated",
        bibtex_citation=r"""
@inproceedings{tiedemann-2012-parallel,
  address = {Istanbul, Turkey},
  author = {Tiedemann, J{\"o}rg},
  booktitle = {Proceedings of the Eighth International Conference on Language Resources and Evaluation ({LREC}'12)},
  pages = {2214--2218},
  publisher = {European Language Resources Association (ELRA)},
  title = {Parallel Data, Tools and Interfaces in {OPUS}},
  url = {https://aclanthology.org/L12-1246/},
  year = {2012},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """First lines in Swahili, the rest of the articles in English."""
        from optical_mteb.collection.split import retrieval_split

        swahili, english = (
            _GLOBAL_VOICES.find(f"GlobalVoices.en-sw.{code}", archive=_ARCHIVE) for code in ("sw", "en")
        )
        documents: dict[str, Entry] = {}
        queries: dict[str, Entry] = {}
        articles_of: dict[str, set[str]] = defaultdict(set)
        for index, (first, *rest) in enumerate(_articles(swahili, english)):
            text = "\n".join(line.english for line in rest if line.english not in ("", first.english))
            if index % _HELD_OUT or not text:
                continue
            document = documents.setdefault(text, Entry(str(index), text, where=f"{english}:{rest[0].number}"))
            if first.swahili and first.swahili != first.english:
                query = Entry(str(index), first.swahili, where=f"{swahili}:{first.number}")
                queries.setdefault(query.text, query)
                articles_of[query.text].add(document.id)
        return retrieval_split(
            f"{self.metadata.name}/{subset}/{split}",
            documents.values(),
            queries.values(),
            {query.id: dict.fromkeys(sorted(articles_of[text]), 1) for text, query in queries.items()},
        )


def _articles(swahili: Path, english: Path) -> Iterator[list[_Line]]:
    """The lines of every article; several blank lines in a row are one border."""
    from optical_mteb.collection.lines import read_parallel_lines

    article: list[_Line] = []
    for number, texts in enumerate(read_parallel_lines(swahili, english), start=1):
        if any(texts):
            article.append(_Line(number, *texts))
        elif article:
            yield article
            article = []
    if article:
        yield article
