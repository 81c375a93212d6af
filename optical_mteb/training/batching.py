"""Hybrid batches: which examples a training step reads, of which kinds and languages, in an order that a seed decides.

The kinds of an example (after hybrid batch training, Elmahdy, Lin, Ahmad, Findings of EMNLP 2024, which mixes monolingual
and cross-lingual batches; here they are mixed within a batch):

- `monolingual`: student and teacher read the same English sentence;
- `cross_lingual`: the student reads a translation, the teacher the English sentence;
- `multilingual`: the student reads a translation, and is brought to its own reading of the same sentence in a third
  language; the two are joined on equal English sides.

Everything follows from the seed and the number of the step, so that a training can go on from any step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from optical_mteb.errors import InputError
from optical_mteb.training.recipe import BatchSettings

Kind = Literal["monolingual", "cross_lingual", "multilingual"]
"""What an example is made of."""

KINDS: tuple[Kind, ...] = ("monolingual", "cross_lingual", "multilingual")

FEWEST_PAIRS = 10
"""Pairs that a language must have: with fewer, a training repeats them instead of learning the language."""

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a batch.

    Attributes:
        kind: What it is made of.
        pair: Index of the pair that the student reads: its translation, or its English side where it is monolingual.
        partner: Index of the pair whose translation is the target; that of `pair` but where it is multilingual.
    """

    kind: Kind
    pair: int
    partner: int


@dataclass(frozen=True)
class Pool:
    """Pairs that examples are made from, N of them, as numbers.

    Attributes:
        languages: Sorted codes of the languages.
        language: Index of the language of each pair, [N].
        english: Number of its English side, [N]: equal numbers are equal sentences.
        tokens: Tokens that the student reads of each pair's translation, [N].
        english_tokens: Tokens that it reads of its English side, [N].
        sentences: Pairs that are sentences, the first ones; those after them are passages. All by default.
    """

    languages: Sequence[str]
    language: Integers
    english: Integers
    tokens: Integers
    english_tokens: Integers
    sentences: int | None = None

    def length(self, example: Example) -> int:
        """Tokens that the student reads of an example with gradient."""
        return int((self.english_tokens if example.kind == "monolingual" else self.tokens)[example.pair])


