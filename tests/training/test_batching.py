"""Hybrid batches against counts by hand: shares, coverage, partners, order, restarts, processes, padding."""

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from optical_mteb.errors import InputError
from optical_mteb.training.batching import HybridBatchSampler, Pool
from optical_mteb.training.composition import composition
from optical_mteb.training.recipe import BatchSettings

ALL_KINDS = BatchSettings(monolingual=0.2, cross_lingual=0.5, multilingual=0.3)


def make_pool(counts, seed=0):
    """Pairs in random order; each language translates the English sentences 0, 1, ... as far as it has pairs."""
    generator = np.random.default_rng(seed)
    language = np.repeat(np.arange(len(counts)), list(counts.values()))
    english = np.concatenate([np.arange(count) for count in counts.values()])
    order = generator.permutation(len(language))
    lengths = generator.integers(3, 120, (2, len(language)))
    # One sentence has one length.
    return Pool(list(counts), language[order], english[order], lengths[0], lengths[1][english[order]])


def make_sampler(pool, mixture=None, batch_size=16, steps=1, seed=13, **processes):
    return HybridBatchSampler(
        pool, mixture or BatchSettings(), batch_size=batch_size, steps=steps, seed=seed, **processes
    )


def epoch(sampler, number=0):
    """Examples of an epoch."""
    size = sampler.batches_per_epoch
    return [example for step in range(number * size, (number + 1) * size) for example in sampler.batch(step)]


def drawn(sampler, epochs):
    return [example for number in range(epochs) for example in epoch(sampler, number)]


@pytest.mark.parametrize(
    "mixture", [BatchSettings(), BatchSettings(alpha=0.3), ALL_KINDS, BatchSettings(cross_lingual=0, monolingual=1)]
)
def test_no_pair_is_drawn_again_before_the_others(mixture):
    """Guards against the remainder of an epoch that is never drawn: at every epoch's end the draws of a source differ by one."""
    pool = make_pool({"aaa": 103, "bbb": 52, "ccc": 13})
    sampler = make_sampler(pool, mixture, steps=1)
    counts = Counter()
    for number in range(20):
        for example in epoch(sampler, number):
            source = "eng" if example.kind == "monolingual" else pool.languages[pool.language[example.pair]]
            counts[example.kind, source, example.pair] += 1
        for kind, source in {key[:2] for key in counts}:
            able = (
                103 if source == "eng" else {"aaa": 52 if kind == "multilingual" else 103, "bbb": 52, "ccc": 13}[source]
            )
            times = [count for key, count in counts.items() if key[:2] == (kind, source)]
            times += [0] * (able - len(times))
            assert len(times) == able
            assert max(times) - min(times) <= 1


@pytest.mark.parametrize("alpha", [1.0, 0.7, 0.5, 0.0])
def test_shares_of_kinds_and_languages(alpha):
    """Guards against languages drawn in another proportion than n^alpha, and kinds beside their shares, epoch by epoch."""
    counts = {"aaa": 400, "bbb": 100, "ccc": 25}
    pool = make_pool(counts)
    mixture = BatchSettings(monolingual=2, cross_lingual=5, multilingual=3, alpha=alpha)
    sampler = make_sampler(pool, mixture, batch_size=50)
    # Of aaa, 100 English sentences stand in another language, too.
    joined = {"aaa": 100, "bbb": 100, "ccc": 25}
    for number in range(3):
        examples = epoch(sampler, number)
        assert len(examples) == 500
        kinds = Counter(example.kind for example in examples)
        assert kinds == {"monolingual": 100, "cross_lingual": 250, "multilingual": 150}
        for kind, sizes in (("cross_lingual", counts), ("multilingual", joined)):
            found = Counter(pool.languages[pool.language[e.pair]] for e in examples if e.kind == kind)
            total = sum(size**alpha for size in sizes.values())
            for code, size in sizes.items():
                assert abs(found[code] - kinds[kind] * size**alpha / total) < 1


