"""The teacher's outputs on disk against the teacher itself, and what a store must never mix, lose or half write."""

import shutil

import numpy as np
import pytest
import torch

from optical_mteb.errors import InputError
from optical_mteb.training.losses.encoding import encode, special_token_ids
from optical_mteb.training.teacher_cache import CacheKey, TeacherCache
from tests.training.conftest import collator, damages, full_disk

TEXTS = ["good morning", "the house is red", "", "a", "wonderful " * 1000, "snow ☃ and 北京", "good morning"]
SETTINGS = {"revision": "r1", "prompt": "passage: ", "max_tokens": 40}


@pytest.fixture
def teacher(tiny_model):
    return tiny_model(seed=3)


def opened(teacher, **settings):
    return TeacherCache(teacher, CacheKey(**SETTINGS | settings))


def direct(teacher, texts, prompt, max_tokens):
    """What a loss sees of the texts without a cache, and the hidden layers, last one last."""
    longest, teacher.max_seq_length = teacher.max_seq_length, min(max_tokens, teacher.max_seq_length)
    batch = collator(teacher, teacher, {"english": prompt})([{"english": text, "translation": text} for text in texts])
    features = {name.removeprefix("english_"): value for name, value in batch.items() if name.startswith("english_")}
    teacher.eval()
    with torch.no_grad():
        encoded = encode(teacher, features, special_token_ids(teacher))
        inputs = {name: features[name] for name in ("input_ids", "attention_mask")}
        layers = teacher[0].auto_model(**inputs, output_hidden_states=True).hidden_states
    teacher.max_seq_length = longest
    return encoded, features["attention_mask"], layers


