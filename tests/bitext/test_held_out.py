"""A dev split that follows from the texts alone and that no training pair gives away."""

import hashlib
import itertools
import random

from optical_mteb.bitext import Pair, ParallelCorpus, Report
from optical_mteb.bitext.held_out import hold_out
from tests.collection.conftest import refused

REPORT = Report()


def corpus(rows):
    return ParallelCorpus([Pair(*row, "a.tsv", str(number)) for number, row in enumerate(rows)], REPORT)


def rank(text):
    return hashlib.sha256(text.encode()).hexdigest()


def multiway(number=40):
    return [(f"Sentence {n}", f"{code} {n}", code) for code in ("swh", "som") for n in range(number)]


def texts(split):
    return {(pair.english, pair.translation, pair.language) for pair in split}


def test_dev_pairs_are_the_first_by_hash():
    """Guards against a split by position: the dev sentences are the first by SHA-256, the same ones in every language."""
    rows = multiway()
    training, dev = hold_out(corpus(rows), 5)
    expected = sorted({english for english, _, _ in rows}, key=rank)[:5]
    for code in ("swh", "som"):
        assert [pair.english for pair in dev if pair.language == code] == expected
    assert [(p.english, p.translation, p.language) for p in training] == [row for row in rows if row[0] not in expected]
    assert training.report is REPORT


def test_the_order_of_sources_does_not_matter():
    """Guards against a split that changes with the order of the sources, also where a sentence has several translations."""
    rows = [*multiway(), *((f"Sentence {n}", f"swh other {n}", "swh") for n in range(40))]
    training, dev = hold_out(corpus(rows), 5)
    for seed in range(3):
        shuffled = random.Random(seed).sample(rows, len(rows))
        other_training, other_dev = hold_out(corpus(shuffled), 5)
        assert [(p.language, p.english, p.translation) for p in other_dev] == [
            (p.language, p.english, p.translation) for p in dev
        ]
        assert texts(other_training) == texts(training)
    assert dev.counts == {"som": 5, "swh": 5}
    assert len({pair.english for pair in dev if pair.language == "swh"}) == 5


def test_a_language_of_its_own_sentences_has_dev_pairs_too():
    """Guards against a split of common sentences alone: a language that shares none with the others gets as many dev pairs."""
    rows = [*multiway(), *((f"other {n}", f"amh {n}", "amh") for n in range(15))]
    assert hold_out(corpus(rows), 5)[1].counts == {"amh": 5, "som": 5, "swh": 5}


def test_nothing_of_a_dev_pair_is_trained_on():
    """Guards against a leak: a dev sentence in another case or language, or a dev translation of another sentence."""
    rows = multiway()
    first = min((english for english, _, _ in rows), key=rank)
    number = first.removeprefix("Sentence ")
    leaks = [
        (first.upper(), "amh whatever", "amh"),
        (first.upper(), "swh whatever", "swh"),
        ("another sentence", f"swh {number}", "swh"),
        ("another sentence", f"SWH {number}", "swh"),
    ]
    harmless = ("another sentence", f"som {number}", "swh")
    others = [(f"other {n}", f"amh {n}", "amh") for n in range(9)]
    training, dev = hold_out(corpus([*rows, *leaks, harmless, *others]), 1)
    assert not texts(training) & set(leaks)
    assert harmless in texts(training)
    assert not {p.english.casefold() for p in dev} & {p.english.casefold() for p in training}
    for code in dev.languages:
        sides = [{p.translation for p in split if p.language == code} for split in (dev, training)]
        assert not sides[0] & sides[1]


def test_variants_of_case_are_one_sentence():
    """Guards against a dev sentence that stands in the split twice, in two cases, as each other's wrong answer."""
    cases = ["".join(letters) for letters in itertools.product("wW", "oO", "rR", "dD")]
    rows = [(f"{word} {n}", f"{word} moja {n}", "swh") for n in range(10) for word in cases]
    dev = hold_out(corpus(rows), 8)[1]
    assert len({pair.english.casefold() for pair in dev}) == len(dev) == 8


def test_a_language_with_too_few_pairs():
    """Guards against a language that is all dev split: the message names it, what it has left, and the key to lower."""
    rows = [*multiway(), *((f"other {n}", f"amh {n}", "amh") for n in range(14))]
    with refused() as error:
        hold_out(corpus(rows), 5)
    message = str(error.value)
    assert message.startswith("amh: 9 of 14 pairs are left")
    assert "lower evaluation.pairs" in message
    with refused(r"^amh: 0 of 14 pairs"):
        hold_out(corpus(rows), 20)
