"""What the sampler and the trainer are given: texts, token counts, numbers of sentences, and what is counted of them."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from optical_mteb.training.batching import Example, HybridBatchSampler
from optical_mteb.training.composition import composition
from optical_mteb.training.examples import Examples, group_of, meanings, pool_of
from optical_mteb.training.reader import token_counts
from optical_mteb.training.recipe import BatchSettings
from tests.training.conftest import bitext

TEXTS = ["a", "the house is red", "neno " * 100, "水水水", "[SEP] [CLS]", "!?", "long" * 31, "long" * 32]


def corpus_of(**languages):
    """A corpus of (English, translation) pairs by language, the languages interleaved."""
    rows = [(place, (*pair, code)) for code, own in languages.items() for place, pair in enumerate(own)]
    return bitext([row for _, row in sorted(rows, key=lambda each: each[0])])


@pytest.fixture
def corpus():
    english = [f"sentence {'very ' * (n % 7)}{n}" for n in range(40)]
    return corpus_of(
        swh=[(text, f"sentensi {n} {'sana ' * (n % 5)}") for n, text in enumerate(english[:30])],
        fil=[(text, f"pangungusap {n}") for n, text in enumerate(english[10:])],
    )


def test_texts_by_kind():
    """Guards against a side that is swapped: what the teacher and the student read of each kind of example."""
    corpus = corpus_of(swh=[("water", "maji")], fil=[("water", "tubig")])
    examples = Examples(corpus)
    assert len(examples) == 2
    assert [examples[Example("cross_lingual", pair, pair)] for pair in (0, 1)] == [
        {"english": "water", "translation": "maji", "meaning": "water"},
        {"english": "water", "translation": "tubig", "meaning": "water"},
    ]
    same = {"english": "water", "meaning": "water"}
    assert examples[Example("monolingual", 1, 1)] == same | {"translation": "water"}
    assert examples[Example("multilingual", 0, 1)] == same | {"translation": "maji", "partner": "tubig"}


def test_what_says_the_same():
    """Guards against sentences pushed apart that differ in case or end punctuation, or share a translation in a language."""
    corpus = corpus_of(
        swh=[("Yes.", "Ndiyo"), ("yes", "Naam"), ("Yeah!", "ndiyo."), ("House", "Nyumba"), ("Hi", "Habari")],
        fil=[("Home", "Bahay"), ("house!", "bahay"), ("News", "Balita"), ("No", "Ndiyo"), ("OK", "oo")],
        som=[("Yeah", "Haa"), ("ok", "haa"), ("Two", "laba"), ("Dog", "ey"), ("Cat", "bisad")],
    )
    said = meanings(corpus)
    groups = {}
    for pair, meaning in zip(corpus, said, strict=True):
        groups.setdefault(group_of(meaning), set()).add(pair.english)
    alone = [{text} for text in ("Hi", "News", "No", "Two", "Dog", "Cat")]
    assert sorted(map(sorted, groups.values())) == sorted(
        map(sorted, [{"Yes.", "yes", "Yeah!", "Yeah", "OK", "ok"}, {"House", "house!", "Home"}, *alone])
    )
    assert meanings(reversed(corpus)) == said[::-1], "the order of the pairs decides nothing"


@pytest.mark.parametrize("prompt", ["", "query: "])
@pytest.mark.parametrize("max_tokens", [None, 12, 128, 512])
def test_token_counts_are_what_the_model_reads(tiny_model, prompt, max_tokens):
    """Guards against a count without prompt, special tokens or cut: one by one, that of the features that the model is given."""
    model = tiny_model(words=("house",))
    counts = token_counts(model, TEXTS, prompt, max_tokens)
    model.max_seq_length = min(max_tokens or 128, 128)
    read = [int(model.preprocess([text], prompt=prompt or None)["attention_mask"].sum()) for text in TEXTS]
    assert counts.tolist() == read
    assert counts.dtype == np.int64
    assert max(read) == model.max_seq_length


@pytest.mark.long
def test_token_counts_of_many_texts(tiny_model):
    """Guards against a text that is lost or counted twice where the tokenizer's batches meet, and no text at all."""
    model = tiny_model()
    texts = ["a" * (1 + n % 7) for n in range(20_001)]
    assert token_counts(model, texts).tolist() == [2 + len(text) for text in texts]
    assert token_counts(model, []).tolist() == []


