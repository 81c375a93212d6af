"""CLEF 2000 to 2003: topics in many languages, English newspapers; from the user's own copy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import local_places
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from optical_mteb.collection.trec_qrels import Judgement

_PAGE = "https://catalog.elra.info/en-us/repository/browse/ELRA-E0008/"
_REVISION = "ELRA-E0008"

_LAYOUT = (
    "documents/latimes94/*, documents/glasgow95/*, topics/<language>.*, qrels/2000.txt, qrels/2001.txt, "
    "qrels/2002.txt, qrels/2003.txt"
)

_NEWSPAPERS = ("latimes94", "glasgow95")

_TOPICS_OF_YEAR = {2000: range(1, 41), 2001: range(41, 91), 2002: range(91, 141), 2003: range(141, 201)}

_TAGS = """
    swh-Latn som-Latn tgl-Latn mar-Deva fra-Latn spa-Latn por-Latn deu-Latn ita-Latn nld-Latn fin-Latn swe-Latn tur-Latn
    kir-Cyrl uig-Arab
"""
"""MTEB's tags of the languages that topics are in or have been translated into."""

_NUMBER = re.compile(r"C?0*([1-9][0-9]{0,2})")

_LATIN_1 = "iso-8859-1"
"""Encoding of the documents, and of CLEF's own topics."""

_IN_LATIN_1 = ("fra", "spa", "por", "deu", "ita", "nld", "fin", "swe")


