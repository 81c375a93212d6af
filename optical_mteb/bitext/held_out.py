"""A dev split of a parallel corpus that the training pairs do not give away, in any language."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from optical_mteb.bitext.corpus import Pair, ParallelCorpus
from optical_mteb.errors import InputError

_LEFT = 2
"""Training pairs that a language must keep for each dev pair."""


def hold_out(corpus: ParallelCorpus, pairs: int) -> tuple[ParallelCorpus, ParallelCorpus]:
    """Set the same number of pairs of each language aside.

    English sides are ordered by SHA-256, so that the split follows from the texts alone, whatever the order of the
    sources, and languages that translate the same text share their dev sentences. What a dev pair would give away
    leaves the training pairs: its English side in every language, its translation in its own, case aside.

    Args:
        corpus: Pairs to split.
        pairs: Dev pairs of each language, of different English sides.

    Returns:
        The training pairs in the order of the corpus, and the dev pairs by language and hash, both with the corpus's
        report.

    Raises:
        InputError: A language keeps fewer than two training pairs for each dev pair.
    """
    rank = {pair.english: hashlib.sha256(pair.english.encode()).digest() for pair in corpus}
    by_language: dict[str, list[Pair]] = {language: [] for language in corpus.languages}
    for pair in corpus:
        by_language[pair.language].append(pair)
    dev = [pair for own in by_language.values() for pair in _first(own, pairs, rank)]
    english = {pair.english.casefold() for pair in dev}
    translations = {(pair.language, pair.translation.casefold()) for pair in dev}
    training = ParallelCorpus(
        [
            pair
            for pair in corpus
            if pair.english.casefold() not in english
            and (pair.language, pair.translation.casefold()) not in translations
        ],
        corpus.report,
    )
    for language in corpus.languages:
        left = training.counts.get(language, 0)
        if left < _LEFT * pairs:
            raise InputError(
                f"{language}: {left} of {corpus.counts[language]} pairs are left to train on once evaluation.pairs = "
                f"{pairs} are held out, expected at least {_LEFT * pairs}; lower evaluation.pairs, or add bitext of "
                "that language"
            )
    return training, ParallelCorpus(dev, corpus.report)


def _first(own: Iterable[Pair], number: int, rank: dict[str, bytes]) -> list[Pair]:
    """The first pairs of a language, one for each English side."""
    first: dict[str, Pair] = {}
    for pair in sorted(own, key=lambda pair: (rank[pair.english], pair.translation, pair.source, pair.id)):
        if len(first) == number:
            break
        first.setdefault(pair.english.casefold(), pair)
    return list(first.values())