class HybridBatchSampler(Sampler[list[Example]]):
    """Batches of a training of a given number of steps.

    An epoch has as many examples as there are pairs, rounded down to whole batches. Kinds and languages get their exact
    shares of it; within a language, every pair is drawn once before any is drawn again, epochs notwithstanding.
    Examples are shuffled, sorted by length within windows of some batches, and the batches are shuffled again.

    Args:
        pool: The pairs.
        mixture: Shares of kinds and languages; caps by ISO 639-3 code.
        batch_size: Examples in a step, all devices together.
        steps: Batches to yield.
        seed: Seed of the order.
        rank: Which of several processes this is; each gets every `world`-th example of a batch.
        world: Number of processes; divides the batch size.

    Attributes:
        batches_per_epoch: Batches after which as many examples have been drawn as there are pairs.

    Raises:
        InputError: A language has too few pairs, nothing joins for multilingual examples, or the batch cannot be
            divided among the processes.
    """

    def __init__(
        self,
        pool: Pool,
        mixture: BatchSettings,
        *,
        batch_size: int,
        steps: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size % world:
            raise InputError(
                f"training.batch_size {batch_size} cannot be divided among {world} processes; make it a multiple"
            )
        self._pool, self._mixture = pool, mixture
        self._batch_size, self._steps, self._seed = batch_size, steps, seed
        self._rank, self._world = rank, world
        self._capped = [self._pairs_of(index) for index in range(len(pool.languages))]
        self._passages = [self._passages_of(index) for index in range(len(pool.languages))]
        total = sum(len(pairs) for pairs in self._capped)
        self.batches_per_epoch = max(1, total // batch_size)
        self._sources = self._plan(self.batches_per_epoch * batch_size)
        self._epoch: Callable[[int], list[list[Example]]] = lru_cache(maxsize=1)(self._draw)
        if mixture.most_repeats is not None:
            limited = self._within_limit(mixture.most_repeats)
            self._epoch = lambda epoch: limited[epoch]

    def __len__(self) -> int:
        """Batches of the training."""
        return self._steps

    def __iter__(self) -> Iterator[list[Example]]:
        """This process's part of the batch of each step."""
        for step in range(self._steps):
            yield self.batch(step)[self._rank :: self._world]

    def batch(self, step: int) -> list[Example]:
        """The examples of a step, counted from 0, of all processes."""
        epoch, place = divmod(step, self.batches_per_epoch)
        return self._epoch(epoch)[place]

    def _pairs_of(self, language: int) -> Integers:
        """Pairs of a language that take part, at most its cap."""
        pairs = np.flatnonzero(self._pool.language[: self._pool.sentences] == language)
        code = self._pool.languages[language]
        if len(pairs) < FEWEST_PAIRS:
            raise InputError(
                f"bitext of {code!r}: {len(pairs)} pairs are too few to train on, expected {FEWEST_PAIRS} or more; "
                "add to its bitext, or leave the language out"
            )
        cap = self._mixture.caps.get(code)
        if cap is not None and cap < len(pairs):
            pairs = np.sort(self._generator(0, language).permutation(pairs)[:cap])
        return pairs

    def _passages_of(self, language: int) -> Integers:
        """Passages of a language."""
        first = len(self._pool.language) if self._pool.sentences is None else self._pool.sentences
        return first + np.flatnonzero(self._pool.language[first:] == language)

    def _plan(self, examples: int) -> list[tuple[Kind, Integers, int]]:
        """Kind, pairs to draw from, and number to draw in an epoch, of each source of examples."""
        shares = [getattr(self._mixture, kind) for kind in KINDS]
        numbers = dict(zip(KINDS, _apportion(shares, examples), strict=True))
        taking_part = np.concatenate(self._capped)
        sources: list[tuple[Kind, Integers, int]] = []
        if self._mixture.monolingual:
            _, first = np.unique(self._pool.english[taking_part], return_index=True)
            sources.append(("monolingual", taking_part[np.sort(first)], numbers["monolingual"]))
        if self._mixture.cross_lingual:
            quotas = _apportion([len(pairs) ** self._mixture.alpha for pairs in self._capped], numbers["cross_lingual"])
            for pairs, passages, quota in zip(self._capped, self._passages, quotas, strict=True):
                joined = round(self._mixture.passages * quota) if len(passages) else 0
                sources += [("cross_lingual", pairs, quota - joined), ("cross_lingual", passages, joined)]
        if self._mixture.multilingual:
            partnered = self._joined()
            quotas = _apportion(
                [len(pairs) ** self._mixture.alpha if len(pairs) else 0.0 for pairs in partnered],
                numbers["multilingual"],
            )
            sources += [("multilingual", pairs, quota) for pairs, quota in zip(partnered, quotas, strict=True)]
        return [source for source in sources if source[2]]

    def _joined(self) -> list[Integers]:
        """Pairs of each language whose English side stands in another language, too."""
        partners: dict[int, list[int]] = {}
        for pair in np.concatenate(self._capped).tolist():
            partners.setdefault(int(self._pool.english[pair]), []).append(pair)
        languages = self._pool.language
        self._partners = {
            english: np.array(pairs) for english, pairs in partners.items() if len({*languages[pairs].tolist()}) > 1
        }
        if not self._partners:
            raise InputError(
                f"batches.multilingual: no English sentence appears in two of the languages {', '.join(self._pool.languages)}; "
                "add bitext that shares its English side, or set batches.multilingual = 0"
            )
        return [
            np.array([pair for pair in pairs.tolist() if int(self._pool.english[pair]) in self._partners], np.int64)
            for pairs in self._capped
        ]

    def _draw(self, epoch: int) -> list[list[Example]]:
        """The batches of an epoch."""
        generator = self._generator(1, epoch)
        examples = [
            example
            for number, source in enumerate(self._sources)
            for example in self._from_source(number, *source, epoch, generator)
        ]
        return self._batched(examples, generator)

    def _within_limit(self, most: int) -> list[list[list[Example]]]:
        """The batches of all epochs, no English sentence a target more often than that.

        The sources take turns in proportion to their shares; one that has nothing left leaves its turns to the others.
        """
        times = np.zeros(int(self._pool.english.max()) + 1, np.int64)
        quotas = [quota for _, _, quota in self._sources]
        chance = self._generator(3)
        streams = {
            number: self._fresh(number, *source[:2], times, most, chance) for number, source in enumerate(self._sources)
        }
        drawn = [0] * len(streams)
        epochs: list[list[list[Example]]] = []
        left = self._steps * self._batch_size
        while left > 0:
            examples: list[Example] = []
            while len(examples) < min(self.batches_per_epoch * self._batch_size, left):
                turn = min(streams, key=lambda number: ((drawn[number] + 1) / quotas[number], number), default=None)
                if turn is None:
                    done = self._steps * self._batch_size - left + len(examples)
                    raise InputError(
                        f"batches.most_repeats = {most}: the bitext gives {done:,} examples, and {self._steps:,} steps of "
                        f"{self._batch_size} read more; train {done // self._batch_size:,} steps, or raise it"
                    )
                if (example := next(streams[turn], None)) is None:
                    del streams[turn]
                    continue
                drawn[turn] += 1
                examples.append(example)
            left -= len(examples)
            epochs.append(self._batched(examples, self._generator(1, len(epochs))))
        return epochs

    def _fresh(
        self, number: int, kind: Kind, pairs: Integers, times: Integers, most: int, chance: np.random.Generator
    ) -> Iterator[Example]:
        """The examples of a source in laps, without those whose English has been a target often enough."""
        lap = 0
        while True:
            given = False
            for pair in self._generator(2, number, lap).permutation(pairs).tolist():
                english = self._pool.english[pair]
                if times[english] < most:
                    times[english] += 1
                    given = True
                    yield self._example(kind, pair, chance)
            if not given:
                return
            lap += 1

    def _batched(self, examples: list[Example], generator: np.random.Generator) -> list[list[Example]]:
        """Examples in batches: shuffled, sorted by length within windows, and the batches shuffled."""
        order = generator.permutation(len(examples))
        lengths = np.array([self._pool.length(example) for example in examples])
        batches: list[list[Example]] = []
        for start in range(0, len(order), self._mixture.window * self._batch_size):
            window = order[start : start + self._mixture.window * self._batch_size]
            window = window[lengths[window].argsort(kind="stable")]
            batches += [
                [examples[index] for index in window[first : first + self._batch_size].tolist()]
                for first in range(0, len(window), self._batch_size)
            ]
        return [batches[index] for index in generator.permutation(len(batches)).tolist()]

    def _from_source(
        self, number: int, kind: Kind, pairs: Integers, quota: int, epoch: int, generator: np.random.Generator
    ) -> Iterator[Example]:
        """The examples of one source in an epoch: the next ones of an endless row of permutations of its pairs."""
        place, end = epoch * quota, (epoch + 1) * quota
        while place < end:
            lap, offset = divmod(place, len(pairs))
            drawn = self._generator(2, number, lap).permutation(pairs)[offset : offset + end - place]
            for pair in drawn.tolist():
                yield self._example(kind, pair, generator)
            place += len(drawn)

    def _example(self, kind: Kind, pair: int, generator: np.random.Generator) -> Example:
        if kind != "multilingual":
            return Example(kind, pair, pair)
        same = self._partners[int(self._pool.english[pair])]
        return Example(kind, pair, int(generator.choice(same[self._pool.language[same] != self._pool.language[pair]])))

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *purpose])


def _apportion(weights: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to the weights that add up to the total (largest remainder)."""
    exact = total * np.array(weights, np.float64) / sum(weights)
    whole = np.floor(exact + 1e-9).astype(np.int64)
    for index in np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]:
        whole[index] += 1
    return [int(number) for number in whole]
