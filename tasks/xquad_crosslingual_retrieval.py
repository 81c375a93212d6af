"""XQuAD across languages: a question in one language, the English paragraph that answers it."""

from __future__ import annotations

from pathlib import Path

from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import PublishedData
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.errors import InputError

_XQUAD = PublishedData.on_github("google-deepmind/xquad", "7d30520c717524000f0d9d2f9c10a069acd9d285")

_LANGUAGES = {
    "spa": ("es", "spa-Latn"),
    "deu": ("de", "deu-Latn"),
    "ell": ("el", "ell-Grek"),
    "rus": ("ru", "rus-Cyrl"),
    "tur": ("tr", "tur-Latn"),
    "arb": ("ar", "arb-Arab"),
    "vie": ("vi", "vie-Latn"),
    "tha": ("th", "tha-Thai"),
    "zho": ("zh", "zho-Hans"),
    "hin": ("hi", "hin-Deva"),
    "ron": ("ro", "ron-Latn"),
}
"""The publisher's code and MTEB's tag, by the name that a language has in our subsets."""


class XQuADCrosslingualRetrieval(CollectionRetrieval):
    """Retrieve the English paragraph that answers a question in another language.

    MTEB's `XQuADRetrieval` has question and paragraph in the same language. Here the corpus has the 240 English
    paragraphs, equal ones once, and the queries are the translated questions. A question's English original, which has
    the same id in the English file, tells its paragraph.
    """

    metadata = TaskMetadata(
        name="XQuADCrosslingualRetrieval",
        dataset={"path": "google-deepmind/xquad", "revision": _XQUAD.revision},
        description=(
            "Cross-lingual paragraph retrieval: the query is a question of SQuAD translated into another language, the "
            "document the English Wikipedia paragraph that it was asked about. From XQuAD, in eleven languages."
        ),
        reference="https://github.com/google-deepmind/xquad",
        eval_splits=["validation"],
        eval_langs={f"{name}-eng": [tag, "eng-Latn"] for name, (_, tag) in _LANGUAGES.items()},
        date=("2016-06-16", "2019-10-25"),
        domains=["Encyclopaedic", "Written"],
        task_subtypes=["Question answering"],
        license="cc-by-sa-4.0",
        annotations_creators="human-annotated",
        sample_creation="human-translated",
        adapted_from=["XQuADRetrieval"],
        bibtex_citation=r"""
@inproceedings{artetxe-etal-2020-cross,
  author = {Artetxe, Mikel and Ruder, Sebastian and Yogatama, Dani},
  booktitle = {Proceedings of the 58th Annual Meeting of the Association for Computational Linguistics},
  doi = {10.18653/v1/2020.acl-main.421},
  pages = {4623--4637},
  publisher = {Association for Computational Linguistics},
  title = {On the Cross-lingual Transferability of Monolingual Representations},
  url = {https://aclanthology.org/2020.acl-main.421},
  year = {2020},
}

@inproceedings{dumitrescu2021liro,
  author = {Dumitrescu, Stefan Daniel and Rebeja, Petru and Lorincz, Beata and Gaman, Mihaela and Avram, Andrei and Ilie, Mihai and Pruteanu, Andrei and Stan, Adriana and Rosia, Lorena and Iacobescu, Cristina and others},
  booktitle = {Thirty-fifth Conference on Neural Information Processing Systems Datasets and Benchmarks Track (Round 1)},
  title = {{LiRo}: Benchmark and leaderboard for {Romanian} language tasks},
  url = {https://openreview.net/forum?id=JH61CD7afTv},
  year = {2021},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """Questions of one language, English paragraphs."""
        from optical_mteb.collection.split import retrieval_split
        from optical_mteb.collection.squad import read_squad

        english, translated = (_XQUAD.find(f"xquad.{code}.json") for code in ("en", _LANGUAGES[subset[:3]][0]))
        paragraphs, paragraph_of = _english(english)
        queries = [question for paragraph in read_squad(translated) for question in paragraph.questions]
        for query in queries:
            if query.id not in paragraph_of:
                raise InputError(f"{query.where}: question {query.id!r} is not in {english}; get both files again")
        return retrieval_split(
            f"{self.metadata.name}/{subset}/{split}",
            paragraphs,
            queries,
            {query.id: {paragraph_of[query.id]: 1} for query in queries},
        )


def _english(path: Path) -> tuple[list[Entry], dict[str, str]]:
    """The paragraphs, and the id of the one that each question is about."""
    from optical_mteb.collection.squad import read_squad

    paragraphs: dict[str, Entry] = {}
    paragraph_of: dict[str, str] = {}
    for paragraph in read_squad(path):
        first = paragraphs.setdefault(paragraph.entry.text, paragraph.entry)
        for question in paragraph.questions:
            if paragraph_of.setdefault(question.id, first.id) != first.id:
                raise InputError(
                    f"{question.where}: question {question.id!r} is under another paragraph, too; get the file again"
                )
    return list(paragraphs.values()), paragraph_of
