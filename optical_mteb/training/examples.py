"""From a parallel corpus to what the batch sampler draws from and what the trainer is fed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from sentence_transformers import SentenceTransformer
from torch.utils.data import Dataset

from optical_mteb.bitext import Pair, ParallelCorpus
from optical_mteb.bitext.cleaning import same_text
from optical_mteb.bitext.passages import passages
from optical_mteb.errors import InputError
from optical_mteb.training.batching import Example, Pool
from optical_mteb.training.reader import token_counts


class Examples(Dataset[dict[str, str]]):
    """The texts of examples, whose numbers are places in the corpus: one data set for all kinds and languages."""

    def __init__(self, corpus: ParallelCorpus) -> None:
        self._corpus = corpus
        self._meanings = meanings(corpus)

    def __len__(self) -> int:
        """Pairs."""
        return len(self._corpus)

    def __getitem__(self, example: Example) -> dict[str, str]:
        """The texts of an example.

        Returns:
            `english`; `translation`, which the student reads; `partner`, where it is the target in English's place; and
            `meaning`, equal in rows that are no negatives of each other.
        """
        pair = self._corpus[example.pair]
        row = {"english": pair.english, "translation": pair.translation, "meaning": self._meanings[example.pair]}
        if example.kind == "monolingual":
            row["translation"] = pair.english
        elif example.kind == "multilingual":
            row["partner"] = self._corpus[example.partner].translation
        return row


def pool_of(
    corpus: ParallelCorpus,
    student: SentenceTransformer,
    *,
    prompt: str = "",
    english_prompt: str | None = None,
    max_tokens: int | None = None,
    sentences: int | None = None,
) -> Pool:
    """The pairs of a corpus as numbers.

    The student reads translations after `prompt`, and English sentences after `english_prompt`, by default the same; longer
    ones are cut at `max_tokens`. The first `sentences` pairs are sentences, by default all; the others are passages.
    """
    languages = corpus.languages
    english = {text: number for number, text in enumerate(dict.fromkeys(pair.english for pair in corpus))}
    of_english = token_counts(student, list(english), prompt if english_prompt is None else english_prompt, max_tokens)
    numbers = np.array([english[pair.english] for pair in corpus], np.int64)
    index = {code: number for number, code in enumerate(languages)}
    return Pool(
        languages=languages,
        language=np.array([index[pair.language] for pair in corpus], np.int64),
        english=numbers,
        tokens=token_counts(student, [pair.translation for pair in corpus], prompt, max_tokens),
        english_tokens=of_english[numbers],
        sentences=sentences,
    )


def with_passages(corpus: ParallelCorpus, *, seed: int) -> ParallelCorpus:
    """A corpus with its passages behind its sentences; see `optical_mteb.bitext.passages`.

    Raises:
        InputError: No source has documents.
    """
    found = passages(corpus, seed=seed)
    if not found:
        raise InputError(
            "batches.passages: no record of the bitext names its document; expected ids such as DOCUMENT:NUMBER, or files "
            "with a blank line between documents; leave batches.passages out"
        )
    return ParallelCorpus([*corpus, *found], corpus.report)


def meanings(pairs: Iterable[Pair]) -> list[str]:
    """What each of N pairs says: its English side, or that of another pair which says the same.

    English sentences say the same where they differ in case or punctuation at the ends alone (`same_text`), or where a
    language has one translation for them. So do all that such sentences join.

    Returns:
        Texts, [N]; equal ones say the same.
    """
    earlier: dict[str, str] = {}

    def first(text: str) -> str:
        while text in earlier:
            text = earlier[text]
        return text

    english_of: dict[tuple[str, str], str] = {}
    english = []
    for pair in pairs:
        english.append(same_text(pair.english))
        other = english_of.setdefault((pair.language, same_text(pair.translation)), english[-1])
        own, other = sorted((first(english[-1]), first(other)))
        if own != other:
            earlier[other] = own
    return list(map(first, english))


def group_of(meaning: str) -> int:
    """A number for what a sentence says, the same on every device: 63 bits of the SHA-256 of a text of `meanings`."""
    return int.from_bytes(hashlib.sha256(same_text(meaning).encode()).digest()[:8]) >> 1