def test_caps_leave_the_same_pairs_out():
    """Guards against a cap that draws other pairs in another epoch or kind, or that epochs and shares do not feel."""
    pool = make_pool({"aaa": 100, "bbb": 50})
    mixture = BatchSettings(monolingual=1, cross_lingual=1, multilingual=1, caps={"aaa": 30, "bbb": 500})
    sampler = make_sampler(pool, mixture, batch_size=10)
    assert sampler.batches_per_epoch == 8
    examples = drawn(sampler, 12)
    of_a = {e.pair for e in examples if pool.language[e.pair] == 0}
    of_a |= {e.partner for e in examples if pool.language[e.partner] == 0}
    assert len(of_a) == 30
    plain = [make_sampler(pool, BatchSettings(caps={"aaa": 30}), batch_size=10, seed=seed) for seed in (13, 14)]
    first, second = ({e.pair for e in drawn(each, 2) if pool.language[e.pair] == 0} for each in plain)
    assert first == of_a
    assert second != first


def test_partners_say_the_same_in_another_language():
    """Guards against a partner of other English or of the own language, and partners that are never chosen."""
    pool = make_pool({"aaa": 60, "bbb": 40, "ccc": 20})
    english, language = pool.english.copy(), pool.language
    aaa = np.flatnonzero(language == 0)
    # Sentence 50 stands three times, in one language; sentence 5 in three, twice in the first.
    english[aaa[np.isin(english[aaa], [51, 52])]] = 50
    english[aaa[english[aaa] == 53]] = 5
    pool = replace(pool, english=english)
    examples = drawn(make_sampler(pool, BatchSettings(cross_lingual=0, multilingual=1), batch_size=12), 40)
    assert {example.kind for example in examples} == {"multilingual"}
    for example in examples:
        assert english[example.partner] == english[example.pair]
        assert language[example.partner] != language[example.pair]
    possible = {
        (one, other)
        for one in range(len(english))
        for other in range(len(english))
        if english[one] == english[other] and language[one] != language[other]
    }
    assert {(example.pair, example.partner) for example in examples} == possible


def test_the_seed_decides_the_order():
    """Guards against an order that is not reproduced, that ignores the seed, or that is the same in every epoch."""
    pool = make_pool({"aaa": 64, "bbb": 64})
    for mixture in (BatchSettings(), ALL_KINDS):
        first, same, other = (list(make_sampler(pool, mixture, steps=16, seed=seed)) for seed in (3, 3, 4))
        assert same == first
        assert other != first
        assert first[:8] != first[8:]
        assert {e.pair for batch in first[:1] for e in batch} != {e.pair for batch in other[:1] for e in batch}


def test_a_training_goes_on_from_any_step():
    """Guards against an order that depends on what was drawn before: steps in any order, by a fresh sampler, are those of a run."""
    pool = make_pool({"aaa": 103, "bbb": 52, "ccc": 13})
    whole = list(make_sampler(pool, ALL_KINDS, steps=47))
    fresh = make_sampler(pool, ALL_KINDS, steps=47)
    for step in (46, 0, 21, 20, 9, 10, 11, 46, *range(47)):
        assert fresh.batch(step) == whole[step]
    assert make_sampler(pool, ALL_KINDS, steps=900).batch(33) == whole[33], "the number of steps changes the order"


