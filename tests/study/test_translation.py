"""Translate-then-retrieve: which texts are translated, from which language, and under which name scores are kept."""

import importlib.util
import shutil
from functools import partial

import mteb
import pytest
import torch
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.types import PromptType
from torch.utils.data import DataLoader

from optical_mteb.errors import InputError
from optical_mteb.study.translation import TranslateThenRetrieve
from optical_mteb.study.translator import Translator


class Spy(Translator):
    """A translator that notes what it is asked, and puts every text into capitals."""

    asked = ()

    def translate(self, texts, language_tag):
        self.asked = (*self.asked, (language_tag, tuple(texts)))
        return [text.upper() for text in texts]


@pytest.fixture
def spy(marian):
    return Spy(*marian(), name="org/marian", revision="1" * 40)


@pytest.fixture
def system(spy, tiny_model):
    return TranslateThenRetrieve(spy, tiny_model(), retriever_name="pypi:all-MiniLM")


def metadata(name="Task", **changes):
    known = {
        "dataset": {"path": "x", "revision": "1"},
        "description": "d",
        "type": "Retrieval",
        "category": "t2t",
        "eval_splits": ["test"],
        "main_score": "ndcg_at_10",
    }
    return TaskMetadata(name=name, **known, **changes)


def encode(system, task, subset, prompt_type, texts=("maji", "mji")):
    import datasets

    inputs = DataLoader(datasets.Dataset.from_dict({"text": list(texts)}), batch_size=2)
    return system.encode(inputs, task_metadata=task, hf_split="test", hf_subset=subset, prompt_type=prompt_type)


def test_a_saved_model_translates_as_it_did_in_memory(marian, marian_folder):
    """Guards against wrong loading: beams, prefix and padding must give what a batch of one gives by transformers' own call."""
    model, tokenizer = marian()
    translator = Translator.load(str(marian_folder), device="cpu", max_tokens=12)
    texts = ["mji", "maji ya mto", "nchi"]
    translations = translator.translate(texts, "swh-Latn")
    for text, translation in zip(texts, translations, strict=True):
        output = model.eval().generate(
            **tokenizer(text, return_tensors="pt", return_token_type_ids=False), num_beams=4, max_new_tokens=12
        )
        assert translation == tokenizer.decode(output[0], skip_special_tokens=True).strip()
    assert any(translations)


def test_a_text_is_translated_once_in_batches_of_one_length(spy, monkeypatch):
    """Guards against double work over repeated queries, padding that costs more than the text, and another order.

    And against an empty text that the model makes words of.
    """
    batches = []
    monkeypatch.setattr(spy, "_generate", lambda texts: batches.append(texts) or [f"<{text}>" for text in texts])
    spy.batch_size = 2
    translate = partial(Translator.translate, spy)
    assert translate(["a", "bbbb", "", "cc", "ddd", "a"], "swh-Latn") == ["<a>", "<bbbb>", "", "<cc>", "<ddd>", "<a>"]
    assert translate(["cc", "mji"], "swh-Latn") == ["<cc>", "<mji>"]
    translate(["cc"], "som-Latn")
    # The same spelling in another language is another text.
    assert batches == [["bbbb", "ddd"], ["cc", "a"], ["mji"], ["cc"]]


def generated(model, tokenizer, language_tag):
    """What a translator asks its model to go on from, for one word."""
    calls = []
    generate = model.generate
    model.generate = lambda **given: calls.append(given) or generate(**given)
    Translator(model, tokenizer, name="spied", revision="1", max_tokens=8).translate(["maji"], language_tag)
    [call] = calls
    return call


def test_nllb_reads_and_writes_the_languages_it_is_told(nllb):
    """Guards against a source language that stays English, and a translation that does not start with English's token."""
    _, tokenizer = nllb
    call = generated(*nllb, "swa-Latn")
    assert call["forced_bos_token_id"] == tokenizer.convert_tokens_to_ids("eng_Latn")
    assert tokenizer.convert_ids_to_tokens(call["input_ids"][0])[0] == "swh_Latn"


def test_codes_of_languages(nllb):
    """Guards against tags of MTEB that models spell otherwise, and garbage from a language or script without a token."""
    model, tokenizer = nllb
    long = Translator(*nllb, name="nllb", revision="1")
    tokenizer.lang_code_to_id = {"en": 5, "sw": 6, "tl": 7, "mr": 8}
    short = Translator(model, tokenizer, name="m2m", revision="1")
    codes = {"swh-Latn": "swh_Latn sw", "swa-Latn": "swh_Latn sw", "fil-Latn": "tgl_Latn tl", "mar-Deva": "mar_Deva mr"}
    for tag, both in codes.items():
        assert f"{long.language_code(tag)} {short.language_code(tag)}" == both
    assert long.language_code("ara-Arab") == "arb_Arab"
    for translator, tag, line in (
        (short, "kin-Latn", r"^m2m: does not translate from kin-Latn; it knows en, mr, sw, tl$"),
        (long, "som-Latn", r"^nllb: does not translate from som-Latn; near codes .*swh_Latn"),
        (long, "mar-Latn", r"from mar-Latn; near codes that it knows: mar_Deva$"),
    ):
        with pytest.raises(InputError, match=line):
            translator.translate(["maji"], tag)


