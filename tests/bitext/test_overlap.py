"""Pairs that a test collection has, too."""

import numpy as np
import pytest

from optical_mteb.bitext import Pair
from optical_mteb.bitext.overlap import WORDS, Sides

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"


def pairs(*sides):
    return [Pair(english, translation, "swh", "a.tsv", str(n)) for n, (english, translation) in enumerate(sides)]


@pytest.mark.parametrize(
    ("text", "shared"),
    [
        ("wash your HANDS often", {0, 1}),
        ("osha mikono yako!", {0}),
        ("It says: go. Wash your hands, often! Then rest.", {0, 1}),
        ("Title\nWash your hands often\nmore", {0, 1}),
        ("Please wash your hands often", set()),
        ("It says: go home. Rest.", set()),
        ("go home", {2}),
        (f"zero {LONG.upper()}, sixteen", {3}),
        (f"zero {' '.join(LONG.split()[2:])} other words", {3}),
        (f"zero {' '.join(LONG.split()[3:])} other words", set()),
        ("हात वारंवार धुवा।", {4}),
        ("", set()),
    ],
)
def test_equal_sentences_and_long_runs(text, shared):
    """Guards against test data in the training that differs in case, punctuation or its surroundings, and chance hits."""
    corpus = pairs(
        ("Wash your hands often.", "Osha mikono yako"),
        ("“Wash your hands often”", "Nawa mikono"),
        ("Go home.", "..."),
        ("Kumi na tano", LONG),
        ("Hands", "हात वारंवार धुवा"),
    )
    assert Sides(corpus).shared_with([text, "something else"]) == shared


def test_runs_against_brute_force():
    """Guards against runs across two texts, and places that the sorted hashes lose."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("ab"), rng.integers(0, 40))) for _ in range(200)]
    corpus = pairs(*((text, f"x{n}") for n, text in enumerate(texts[:150])))

    def runs(text):
        words = text.split()
        return {tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1)} or {text}

    wanted = set().union(*(runs(text) for text in texts[150:]))
    expected = {n for n, text in enumerate(texts[:150]) if text and runs(text) & wanted}
    assert 10 < len(expected) < 140
    assert Sides(corpus).shared_with(texts[150:]) == expected