def test_the_pool_numbers_a_corpus(tiny_model, corpus):
    """Guards against numbers of another pair: languages, equal English sides, and tokens of both sides, pair by pair."""
    model = tiny_model()
    pool = pool_of(corpus, model, prompt="query: ", max_tokens=30)
    assert pool.languages == ["fil", "swh"]
    assert [pool.languages[index] for index in pool.language] == [pair.language for pair in corpus]
    for one, other in zip(*np.triu_indices(len(corpus)), strict=True):
        assert (pool.english[one] == pool.english[other]) == (corpus[one].english == corpus[other].english)
    assert pool.tokens.tolist() == token_counts(model, [p.translation for p in corpus], "query: ", 30).tolist()
    assert pool.english_tokens.tolist() == token_counts(model, [p.english for p in corpus], "query: ", 30).tolist()
    other = pool_of(corpus, model, prompt="query: ", english_prompt="", max_tokens=30)
    assert other.tokens.tolist() == pool.tokens.tolist()
    assert other.english_tokens.tolist() == token_counts(model, [p.english for p in corpus], "", 30).tolist()
    place = [pair.translation for pair in corpus].index("pangungusap 3")
    assert pool.length(Example("cross_lingual", place, place)) == pool.tokens[place]
    assert pool.length(Example("multilingual", place, 0)) == pool.tokens[place]
    assert pool.length(Example("monolingual", place, place)) == pool.english_tokens[place] != pool.tokens[place]


def test_groups_are_those_of_the_english_text():
    """Guards against a number that another process, a longer text or torch's int64 changes."""
    texts = ["water", "Water.", "waters", "", "北京", *map(str, range(1000))]
    groups = {group_of(text) for text in texts}
    assert len(groups) == len(texts) - 1
    assert max(groups) < 2**63
    assert group_of("water") == int(hashlib.sha256(b"water").hexdigest()[:16], 16) // 2


def test_the_composition_is_that_of_the_batches(tiny_model, corpus):
    """Guards against a table of other examples than those trained on, or with figures in the wrong cell.

    Against a loop over the texts of every batch.
    """
    model = tiny_model()
    pool = pool_of(corpus, model, prompt="query: ", max_tokens=30)
    mixture = BatchSettings(monolingual=1, cross_lingual=2, multilingual=1, alpha=0.5)
    sampler = HybridBatchSampler(pool, mixture, batch_size=8, steps=17, seed=3, rank=1, world=2)
    examples, codes = Examples(corpus), {pair.translation: pair.language for pair in corpus}
    rows, tokens, slots = Counter(), Counter(), Counter()
    for step in range(17):
        texts = [examples[example] for example in sampler.batch(step)]
        counts = [min(30, len(model.tokenizer("query: " + row["translation"])["input_ids"])) for row in texts]
        for row, count in zip(texts, counts, strict=True):
            kind = "multilingual" if "partner" in row else "cross_lingual"
            key = (kind, codes.get(row["translation"], ""))
            key = ("monolingual", "eng") if row["translation"] == row["english"] else key
            rows[key] += 1
            tokens[key] += count
            slots[key] += max(counts)
    found = composition(sampler, pool, 17)
    assert {key: part.examples for key, part in found.parts.items()} == dict(rows)
    assert {key: part.tokens for key, part in found.parts.items()} == dict(tokens)
    assert {key: part.slots for key, part in found.parts.items()} == dict(slots)
    assert list(found.parts) == sorted(rows)
    assert len(rows) == 5
    total = found.total
    assert (total.examples, total.tokens, total.slots) == (17 * 8, tokens.total(), slots.total())
    assert total.padding == pytest.approx(1 - tokens.total() / slots.total())
    assert (found.steps, found.steps_per_epoch) == (17, len(corpus) // 8)
    assert found.total == total, "the sum changes what it is taken of"
    cells = [tuple(cell.plain for cell in row) for row in found.table().rows]
    shown = [(*key, rows[key], tokens[key], slots[key]) for key in sorted(rows)]
    shown.append(("all", "3 languages", 17 * 8, total.tokens, total.slots))
    for row, (kind, language, examples, read, taken) in zip(cells, shown, strict=True):
        assert row[:2] == (kind.replace("_", "-"), language)
        assert row[2:] == (str(examples), f"{examples / (17 * 8):.1%}", f"{read:,}", f"{1 - read / taken:.1%}")