class CLEFRetrieval(CollectionRetrieval):
    """Retrieve the English newspaper articles that a topic in another language asks for.

    The test bed of the OPTICAL paper: the topics C001 to C200 of CLEF's bilingual tracks of 2000 to 2003, title and
    description, over all articles of the Los Angeles Times 1994 and the Glasgow Herald 1995. Relevance is binary.
    Topics without a relevant article are left out. Before 2003 CLEF had articles of the Los Angeles Times alone judged;
    those of the Glasgow Herald count as not relevant to the topics of these years.

    The data are licensed, so nothing is downloaded. They are read from the folder `clef` of `OPTICAL_MTEB_DATA`:

        documents/latimes94/*   Los Angeles Times 1994, English_data/LATimes94 of ELRA-E0008
        documents/glasgow95/*   Glasgow Herald 1995, English_data/GlasgowHerald95/GH95
        topics/<language>.*     topics in a language, `swh`, in one file or several: `fra.2000.txt`, `fra.2001.txt`
        qrels/2000.txt          judgements of English articles, RelAssess/2000rels/biling_qrels
        qrels/2001.txt          RelAssess/2001rels/qrels_bilingual
        qrels/2002.txt          RelAssess/2002rels/qrels_EN
        qrels/2003.txt          RelAssess/2003rels/qrels_EN

    Documents are in TREC's SGML, packed by gzip or not. Topics are in CLEF's SGML (`Topics` of ELRA-E0008), or lines of
    `query_id:`, `title:` and `description:` (the translations into Swahili and Somali by the CIIR, Amherst), or lines
    of a number, a title and a description with tabs between. Documents and topics in Western European languages may be
    in ISO 8859-1, as CLEF publishes them; all else is UTF-8. Unless subsets or languages are chosen, four that these
    two sources have are run.
    """

    default_subsets = ("swh-eng", "som-eng", "fra-eng", "spa-eng")

    metadata = TaskMetadata(
        name="CLEFRetrieval",
        dataset={"path": "clef", "revision": _REVISION},
        description=(
            "Cross-lingual retrieval of newspaper articles: the query is a topic of CLEF 2000 to 2003 in a language "
            "other than English, the documents are the Los Angeles Times 1994 and the Glasgow Herald 1995. Licensed: "
            "read from the user's own copy."
        ),
        reference=_PAGE,
        eval_splits=["test"],
        eval_langs={f"{tag[:3]}-eng": [tag, "eng-Latn"] for tag in _TAGS.split()},
        date=("1994-01-01", "2003-12-31"),
        domains=["News", "Written"],
        task_subtypes=["Article retrieval"],
        license=_PAGE,
        annotations_creators="expert-annotated",
        sample_creation="human-translated",
        bibtex_citation=r"""
@inproceedings{bonab2019simulating,
  author = {Bonab, Hamed and Allan, James and Sitaraman, Ramesh},
  booktitle = {Proceedings of the 2019 ACM SIGIR International Conference on Theory of Information Retrieval},
  doi = {10.1145/3341981.3344236},
  pages = {129--136},
  title = {Simulating {CLIR} Translation Resource Scarcity using High-resource Languages},
  year = {2019},
}

@inproceedings{braschler2003clef,
  author = {Braschler, Martin},
  booktitle = {Workshop of the Cross-Language Evaluation Forum for European Languages},
  organization = {Springer},
  pages = {44--63},
  title = {{CLEF} 2003 -- Overview of Results},
  year = {2003},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """Topics in one language, English articles."""
        from optical_mteb.collection.trec_qrels import judged_split

        folder = _folder()
        judgements = [judgement for year in _TOPICS_OF_YEAR for judgement in _judgements(folder, year)]
        return judged_split(
            f"{self.metadata.name}/{subset}/{split}",
            _corpus(folder),
            list(_queries(folder, subset.partition("-")[0])),
            judgements,
        )


def _folder() -> Path:
    """The user's own copy."""
    places = local_places("clef")
    found = next(filter(Path.is_dir, places), None)
    if found is None:
        raise _absent(str(places[0]) if places else "OPTICAL_MTEB_DATA/clef")
    return found


def _absent(what: str) -> InputError:
    return InputError(
        f"{what} is not there; CLEFRetrieval reads {_LAYOUT} in the folder clef of OPTICAL_MTEB_DATA, "
        f"licensed data that you get from {_PAGE}"
    )


def _corpus(folder: Path) -> Dataset:
    from optical_mteb.collection.arrow_corpus import corpus_dataset, fingerprint

    files: list[Path] = []
    for newspaper in _NEWSPAPERS:
        place = folder / "documents" / newspaper
        documents = _files(place)
        if not documents:
            raise _absent(f"{place}/*")
        files += documents
    return corpus_dataset("clef/english", fingerprint(_REVISION, *files), lambda: _articles(files))


def _files(place: Path) -> list[Path]:
    """The files of a folder, less hidden ones and the DTD that lies among CLEF's documents."""
    if not place.is_dir():
        return []
    files = (file for file in place.iterdir() if file.is_file() and not file.name.startswith("."))
    return sorted(file for file in files if file.suffix.lower() != ".dtd")


def _articles(files: Sequence[Path]) -> Iterator[Entry]:
    from optical_mteb.collection.trec_documents import read_documents

    for file in files:
        yield from read_documents(file, titles=["HEADLINE"], texts=["TEXT"], otherwise=_LATIN_1)


def _queries(folder: Path, language: str) -> Iterator[Entry]:
    from optical_mteb.collection.trec_topics import read_topics

    place = folder / "topics"
    files = [file for file in _files(place) if file.name.partition(".")[0] == language]
    if not files:
        raise _absent(f"{place}/{language}.*")
    for file in files:
        for topic in read_topics(file, otherwise=_LATIN_1 if language in _IN_LATIN_1 else None):
            yield Entry(_name(topic.id, topic.where), topic.text, where=topic.where)


def _judgements(folder: Path, year: int) -> Iterator[Judgement]:
    from optical_mteb.collection.trec_qrels import read_qrels

    file = folder / "qrels" / f"{year}.txt"
    if not file.is_file():
        raise _absent(str(file))
    topics = _TOPICS_OF_YEAR[year]
    names = {f"C{number:03d}" for number in topics}
    for judgement in read_qrels(file):
        name = _name(judgement.query, judgement.where)
        if name not in names:
            raise InputError(
                f"{judgement.where}: judges topic {judgement.query!r}, but CLEF {year} has C{topics[0]:03d} to "
                f"C{topics[-1]:03d}; put the judgements of {year} there"
            )
        yield judgement._replace(query=name)


def _name(number: str, where: str) -> str:
    """A topic's name as CLEF writes it, `C041`; judgements have the number alone."""
    match = _NUMBER.fullmatch(number)
    if match is None:
        raise InputError(f"{where}: expected the number of a topic, C001 to C200, found {number!r}; fix the line")
    return f"C{int(match[1]):03d}"
