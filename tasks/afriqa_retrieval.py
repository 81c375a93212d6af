"""AfriQA: a question in an African language, the English Wikipedia passage that answers it."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

from optical_mteb.collection import Entry
from optical_mteb.collection.published_data import PublishedData
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.errors import InputError

_AFRIQA = PublishedData.on_github("masakhane-io/afriqa", "5c29933753692c28773c34ac1f68482007f1d2bb")

_PARTS = ("train", "dev", "test")
"""The publisher's splits, in the order in which they are read."""


_LANGUAGES = {
    "bem": ("bem", _PARTS),
    "hau": ("hau", _PARTS),
    "ibo": ("ibo", _PARTS),
    "kin": ("kin", _PARTS),
    "swh": ("swa", ("test",)),
    "twi": ("twi", _PARTS),
    "yor": ("yor", ("train", "test")),
    "zul": ("zul", _PARTS),
}
"""The publisher's code and the published splits, by the name that a language has in our subsets."""

_log = logging.getLogger(__name__)


class _Question(NamedTuple):
    language: str
    part: str
    entry: Entry
    passage: str


class _Collection(NamedTuple):
    passages: list[Entry]
    questions: list[_Question]


class AfriQARetrieval(CollectionRetrieval):
    """Retrieve the English Wikipedia passage that answers a question in an African language.

    The corpus is the same for all languages: the passages, without the titles of their articles, of all languages'
    training and dev files; for the split `test`, those of its files too. Fon and Wolof, whose passages are French, are
    left out. Equal passages are one document. The queries are the questions of one language's split; a question that
    stands several times in the files of its language is one query, and every passage that it stands with is relevant.
    What the publisher left without a passage or a question (null, NaN) is left out.

    Unless splits are chosen, `dev` is run, or `test` where no chosen language has `dev`: Yoruba and Swahili have none.
    A split that a language does not have is run for the others.
    """

    metadata = TaskMetadata(
        name="AfriQARetrieval",
        dataset={"path": "masakhane-io/afriqa", "revision": _AFRIQA.revision},
        description=(
            "Cross-lingual passage retrieval: the query is a question that a native speaker asked in an African "
            "language, the document a passage of English Wikipedia. From the gold passages of AfriQA."
        ),
        reference="https://github.com/masakhane-io/afriqa",
        eval_splits=["dev", "test"],
        eval_langs={f"{name}-eng": [f"{name}-Latn", "eng-Latn"] for name in _LANGUAGES},
        date=("2001-01-15", "2023-05-11"),
        domains=["Encyclopaedic", "Written"],
        task_subtypes=["Question answering"],
        license="cc-by-4.0",
        annotations_creators="human-annotated",
        sample_creation="created",
        bibtex_citation=r"""
@inproceedings{ogundepo-etal-2023-cross,
  author = {Ogundepo, Odunayo and Gwadabe, Tajuddeen R. and Rivera, Clara E. and Clark, Jonathan H. and Ruder, Sebastian and Adelani, David Ifeoluwa and Dossou, Bonaventure F. P. and Diop, Abdou Aziz and Sikasote, Claytone and Hacheme, Gilles and others},
  booktitle = {Findings of the Association for Computational Linguistics: EMNLP 2023},
  doi = {10.18653/v1/2023.findings-emnlp.997},
  publisher = {Association for Computational Linguistics},
  title = {Cross-lingual Open-Retrieval Question Answering for {African} Languages},
  url = {https://aclanthology.org/2023.findings-emnlp.997},
  year = {2023},
}
""",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - mteb's signature
        super().__init__(*args, **kwargs)
        self._read: Callable[[str], _Collection] = _read

    @property
    def eval_splits(self) -> Sequence[str]:
        """The splits that are chosen, or the one that is run unasked."""
        if self._eval_splits:
            return self._eval_splits
        return ["dev"] if any(self.has_split(subset, "dev") for subset in self._chosen) else ["test"]

    @property
    def hf_subsets(self) -> list[str]:
        """The chosen subsets that have one of the splits; all of them where none has one, for `load_data` to refuse."""
        return [subset for subset in self._chosen if self._has_any_split(subset)] or list(self._chosen)

    @hf_subsets.setter
    def hf_subsets(self, subsets: Sequence[str]) -> None:
        self._chosen = list(subsets)

    def has_split(self, subset: str, split: str) -> bool:
        """Whether the publisher has a split of a language."""
        return split in _LANGUAGES[subset.partition("-")[0]][1]

    def _has_any_split(self, subset: str) -> bool:
        return any(self.has_split(subset, split) for split in self.eval_splits)

    def load_data(self, num_proc: int | None = None, **kwargs: Any) -> None:  # noqa: ANN401 - mteb's signature
        """Load the subsets and splits that are asked for, reading every file once.

        Raises:
            InputError: There is no such split, no chosen language has it, or a file is not there or broken.
        """
        self._check_splits()
        self._read = cache(_read)
        try:
            super().load_data(num_proc, **kwargs)
        finally:
            self._read = _read

    def _check_splits(self) -> None:
        name, published = self.metadata.name, self.metadata.eval_splits
        unknown = next((split for split in self.eval_splits if split not in published), None)
        if unknown is not None:
            raise InputError(
                f"{name}: there is no split {unknown!r}; choose {' or '.join(published)} with --eval-splits"
            )
        without = [subset for subset in self._chosen if not self._has_any_split(subset)]
        if without == self._chosen:
            raise InputError(
                f"{name}: AfriQA has no split {' or '.join(self.eval_splits)} of {', '.join(without)}; "
                "choose test with --eval-splits"
            )
        if without:
            _log.warning(
                "%s: left out %s, of which there is no %s; --eval-splits test has all languages",
                name,
                ", ".join(without),
                " or ".join(self.eval_splits),
            )

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """Questions of one language, English passages of all."""
        from optical_mteb.collection.split import retrieval_split

        collection, language = self._read(split), subset.partition("-")[0]
        asked: dict[str, Entry] = {}
        answers: dict[str, dict[str, int]] = defaultdict(dict)
        for question in collection.questions:
            if question.language == language:
                answers[question.entry.text][question.passage] = 1
                if question.part == split:
                    asked.setdefault(question.entry.text, question.entry)
        return retrieval_split(
            f"{self.metadata.name}/{subset}/{split}",
            collection.passages,
            asked.values(),
            {entry.id: answers[text] for text, entry in asked.items()},
        )


def _read(split: str) -> _Collection:
    """All languages' passages, down to those of a split, and the questions that they answer."""
    from optical_mteb.collection.lines import read_json_lines, text_of

    passages: dict[str, Entry] = {}
    questions: list[_Question] = []
    for part in _PARTS[: _PARTS.index(split) + 1]:
        for name, (code, parts) in _LANGUAGES.items():
            if part not in parts:
                continue
            path = _AFRIQA.find(f"data/gold_passages/{code}/gold_span_passages.afriqa.{code}.en.{part}.json")
            for where, record in read_json_lines(path):
                text, question = (_text(record, key, where) for key in ("context", "question_lang"))
                if not text:
                    continue
                key = text_of(record, "id", where)
                # Ids start at 0 in every file.
                passage = passages.setdefault(text, Entry(f"{code}-{part}-{key}", text, where=where))
                if question:
                    questions.append(_Question(name, part, Entry(key, question, where=where), passage.id))
    return _Collection(list(passages.values()), questions)


def _text(record: dict[str, Any], key: str, where: str) -> str:
    """The text of a key, without white space around it; empty where the publisher has null or NaN."""
    from optical_mteb.collection.lines import text_of

    value = record.get(key)
    return "" if isinstance(value, float) and math.isnan(value) else text_of(record, key, where).strip()
