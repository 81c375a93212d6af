"""Outputs of frozen lower layers from disk against the layers themselves, and what a store must never mix or change."""

import shutil

import pytest
import torch

from optical_mteb.storage import home
from optical_mteb.training import frozen_layers
from optical_mteb.training.freezing import freeze
from optical_mteb.training.frozen_layers import kept_outputs, shared_layers
from optical_mteb.training.recipe import StudentSettings

TEXTS = ["good morning", "a", "the house is red", "good morning", "wonderful " * 30]
LAYERS = 2


@pytest.fixture
def model(tiny_model):
    """A model of three layers in evaluation mode."""
    return tiny_model(layers=3, seed=1).eval()


@pytest.fixture
def runs(model):
    """How many rows the first layer has computed since the last call."""
    rows = []
    attention = model.transformers_model.encoder.layer[0].attention
    hook = attention.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))

    def counted():
        found = sum(rows)
        rows.clear()
        return found

    yield counted
    hook.remove()


def shards():
    return sorted((home() / "frozen-layers").glob("*/shard-*"))


def encoded(model, texts=TEXTS, layers=LAYERS):
    """Embeddings with the lower layers' outputs from disk; computed by the model alone where `layers` is 0."""
    with kept_outputs(model, layers):
        return model.encode(texts, convert_to_tensor=True)


def test_outputs_are_those_of_the_layers(model, runs):
    """Guards against outputs of other texts or positions, rows computed twice, and a store that is read but never filled."""
    expected = encoded(model, layers=0)
    runs()
    first, again = (encoded(model), runs()), (encoded(model), runs())
    assert (first[1], again[1]) == (4, 0), "every different text once"
    more = encoded(model, [*TEXTS, "new"])
    assert runs() == 1
    for found in (first[0], again[0], more[:-1]):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)
    assert torch.equal(first[0], again[0])


def test_training_is_the_same_and_names_stay(model, tiny_model):
    """Guards against other gradients, names of weights that change for checkpoints, and a model that stays changed."""
    other = tiny_model(layers=3, seed=1)
    features = model.preprocess(TEXTS)
    for each, layers in ((model, LAYERS), (other, 0)):
        freeze(each, words=True, layers=LAYERS)
        each.train()
        names = list(each.state_dict())
        with kept_outputs(each, layers):
            assert list(each.state_dict()) == names
            each(dict(features))["sentence_embedding"].pow(3).sum().backward()
    for own, same in zip(model.parameters(), other.parameters(), strict=True):
        assert (own.grad is None) == (same.grad is None)
        if own.grad is not None:
            torch.testing.assert_close(own.grad, same.grad, atol=5e-3, rtol=5e-3)
    assert not any("forward" in vars(module) for module in model.modules())
    with torch.no_grad():
        assert torch.equal(
            model(dict(features))["sentence_embedding"],
            tiny_model(layers=3, seed=1)(dict(features))["sentence_embedding"],
        )


@pytest.mark.parametrize(
    "change",
    ["weights", "configuration", "layers", "precision", "dropout", "left padding", "weights beside the layers"],
)
def test_what_shares_nothing(model, runs, change):
    """Guards against outputs handed out for other weights, settings, depths or precisions, or where chance changes them."""
    encoded(model)
    layers, texts = LAYERS, TEXTS
    if change == "weights":
        with torch.no_grad():
            model.transformers_model.encoder.layer[0].output.dense.bias.add_(1)
    elif change == "configuration":
        model.transformers_model.config.layer_norm_eps = 0.1
    elif change == "layers":
        layers = 1
    elif change == "precision":
        model.to(torch.bfloat16)
    elif change == "dropout":
        model.transformers_model.encoder.layer[0].output.dropout.p = 0.5
        model.train()
    elif change == "left padding":
        model.tokenizer.padding_side = "left"
    else:
        # As the relative positions of MPNet, which a training changes whatever layers are frozen.
        model.transformers_model.encoder.register_parameter("bias", torch.nn.Parameter(torch.zeros(1)))
    before = len(shards())
    runs()
    with kept_outputs(model, layers):
        model(model.preprocess(texts))
    assert runs() >= 4
    assert len(shards()) == before + (change in ("weights", "configuration", "layers", "precision"))


@pytest.mark.parametrize("damage", ["flipped bit", "read-only"])
def test_a_damaged_or_closed_store_changes_nothing(model, runs, damage):
    """Guards against a damaged or full disk that changes scores or ends a study."""
    expected = encoded(model)
    [shard] = shards()
    if damage == "flipped bit":
        content = bytearray((shard / "hidden.npy").read_bytes())
        content[-9] ^= 64
        (shard / "hidden.npy").write_bytes(content)
    else:
        shutil.rmtree(home() / "frozen-layers")
        (home() / "frozen-layers").write_text("")
    for _ in range(2):
        torch.testing.assert_close(encoded(model), expected, atol=2e-3, rtol=0)
    runs()
    encoded(model)
    assert runs() == (4 if damage == "read-only" else 0)


def test_the_store_is_bounded(model, monkeypatch):
    """Guards against a disk that fills up with texts of studies long done, and outputs lost because memory was short."""
    monkeypatch.setattr(frozen_layers, "MOST_IN_MEMORY", 0)
    expected = encoded(model, ["a"], layers=0)
    for text in ("a", "b"):
        encoded(model, [text])
    first, second = shards()
    size = sum(file.stat().st_size for file in second.iterdir())
    monkeypatch.setattr(frozen_layers, "LARGEST_STORE", size + 200)
    encoded(model, ["c"])
    assert first not in shards()
    torch.testing.assert_close(encoded(model, ["a"]), expected, atol=2e-3, rtol=0)


def test_layers_that_students_share():
    """Guards against a store that grows with every training because vocabularies or words differ between them."""
    settings = {"base": "x", "freeze_layers": 6}
    assert shared_layers(StudentSettings(**settings)) == 6
    assert shared_layers(StudentSettings(**settings, prune_vocabulary=True)) == 0
    assert shared_layers(StudentSettings(base="x")) == 0
