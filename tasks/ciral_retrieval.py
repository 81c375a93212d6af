"""CIRAL: an English question, news passages in an African language."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from datasets import Dataset
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import PublishedData
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata

_QUERIES = PublishedData.on_hub("CIRAL/ciral", "1a46efc4d45d0e3756656695ed2994dfce9254fc")
_PASSAGES = PublishedData.on_hub("CIRAL/ciral-corpus", "cbaa143f9213f971b0692d00c8665187868842ae")

_LANGUAGES = {
    "hau": ("hausa", "ha", ["hau-Latn"]),
    "som": ("somali", "so", ["som-Latn"]),
    "swh": ("swahili", "sw", ["swh-Latn"]),
    "yor": ("yoruba", "yo", ["yor-Latn"]),
}
"""The publisher's name and code of a language and MTEB's tags, by the name that it has in our subsets."""

_TOPICS = {"dev": "dev", "test-a": "test-a", "test-a-pools": "test-a", "test-b": "test-b"}
"""The publisher's topics by split: the pools are further judgements for the first test set."""

_log = logging.getLogger(__name__)


class CIRALRetrieval(CollectionRetrieval):
    """Retrieve the passages of African news that answer an English question.

    The splits are the publisher's files of judgements: `dev`, `test-a` and `test-b` have about 20 passages a question,
    `test-a-pools` has about 90 for those of `test-a`, pooled from the runs of FIRE 2023. Judgements of questions that
    are not published, of which the Swahili `test-b` has one, are left out, and so are questions without a relevant
    passage. A language has 82 thousand to 949 thousand passages, kept in a memory-mapped file in the cache.
    """

    metadata = TaskMetadata(
        name="CIRALRetrieval",
        dataset={"path": "CIRAL/ciral", "revision": _QUERIES.revision},
        description=(
            "Cross-lingual passage retrieval: the query is an English question, the documents are passages of news in "
            "Hausa, Somali, Swahili or Yoruba, judged by native speakers. The test collection of the CIRAL track at "
            "FIRE 2023."
        ),
        reference="https://github.com/ciralproject/ciral",
        eval_splits=list(_TOPICS),
        eval_langs={f"eng-{name}": ["eng-Latn", *tags] for name, (_, _, tags) in _LANGUAGES.items()},
        date=("2023-06-01", "2024-02-09"),
        domains=["News", "Written"],
        task_subtypes=["Question answering"],
        license="apache-2.0",
        annotations_creators="human-annotated",
        sample_creation="found",
        bibtex_citation=r"""
@inproceedings{10.1145/3626772.3657884,
  author = {Adeyemi, Mofetoluwa and Oladipo, Akintunde and Zhang, Xinyu and Alfonso-Hermelo, David and Rezagholizadeh, Mehdi and Chen, Boxing and Omotayo, Abdul-Hakeem and Abdulmumin, Idris and Etori, Naome A. and Musa, Toyib Babatunde and Fanijo, Samuel and Awoyomi, Oluwabusayo Olufunke and Salahudeen, Saheed Abdullahi and Mohammed, Labaran Adamu and Abolade, Daud Olamide and Lawan, Falalu Ibrahim and Sabo Abubakar, Maryam and Nasir Iro, Ruqayya and Imam Abubakar, Amina and Mohamed, Shafie Abdi and Mohamed, Hanad Mohamud and Ajayi, Tunde Oluwaseyi and Lin, Jimmy},
  booktitle = {Proceedings of the 47th International ACM SIGIR Conference on Research and Development in Information Retrieval},
  doi = {10.1145/3626772.3657884},
  pages = {293--302},
  publisher = {Association for Computing Machinery},
  title = {{CIRAL}: A Test Collection for {CLIR} Evaluations in {African} Languages},
  year = {2024},
}
""",
    )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """English questions, passages of one language."""
        from optical_mteb.collection.trec_qrels import judged_split, read_qrels
        from optical_mteb.collection.trec_topics import read_topics_tsv

        name = f"{self.metadata.name}/{subset}/{split}"
        language, code, _ = _LANGUAGES[subset.partition("-")[2]]
        topics_file = f"ciral-{language}/topics/topics.ciral-v1.0-{code}-{_TOPICS[split]}.tsv"
        topics = read_topics_tsv(_QUERIES.find(topics_file))
        judgements = read_qrels(_QUERIES.find(f"ciral-{language}/qrels/qrels.ciral-v1.0-{code}-{split}.tsv"))
        published = {topic.id for topic in topics}
        strangers = {judgement.query for judgement in judgements} - published
        if strangers:
            _log.warning("%s: left out the judgements of %d questions that are not there", name, len(strangers))
        return judged_split(
            name,
            _corpus(language),
            topics,
            [judgement for judgement in judgements if judgement.query in published],
        )


def _corpus(language: str) -> Dataset:
    from optical_mteb.collection.arrow_corpus import corpus_dataset, fingerprint
    from optical_mteb.collection.lines import read_json_lines, text_of

    path = f"passages-v1.0/{language}_passages.jsonl"
    file = _PASSAGES.find_local(f"{path}.gz") or _PASSAGES.find(path)

    def passages() -> Iterator[Entry]:
        for where, record in read_json_lines(file):
            key, title, text = (text_of(record, name, where) for name in ("docid", "title", "text"))
            yield Entry(key, text, title=title, where=where)

    return corpus_dataset(f"ciral/{language}", fingerprint(_PASSAGES.revision, file), passages)