def assert_equal_to_direct(teacher, cache, texts, prompt, max_tokens, layers=()):
    features = cache.features(texts)
    encoded, attention, hidden = direct(teacher, texts, prompt, max_tokens)
    real = attention.bool()
    assert torch.equal(features["attention_mask"], attention)
    assert torch.equal(features["input_ids"], encoded.ids)
    assert torch.equal(features["content_mask"], encoded.content)
    torch.testing.assert_close(features["token_embeddings"][real], encoded.tokens[real], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(features["sentence_embedding"], encoded.sentence, atol=1e-3, rtol=1e-3)
    assert features["token_embeddings"][~real].abs().sum() == 0
    assert {features[name].dtype for name in ("token_embeddings", "sentence_embedding")} == {torch.float32}
    for position, layer in enumerate(layers):
        torch.testing.assert_close(
            features["hidden_layers"][real][:, position], hidden[layer][real], atol=2e-3, rtol=1e-3
        )
    return features


def shards(cache):
    return sorted(cache._store._folder.iterdir())


@pytest.mark.parametrize("prompt", ["", "passage: "])
@pytest.mark.parametrize("max_tokens", [16, 10_000])
def test_features_equal_the_teacher(teacher, prompt, max_tokens):
    """Guards against outputs of another text, prompt or length limit, and a row order lost to the sorting by length."""
    cache = opened(teacher, prompt=prompt, max_tokens=max_tokens, layers=(-1, -3))
    assert cache.ensure(TEXTS, batch_size=2) == len(set(TEXTS)) == len(cache)
    features = assert_equal_to_direct(teacher, cache, TEXTS, prompt, max_tokens, layers=(-1, -3))
    assert features["hidden_layers"].shape == (len(TEXTS), min(max_tokens, 128), 2, 32)


def test_sentences_of_one_length_are_read_together(tiny_model, monkeypatch):
    """Guards against batches by characters, which pad a short sentence of long words' width to a long one of short words."""
    teacher = tiny_model(seed=3, words=("wonderful",))
    padding = []
    preprocess = teacher.preprocess

    def recorded(texts, **options):
        features = preprocess(texts, **options)
        padding.append(int((features["attention_mask"] == 0).sum()))
        return features

    cache = opened(teacher, prompt="")
    monkeypatch.setattr(teacher, "preprocess", recorded)
    long_words = ["wonderful", "wonderful a", "wonderful b"]
    short_words = ["a b c d", "b c d a", "c d a b"]
    cache.ensure([text for pair in zip(long_words, short_words, strict=True) for text in pair], batch_size=3)
    assert sum(padding) <= 4


def test_left_padding(teacher):
    """Guards against padding stored as text where a tokenizer pads on the left."""
    teacher.tokenizer.padding_side = "left"
    cache = opened(teacher)
    cache.ensure(["red", "good morning"])
    ids = cache.features(["red", "good morning"])["input_ids"]
    teacher.tokenizer.padding_side = "right"
    assert torch.equal(ids, teacher.preprocess(["red", "good morning"], prompt="passage: ")["input_ids"])


def test_the_teacher_is_left_as_it_was(teacher):
    """Guards against outputs that dropout has thinned, and a limit, mode or flag that stays on, after an error too."""
    for module in teacher.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    cache = opened(teacher.train(), layers=(-1,))
    cache.ensure(["a"])
    assert teacher.training
    assert_equal_to_direct(teacher, cache, ["a"], "passage: ", 40)
    teacher.train()
    with pytest.raises(InputError, match=r"layers \[-9\]: the model has 3"):
        opened(teacher, layers=(-9,)).ensure(["b"])
    assert teacher.training
    assert teacher.max_seq_length == 128
    assert not teacher[0].auto_model.config.output_hidden_states


def test_a_second_open_never_calls_the_teacher(teacher, monkeypatch):
    """Guards against a store that is not found again, or that encodes what it has."""
    opened(teacher).ensure(TEXTS)
    expected = opened(teacher).features(TEXTS)

    def fail(*args, **kwargs):
        raise AssertionError("the teacher ran")

    monkeypatch.setattr(teacher, "forward", fail)
    cache = opened(teacher)
    assert cache.ensure(iter(TEXTS)) == 0
    assert "a" in cache
    assert "b" not in cache
    assert all(torch.equal(value, expected[name]) for name, value in cache.features(TEXTS).items())
    assert len(shards(cache)) == 1


def test_later_texts_join(teacher):
    """Guards against a second shard that hides or repeats the first, and padding to the longest text of the store."""
    cache = opened(teacher)
    lines = []
    assert cache.ensure(["a", "b"], say=lines.append) == 2
    assert lines == ["teacher: 2 of 2 new sentences encoded"]
    assert cache.ensure(["b", "c", "good morning"]) == 2
    assert "hidden_layers" not in assert_equal_to_direct(teacher, cache, ["c", "a", "b"], "passage: ", 40)
    assert sorted(len(np.load(shard / "keys.npy")) for shard in shards(cache)) == [2, 2]


@pytest.mark.parametrize(
    "other", [{"revision": "r2"}, {"prompt": "query: "}, {"prompt": ""}, {"max_tokens": 41}, {"layers": (-1,)}]
)
def test_other_settings_share_nothing(teacher, other):
    """Guards against outputs of one revision, prompt, limit or set of layers handed out for another, copied folder or not."""
    cache = opened(teacher)
    cache.ensure(["a"])
    stranger = opened(teacher, **other)
    assert len(stranger) == 0
    shutil.copytree(cache._store._folder, stranger._store._folder)
    assert len(opened(teacher, **other)) == 0


@pytest.mark.long
def test_a_damaged_shard_changes_nothing(teacher, tmp_path, caplog):
    """Guards against damage that breaks later runs or changes what a student learns, and texts that each run reads again."""
    texts = ["good morning", "a", "the house is red"]
    cache = opened(teacher, layers=(-1,))
    cache.ensure(texts)
    clean = cache.features(texts)
    kept = cache._store._folder.rename(tmp_path / "kept")
    [shard] = kept.iterdir()
    for name in sorted(path.name for path in shard.iterdir()):
        for number, damaged in enumerate([None, *damages((shard / name).read_bytes())]):
            shutil.rmtree(cache._store._folder, ignore_errors=True)
            shutil.copytree(kept, cache._store._folder)
            place = cache._store._folder / shard.name / name
            place.unlink() if damaged is None else place.write_bytes(damaged)
            for said in (True, False):
                caplog.clear()
                again = opened(teacher, layers=(-1,))
                again.ensure(texts)
                found = again.features(texts)
                assert all(torch.allclose(found[column], clean[column], atol=1e-3) for column in clean), (name, number)
                # Zero bytes behind the header's text, and a manifest's blanks, say nothing.
                assert bool(caplog.records) == said or name == "manifest.json", (name, number)


def test_an_unfinished_shard_is_ignored(teacher):
    """Guards against outputs of a run that was killed before its shard was whole."""
    opened(teacher).ensure(["a", "b"])
    [shard] = shards(opened(teacher))
    shard.rename(shard.with_name(f".{shard.name}.abc"))
    assert len(opened(teacher)) == 0
    assert opened(teacher).ensure(["a", "b"]) == 2


def test_bytes_on_disk(teacher):
    """Guards against padding or float32 on disk: a text takes the bytes that `TeacherCache` promises."""
    texts = ["good morning", "a"]
    cache = opened(teacher, layers=(-2, -1))
    cache.ensure(texts)
    [shard] = shards(cache)
    columns = list(shard.glob("*.npy"))
    header = 128
    tokens = sum(len(teacher.tokenizer(f"passage: {text}")["input_ids"]) for text in texts)
    promised = 2 * 32 * (len(texts) + tokens) + 2 * 2 * 32 * tokens + 5 * tokens + 28 * len(texts)
    # The places where texts begin have one entry more than there are texts.
    assert sum(path.stat().st_size - header for path in columns) == promised + 8


def test_two_writers_at_once(teacher, monkeypatch):
    """Guards against one of two processes that encode the same texts at once spoiling or losing the other's shard."""
    first, second = (opened(teacher) for _ in range(2))
    forward, nested = teacher.forward, []

    def interrupted(*args, **kwargs):
        if not nested:
            nested.append(True)
            assert second.ensure(["a", "b", "d"]) == 3
        return forward(*args, **kwargs)

    monkeypatch.setattr(teacher, "forward", interrupted)
    assert first.ensure(["a", "b", "c"], batch_size=1) == 3
    for cache in (first, opened(teacher)):
        assert len(cache) == 4
        assert_equal_to_direct(teacher, cache, ["d", "c", "b", "a"], "passage: ", 40)
    assert second.ensure(["c"]) == 0


@pytest.mark.parametrize(("factor", "found"), [(float("nan"), "is not finite"), (1e6, "holds up to 65504")])
def test_values_that_float16_does_not_hold(teacher, factor, found):
    """Guards against NaN and infinity written to the store, an error that does not name the text, and a shard left behind."""
    cache = opened(teacher)
    cache.ensure(["fine"])
    poisoned = teacher.tokenizer.convert_tokens_to_ids("z")
    transformer = teacher[0].forward

    def forward(features, **kwargs):
        output = transformer(features, **kwargs)
        output["token_embeddings"] = torch.where(
            (features["input_ids"] == poisoned).unsqueeze(-1), factor, output["token_embeddings"]
        )
        return output

    teacher[0].forward = forward
    with pytest.raises(InputError, match=rf"'z\\nz+…'.*{found}") as error:
        cache.ensure(["a", "z\n" + "z" * 70, "bcd"])
    assert "\n" not in str(error.value)
    assert len(shards(cache)) == 1
    assert len(cache) == 1


def test_padding_need_not_be_finite(teacher):
    """Guards against a refusal because of what a teacher computes for padding, which nobody reads."""
    transformer = teacher[0].forward

    def forward(features, **kwargs):
        output = transformer(features, **kwargs)
        padding = ~features["attention_mask"].bool().unsqueeze(-1)
        output["sentence_embedding"] = output["token_embeddings"][:, 0]
        output["token_embeddings"] = output["token_embeddings"].masked_fill(padding, float("inf"))
        return output

    teacher[0].forward = forward
    del teacher[2], teacher[1]
    assert opened(teacher).ensure(["a", "good morning"]) == 2


def test_a_full_disk(teacher):
    """Guards against a traceback, or half a shard, where the disk is full before the shard is written."""
    cache = opened(teacher, layers=(-1, -2, -3))
    cache.ensure(["a"])
    with full_disk(200_000), pytest.raises(InputError, match="cannot write there"):
        cache.ensure([f"{number} " * 40 for number in range(64)])
    assert len(shards(cache)) == 1
    assert len(opened(teacher, layers=(-1, -2, -3))) == 1


def test_an_unknown_text(teacher):
    """Guards against zeros handed out for a text that was never encoded."""
    with pytest.raises(KeyError, match="never seen"):
        opened(teacher).features(["never seen"])
    assert opened(teacher).ensure([]) == 0