def test_marian_models_of_many_targets(marian):
    """Guards against a missing token where a model of many targets must be asked for English, and one where the model has none."""
    model, tokenizer = marian(">>eng<<", ">>fra<<")
    call = generated(model, tokenizer, "swh-Latn")
    assert tokenizer.convert_tokens_to_ids(">>eng<<") in call["input_ids"][0].tolist()
    with pytest.raises(InputError, match=r"mul: translates into other languages, expected .* into English"):
        Translator(*marian(">>fra<<"), name="mul", revision="1")
    model, tokenizer = marian()
    tokenizer.target_lang = "fra"
    with pytest.raises(InputError, match="translates into fra"):
        Translator(model, tokenizer, name="en-fr", revision="1")


@pytest.mark.long
def test_folders_that_are_no_translation_model(marian_folder, tiny_base, tmp_path):
    """Guards against tracebacks on pickles, encoders and typing errors: one line each."""
    pickled = shutil.copytree(marian_folder, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    damaged = shutil.copytree(marian_folder, tmp_path / "damaged")
    (damaged / "model.safetensors").write_bytes(b"no tensors")
    cases = {
        str(pickled): "pickled weights are not read; save the model again as safetensors",
        str(damaged): "cannot be loaded",
        str(tiny_base): "cannot be loaded",
        "/nowhere/at/all": "no such folder",
        "org/model@main": "the Hub gives no such translation model with safetensors weights",
    }
    for spec, message in cases.items():
        with pytest.raises(InputError, match=message) as error:
            Translator.load(spec, device="cpu")
        assert "\n" not in str(error.value)


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="the tokenizer can be loaded")
def test_a_tokenizer_that_needs_sentencepiece(marian_folder):
    """Guards against a stand-in tokenizer that reads Marian's vocabulary wrongly where sentencepiece is not installed."""
    (marian_folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="pip install sentencepiece sacremoses"):
        Translator.load(str(marian_folder), device="cpu")


def test_embeddings_are_those_of_the_translation(system):
    """Guards against a translation that is made and not used, and the retriever's prompt put before it is made."""
    task = metadata(eval_langs={"swh-eng": ["swh-Latn", "eng-Latn"]})
    found = encode(system, task, "swh-eng", PromptType.query)
    expected = system.model.encode_query(["MAJI", "MJI"], convert_to_tensor=True).cpu()
    assert torch.allclose(torch.as_tensor(found), expected, atol=1e-6)
    assert system.translator.asked == (("swh-Latn", ("maji", "mji")),)


@pytest.mark.parametrize(
    ("languages", "subset", "asked"),
    [
        ({"swh-eng": ["swh-Latn", "swa-Latn", "eng-Latn"]}, "swh-eng", ["swh-Latn"]),
        ({"eng-swh": ["eng-Latn", "swh-Latn"]}, "eng-swh", []),
        (["swa-Latn"], "default", ["swa-Latn"]),
        (["eng-Latn"], "default", []),
        # The task that names its documents' language first.
        ("BelebeleRetrieval", "eng_Latn-swh_Latn", ["swh-Latn"]),
        ("BelebeleRetrieval", "swh_Latn-eng_Latn", []),
    ],
)
def test_queries_alone_are_translated(system, languages, subset, asked):
    """Guards against English that passes the translator, translated documents, and bitext mining, which has no sides."""
    task = mteb.get_task(languages).metadata if isinstance(languages, str) else metadata(eval_langs=languages)
    for prompt_type in (PromptType.document, None, PromptType.query):
        assert not system.translator.asked
        encode(system, task, subset, prompt_type)
    assert [tag for tag, _ in system.translator.asked] == asked


@pytest.mark.long
def test_the_name_tells_all_that_a_score_depends_on(marian, tiny_model):
    """Guards against a cache that takes the scores of one translator, beam, retriever or prompt for another's."""

    def meta(*, revision="1" * 40, beams=4, tokens=32, seed=0, prompts=None):
        translator = Translator(
            *marian(), name="Helsinki-NLP/opus-mt-swc-en", revision=revision, num_beams=beams, max_tokens=tokens
        )
        retriever = tiny_model(seed=seed)
        retriever.prompts = prompts or retriever.prompts
        return TranslateThenRetrieve(translator, retriever, retriever_name="pypi:all-MiniLM").mteb_model_meta

    first = meta()
    assert first.name == "translate/Helsinki-NLP__opus-mt-swc-en__pypi__all-MiniLM"
    assert first.training_datasets is None
    assert not first.is_cross_encoder
    assert "/" not in first.revision
    assert first.revision == meta().revision
    prompts = {"query": "q: ", "document": "d: "}
    others = [{"revision": "2" * 40}, {"beams": 1}, {"tokens": 16}, {"seed": 1}, {"prompts": prompts}]
    assert len({first.revision, *(meta(**other).revision for other in others)}) == 1 + len(others)
