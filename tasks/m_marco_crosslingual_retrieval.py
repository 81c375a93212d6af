"""mMARCO, across languages: a translated question, the English passages of MS MARCO."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import PublishedData
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.errors import InputError

_MMARCO = PublishedData.on_hub("unicamp-dl/mmarco", "6d039c4638c0ba3e46a9cb7b498b145e7edc6230")

_COLLECTION = "data/google/collections/english_collection.tsv"
_QUERIES = "data/google/queries/dev/{}_queries.dev.small.tsv"
_QRELS = "data/qrels.dev.small.tsv"

_LANGUAGES = {
    # MTEB's own task on mMARCO files Arabic under the macrolanguage and Chinese under Mandarin.
    "arb": ("arabic", ["arb-Arab", "ara-Arab"]),
    "zho": ("chinese", ["zho-Hans", "cmn-Hans"]),
    "nld": ("dutch", ["nld-Latn"]),
    "fra": ("french", ["fra-Latn"]),
    "deu": ("german", ["deu-Latn"]),
    "hin": ("hindi", ["hin-Deva"]),
    "ind": ("indonesian", ["ind-Latn"]),
    "ita": ("italian", ["ita-Latn"]),
    "jpn": ("japanese", ["jpn-Jpan"]),
    "por": ("portuguese", ["por-Latn"]),
    "rus": ("russian", ["rus-Cyrl"]),
    "spa": ("spanish", ["spa-Latn"]),
    "vie": ("vietnamese", ["vie-Latn"]),
}
"""The publisher's name of a language and MTEB's tags, by the name that it has in our subsets."""


class MMarcoCrosslingualRetrieval(CollectionRetrieval):
    """Retrieve the English passages that answer a question in another language.

    The questions are the 6,980 of MS MARCO's small development set, translated by Google Translate; the corpus has all
    of its 8.8 million passages, as they were written. The corpus is kept in a memory-mapped file in the cache, once for
    all languages; the publisher's file has 3 GB.
    """

    metadata = TaskMetadata(
        name="MMarcoCrosslingualRetrieval",
        dataset={"path": "unicamp-dl/mmarco", "revision": _MMARCO.revision},
        description=(
            "Cross-lingual passage retrieval: the query is a question of MS MARCO's small development set, translated "
            "by machine, the documents are MS MARCO's 8.8 million English passages. From mMARCO."
        ),
        reference="https://github.com/unicamp-dl/mMARCO",
        eval_splits=["dev"],
        eval_langs={f"{name}-eng": [*tags, "eng-Latn"] for name, (_, tags) in _LANGUAGES.items()},
        date=("2016-01-01", "2022-01-16"),
        domains=["Web", "Written"],
        task_subtypes=["Question answering"],
        license="apache-2.0",
        annotations_creators="derived",
        sample_creation="machine-translated",
        bibtex_citation=r"""
@article{bonifacio2021mmarco,
  author = {Bonifacio, Luiz Henrique and Jeronymo, Vitor and Abonizio, Hugo Queiroz and Campiotti, Israel and Fadaee, Marzieh and Lotufo, Roberto and Nogueira, Rodrigo},
  journal = {arXiv preprint arXiv:2108.13897},
  title = {{mMARCO}: A Multilingual Version of the {MS} {MARCO} Passage Ranking Dataset},
  url = {https://arxiv.org/abs/2108.13897},
  year = {2021},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """Questions of one language, English passages."""
        from optical_mteb.collection.split import retrieval_split
        from optical_mteb.collection.trec_qrels import by_query, read_qrels

        language, _ = _LANGUAGES[subset.partition("-")[0]]
        queries = _MMARCO.find(_QUERIES.format(language))
        qrels = by_query(read_qrels(_MMARCO.find(_QRELS)))
        return retrieval_split(f"{self.metadata.name}/{subset}/{split}", _passages(), _entries(queries), qrels)


def _passages() -> Dataset:
    from optical_mteb.collection.arrow_corpus import corpus_dataset

    file = _MMARCO.find(_COLLECTION)
    state = file.stat()
    fingerprint = f"{_MMARCO.revision} {state.st_size} {state.st_mtime_ns}"
    return corpus_dataset("mmarco/english", fingerprint, lambda: _entries(file))


def _entries(file: Path) -> Iterator[Entry]:
    """Passages or queries: a line is an id and a text."""
    from optical_mteb.collection.lines import read_lines

    for number, line in enumerate(read_lines(file), start=1):
        key, tab, text = line.partition("\t")
        # The white space around a line is gone, and with it the tab before an empty text.
        if not tab and not key.isdecimal():
            raise InputError(f"{file}:{number}: expected an id, a tab and a text, found {line[:40]!r}; get it again")
        yield Entry(key, text, where=f"{file}:{number}")