@pytest.mark.parametrize("world", [1, 2, 3, 4])
def test_processes_share_every_batch(world):
    """Guards against rows that two processes read or none, processes of different length, and ranks that change the batch."""
    pool = make_pool({"aaa": 103, "bbb": 52, "ccc": 13})
    single = list(make_sampler(pool, ALL_KINDS, batch_size=12, steps=31))
    samplers = [make_sampler(pool, ALL_KINDS, batch_size=12, steps=31, rank=rank, world=world) for rank in range(world)]
    parts = [list(sampler) for sampler in samplers]
    assert {len(sampler) for sampler in samplers} == {len(part) for part in parts} == {31}
    for step, batch in enumerate(single):
        assert {len(part[step]) for part in parts} == {12 // world}
        assert Counter(example for part in parts for example in part[step]) == Counter(batch)
        assert all(sampler.batch(step) == batch for sampler in samplers)


def test_fewer_pairs_than_a_batch():
    """Guards against an empty epoch: all pairs of a small language are in the batch, equally often."""
    pool = make_pool({"aaa": 10})
    examples = make_sampler(pool, batch_size=32).batch(0)
    assert sorted(Counter(example.pair for example in examples).values()) == [3] * 8 + [4] * 2


def test_a_window_over_all_is_the_least_padding():
    """Guards against sorting by another length than what is read: slots are those of sorted examples cut into batches."""
    pool = make_pool({"aaa": 200, "bbb": 120})
    for mixture in (
        BatchSettings(window=20),
        BatchSettings(monolingual=1, cross_lingual=1, multilingual=1, window=1000),
    ):
        sampler = make_sampler(pool, mixture)
        lengths = sorted(
            pool.english_tokens[e.pair] if e.kind == "monolingual" else pool.tokens[e.pair] for e in epoch(sampler)
        )
        assert len(lengths) == 320
        least = sum(16 * max(lengths[start : start + 16]) for start in range(0, 320, 16))
        assert composition(sampler, pool, 20).total.slots == least


def test_windows_are_sorted_one_by_one():
    """Guards against a window of another size: padding falls as it grows, and batches of one window are shuffled all the same."""
    pool = make_pool({"aaa": 1600})
    padding = []
    for window in (1, 4, 100):
        sampler = make_sampler(pool, BatchSettings(window=window))
        padding.append(composition(sampler, pool, 100).total.padding)
        longest = [max(pool.length(example) for example in sampler.batch(step)) for step in range(100)]
        assert longest != sorted(longest)
    assert padding[0] > 0.4 > 0.25 > padding[1] > 0.05 > padding[2]


@pytest.mark.parametrize(
    ("pairs", "mixture", "processes", "message"),
    [
        (2, {}, {}, r"'bbb': 2 pairs are too few to train on, .*; add to its bitext, or leave"),
        (50, {"multilingual": 0.1}, {}, r"batches.multilingual: no English .* two of the languages aaa, bbb; add"),
        (50, {}, {"world": 3, "rank": 2}, r"batch_size 16 cannot be divided among 3 processes; make it a"),
    ],
)
def test_what_cannot_be_drawn(pairs, mixture, processes, message):
    """Guards against a crash in the first step, a join on the numbers of pairs, or more than the line that says what to do."""
    pool = make_pool({"aaa": 50, "bbb": pairs})
    apart = replace(pool, english=pool.english + 50 * pool.language)
    with pytest.raises(InputError, match=message) as error:
        make_sampler(apart, BatchSettings(**mixture), **processes)
    assert "\n" not in str(error.value)


def test_the_iterator_is_lazy():
    """Guards against a training whose order is drawn whole before its first step."""
    sampler = make_sampler(make_pool({"aaa": 64}), steps=10**9)
    assert len(list(islice(sampler, 3))) == 3


def pool_with_passages():
    """Two languages that share 20 English sentences, and five passages of the first one."""
    english = np.concatenate([np.arange(20), np.arange(20), np.arange(20, 25)])
    language = np.repeat([0, 1, 0], [20, 20, 5])
    ones = np.ones(45, np.int64)
    return Pool(["a", "b"], language, english, ones, ones, sentences=40)


def test_passages_are_a_share_of_the_examples():
    """Guards against passages that are drawn as sentences, and a share that a language without them cannot give."""
    sampler = make_sampler(pool_with_passages(), BatchSettings(passages=0.5), batch_size=20, steps=2)
    drawn = [example.pair for batch in sampler for example in batch]
    assert sum(pair >= 40 for pair in drawn) == 10
    assert sum(20 <= pair < 40 for pair in drawn) == 20
    plain = make_sampler(pool_with_passages(), batch_size=20, steps=2)
    assert max(example.pair for batch in plain for example in batch) < 40


def test_no_english_sentence_is_a_target_too_often():
    """Guards against the few sentences of many languages filling a training, and a limit that ends it unseen."""
    pool = pool_with_passages()
    mixture = BatchSettings(passages=0.5, most_repeats=2)
    sampler = make_sampler(pool, mixture, batch_size=10, steps=5)
    drawn = [example.pair for batch in sampler for example in batch]
    assert len(drawn) == 50
    assert np.bincount(pool.english[drawn]).max() == 2
    assert drawn == [example.pair for step in range(5) for example in sampler.batch(step)]
    with pytest.raises(InputError, match=r"gives 50 examples, and 6 steps of 10 read more; train 5 steps"):
        make_sampler(pool, mixture, batch_size=10, steps=6)
