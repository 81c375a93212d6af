"""AfriCLIRMatrix: the title of an English Wikipedia article, Wikipedia articles in an African language."""

from __future__ import annotations

from collections.abc import Iterator

from datasets import Dataset
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import PublishedData
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata

_QUERIES = PublishedData.on_github("castorini/africlirmatrix", "29941eca075cc5488f1260af54165b3e6a2282d5")
_ARTICLES = PublishedData.on_hub("castorini/africlirmatrix", "f94e826e12c3589ff908d338492211a4ebabe7a9", kept_folders=1)

_LANGUAGES = {
    "afr": ("afr", "afrikaans", ["afr-Latn"]),
    "amh": ("amh", "amharic", ["amh-Ethi"]),
    "ary": ("ary", "moroccan_arabic", ["ary-Arab"]),
    "arz": ("arz", "egyptian_arabic", ["arz-Arab"]),
    "hau": ("hau", "hausa", ["hau-Latn"]),
    "ibo": ("ibo", "igbo", ["ibo-Latn"]),
    "nso": ("nso", "northern_sotho", ["nso-Latn"]),
    "sna": ("sna", "shona", ["sna-Latn"]),
    "som": ("som", "somali", ["som-Latn"]),
    "swh": ("swa", "swahili", ["swh-Latn"]),
    "tir": ("tir", "tigrinya", ["tir-Ethi"]),
    "twi": ("twi", "twi", ["twi-Latn"]),
    "wol": ("wol", "wolof", ["wol-Latn"]),
    "yor": ("yor", "yoruba", ["yor-Latn"]),
    "zul": ("zul", "zulu", ["zul-Latn"]),
}
"""The publisher's code and name of a language and MTEB's tags, by the name that it has in our subsets."""


class AfriCLIRMatrixRetrieval(CollectionRetrieval):
    """Retrieve Wikipedia articles in an African language by the title of an English one.

    Made as CLIRMatrix was: the grade of an article, up to 6, is the class of the BM25 score of the English article that
    it is linked with. Only the test set is published. Titles without a relevant article are left out. Articles are kept
    in a memory-mapped file in the cache.
    """

    metadata = TaskMetadata(
        name="AfriCLIRMatrixRetrieval",
        dataset={"path": "castorini/africlirmatrix", "revision": _ARTICLES.revision},
        description=(
            "Cross-lingual retrieval of Wikipedia articles: the query is the title of an English article, the "
            "documents are articles in one of 15 African languages, graded by way of inter-language links. From "
            "AfriCLIRMatrix."
        ),
        reference="https://github.com/castorini/africlirmatrix",
        eval_splits=["test"],
        eval_langs={f"eng-{name}": ["eng-Latn", *tags] for name, (_, _, tags) in _LANGUAGES.items()},
        date=("2001-01-15", "2022-11-17"),
        domains=["Encyclopaedic", "Written"],
        task_subtypes=["Article retrieval"],
        license="apache-2.0",
        annotations_creators="derived",
        sample_creation="found",
        bibtex_citation=r"""
@inproceedings{ogundepo-etal-2022-africlirmatrix,
  address = {Abu Dhabi, United Arab Emirates},
  author = {Ogundepo, Odunayo and Zhang, Xinyu and Sun, Shuo and Duh, Kevin and Lin, Jimmy},
  booktitle = {Proceedings of the 2022 Conference on Empirical Methods in Natural Language Processing},
  doi = {10.18653/v1/2022.emnlp-main.597},
  pages = {8721--8728},
  publisher = {Association for Computational Linguistics},
  title = {{AfriCLIRMatrix}: Enabling Cross-Lingual Information Retrieval for {African} Languages},
  url = {https://aclanthology.org/2022.emnlp-main.597},
  year = {2022},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """English titles, articles of one language."""
        from optical_mteb.collection.trec_qrels import judged_split, read_qrels
        from optical_mteb.collection.trec_topics import read_topics_tsv

        code, language, _ = _LANGUAGES[subset.partition("-")[2]]
        topics = read_topics_tsv(_QUERIES.find(f"{split}/queries/topics.africlirmatrix-v1.0.en.{code}.tsv"))
        return judged_split(
            f"{self.metadata.name}/{subset}/{split}",
            _corpus(language),
            topics,
            read_qrels(_QUERIES.find(f"{split}/qrels/qrels.africlirmatrix-v1.0.en.{code}.txt")),
        )


def _corpus(language: str) -> Dataset:
    from optical_mteb.collection.arrow_corpus import corpus_dataset, fingerprint
    from optical_mteb.collection.lines import read_json_lines, text_of

    file = _ARTICLES.find(f"africlirmatrix-v1.0-{language}/corpus.jsonl")

    def articles() -> Iterator[Entry]:
        for where, record in read_json_lines(file):
            yield Entry(text_of(record, "id", where), text_of(record, "contents", where), where=where)

    return corpus_dataset(f"africlirmatrix/{language}", fingerprint(_ARTICLES.revision, file), articles)
