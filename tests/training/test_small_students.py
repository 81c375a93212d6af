"""Students smaller than their base: fewer layers, fewer feed-forward neurons, narrower embeddings."""

import hashlib

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from optical_mteb.bases import layer_indices, prune_feed_forward, select_layers
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.students import student_path
from optical_mteb.training.models import load_models
from optical_mteb.training.narrowing import narrow, principal_directions
from optical_mteb.training.projection import token_width
from optical_mteb.training.recipe import read_recipe
from optical_mteb.training.run import train
from tests.training.conftest import recipe_tables

TEXTS = ["good morning", "the house is red", "water", "a long sentence about nothing at all"]

SMALL = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 40}
ENCODERS = [
    (BertModel, BertConfig(**SMALL)),
    (XLMRobertaModel, XLMRobertaConfig(**SMALL, pad_token_id=1)),
    (MPNetModel, MPNetConfig(**SMALL, pad_token_id=1)),
    (DistilBertModel, DistilBertConfig(dim=16, n_layers=4, n_heads=2, hidden_dim=24, vocab_size=40)),
]


@pytest.fixture
def recipe(tiny_base):
    student, training = {"prune_vocabulary": True}, {"steps": 3, "batch_size": 8}
    objective = {"optical": {}, "sentence": {}, "anchor": {}}
    bitext = [{"source": "cldr:swh", "limit": 60}]
    return recipe_tables(tiny_base, student=student, training=training, objective=objective, bitext=bitext)


@pytest.fixture
def load(recipe):
    """Load the models of the recipe under overrides; gives the models and what was said."""

    def loaded(*overrides):
        checked, lines = read_recipe(recipe, overrides), []
        return load_models(checked, ParallelCorpus.load(checked.bitext), device="cpu", say=lines.append), lines

    return loaded


def hidden_states(model, texts=TEXTS):
    features = model.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.transformers_model.eval()(**features, output_hidden_states=True).hidden_states


def swap_transformer(model, transformer):
    """The tiny model around another encoder."""
    model[0].model = transformer.eval()
    return model


@pytest.mark.parametrize(
    ("layers", "present", "selection", "expected"),
    [
        (6, 12, "spaced", [1, 3, 5, 7, 9, 11]),
        (4, 12, "spaced", [2, 5, 8, 11]),
        (5, 12, "spaced", [1, 3, 6, 8, 11]),
        (1, 12, "spaced", [11]),
        (12, 12, "spaced", list(range(12))),
        (3, 12, "first", [0, 1, 2]),
    ],
)
def test_which_layers_stay(layers, present, selection, expected):
    """Guards against a selection that loses the last layer, repeats one, or leaves a gap larger than it must."""
    assert layer_indices(layers, present, selection) == expected


@pytest.mark.parametrize(("kind", "config"), ENCODERS, ids=lambda value: getattr(value, "__name__", ""))
def test_every_supported_encoder_can_be_cut(tiny_model, kind, config):
    """Guards against configurations that call their layers and neurons by names of their own: weights and numbers must agree."""
    torch.manual_seed(0)
    model = swap_transformer(tiny_model(hidden=16), kind(config))
    ids = torch.randint(5, 40, (2, 7))
    with torch.no_grad():
        whole = model.transformers_model(ids, output_hidden_states=True).hidden_states
        select_layers(model, [0, 1])
        cut = model.transformers_model(ids, output_hidden_states=True).hidden_states
        torch.testing.assert_close(cut[-1], whole[2], rtol=0, atol=0)
        assert prune_feed_forward(model, 8) == 24
        expected = kind(model.transformers_model.config).eval()
        expected.load_state_dict(model.transformers_model.state_dict())
        torch.testing.assert_close(expected(ids)[0], model.transformers_model(ids)[0])
    assert expected.config.num_hidden_layers == 2


def test_the_weakest_neurons_go(tiny_model):
    """Guards against a wrong choice of neurons: the output is that of the whole block with the weakest neurons set to zero."""
    model = tiny_model(layers=1)
    layer = model.transformers_model.encoder.layer[0]
    inwards, outwards = layer.intermediate.dense, layer.output.dense
    with torch.no_grad():
        inwards.weight *= torch.rand(64, 1) * 20
        inwards.bias.uniform_(-1, 1)
        scores = [float(inwards.weight[i].square().sum() * outwards.weight[:, i].square().sum()) for i in range(64)]
        weakest = sorted(range(64), key=scores.__getitem__)[:24]
        kept = outwards.weight.clone()
        outwards.weight[:, weakest] = 0
        expected = hidden_states(model)[-1]
        outwards.weight.copy_(kept)
    prune_feed_forward(model, 40)
    assert inwards.weight.shape == (40, 32)
    torch.testing.assert_close(hidden_states(model)[-1], expected)


def test_encoders_that_cannot_be_cut(tiny_model):
    """Guards against silent damage: layers that share weights, or that are built by their place, would load as other ones."""
    albert = AlbertModel(AlbertConfig(**SMALL, embedding_size=16))
    modern = ModernBertModel(ModernBertConfig(**SMALL, pad_token_id=0))
    for encoder in (albert, modern):
        model = swap_transformer(tiny_model(hidden=16), encoder)
        with pytest.raises(InputError, match=rf"{type(encoder).__name__}: cannot be cut; expected one list") as error:
            select_layers(model, [0])
        assert "\n" not in str(error.value)
    square = swap_transformer(tiny_model(hidden=16), BertModel(BertConfig(**SMALL | {"intermediate_size": 16})))
    with pytest.raises(InputError, match=r"feed-forward blocks of BertModel: cannot be cut"):
        prune_feed_forward(square, 8)
    for keep in ([], [1, 0], [0, 0], [-1], [0, 2]):
        with pytest.raises(InputError, match=r"expected ascending numbers from 0 to 1"):
            select_layers(tiny_model(), keep)


def test_directions_are_those_of_the_singular_values(tiny_model):
    """Guards against another matrix than the tokens' second moments, or prompt and special tokens in it: against numpy's SVD."""
    model, prompt = tiny_model(words=("good", "water")), "passage: "
    directions = principal_directions(model, TEXTS, 5, prompt=prompt)
    tokens = []
    for text in TEXTS:
        skipped = len(model.tokenizer(prompt)["input_ids"]) - 1
        row = model.encode(prompt + text, prompt="", output_value="token_embeddings")
        tokens.append(row[skipped:-1].numpy())
    values, expected = np.linalg.svd(np.concatenate(tokens).astype(np.float64))[1:]
    assert values[4] / values[5] > 1.001, "directions that are not told apart cannot be compared"
    np.testing.assert_allclose(np.abs((directions.numpy() * expected[:5]).sum(1)), 1, atol=1e-5)
    assert (directions.gather(1, directions.abs().argmax(1, keepdim=True)) > 0).all()


def test_the_sample_is_the_same_for_every_order(tiny_model):
    """Guards against directions that depend on the order or repetition of the corpus, and a model left with other settings."""
    model, texts = tiny_model().train(), [f"sentence number {i}" for i in range(40)]
    chosen = sorted(texts, key=lambda text: hashlib.sha256(text.encode()).hexdigest())[:8]
    first = principal_directions(model, texts, 4, sample=8, max_tokens=12)
    assert torch.equal(principal_directions(model, texts[::-1] * 2, 4, sample=8, max_tokens=12), first)
    assert torch.equal(principal_directions(model, chosen, 4, max_tokens=12), first)
    assert not torch.equal(principal_directions(model, chosen, 4), first), "the length limit is not read"
    assert model.training
    assert model.max_seq_length == 128


def test_both_sides_are_narrowed_alike(load):
    """Guards against a student that starts elsewhere than its teacher: before training, both give the same 16 dimensions."""
    models, lines = load("student.width=16")
    sides = models.student, models.teacher
    assert [token_width(model) for model in sides] == [16, 16]
    np.testing.assert_allclose(*(model.encode(TEXTS) for model in sides), atol=1e-6)
    assert models.student[1].linear.weight is not models.teacher[1].linear.weight
    assert models.student[1].linear.weight.requires_grad
    assert len(models.teacher_variant) == 16
    assert load("student.width=16")[0].teacher_variant == models.teacher_variant
    assert load("student.width=15")[0].teacher_variant != models.teacher_variant
    assert load()[0].teacher_variant == ""
    assert "width: tokens are projected to 16 dimensions, the student's from 32, the teacher's 32" in lines


def test_a_student_of_another_width_is_narrowed_too(tiny_model):
    """Guards against the teacher's directions in a map of another shape, where the student's must start at random."""
    student, teacher = tiny_model(hidden=16), tiny_model()
    narrow(student, teacher, 8, TEXTS)
    assert [model[1].linear.weight.shape for model in (student, teacher)] == [(8, 16), (8, 32)]
    assert student.encode(TEXTS).shape == teacher.encode(TEXTS).shape == (4, 8)


def test_the_teacher_stays_whole(load):
    """Guards against a teacher of the student's base that loses its layers, too; its vocabulary is pruned with the student's."""
    models, lines = load("student.layers=1", "student.feed_forward=24")
    whole = load()[0]
    counts = [sum(p.numel() for p in model.parameters()) for model in (whole.student, models.student)]
    assert len(models.teacher.transformers_model.encoder.layer) == 2
    np.testing.assert_array_equal(models.teacher.encode(TEXTS), whole.teacher.encode(TEXTS))
    # A layer: 4 maps 32 x 32, 2 norms, and the block of 64 neurons; of the other layer, 40 neurons go.
    assert counts[0] - counts[1] == (4 * (32 * 32 + 32) + 4 * 32 + 64 * (32 + 32 + 1) + 32) + 40 * (32 + 32 + 1)
    said = f"keeps layers 1 (from 0) of 2 and 24 of 64 feed-forward neurons a layer; {counts[0]:,} parameters before"
    assert any(said in line and f"{counts[1]:,} after" in line for line in lines)


def test_what_nothing_reads_is_not_trained(load):
    """Guards against optimizer state for BERT's pooler, and a layer that is frozen with it."""
    frozen = [name for name, p in load()[0].student.named_parameters() if not p.requires_grad]
    assert [name.split(".model.")[-1] for name in frozen] == [
        "embeddings.word_embeddings.weight",
        "pooler.dense.weight",
        "pooler.dense.bias",
    ]


@pytest.mark.long
def test_frozen_layers_stay_as_they_are(recipe, load):
    """Guards against layers that are trained all the same, norms and positions below them included, or frozen with too many."""
    base = dict(load()[0].student.transformers_model.named_parameters())
    train(read_recipe(recipe, ["student.freeze_layers=1"]), device="cpu", say=lambda _: None)
    trained = dict(
        SentenceTransformer(str(student_path("tiny-student")), device="cpu").transformers_model.named_parameters()
    )
    moved = {name for name, weight in trained.items() if not torch.equal(weight, base[name])}
    upper = {name for name in base if name.startswith("encoder.layer.1.")}
    # The bias of the keys shifts all attention scores of a query alike, which the softmax takes away.
    assert upper - moved <= {"encoder.layer.1.attention.self.key.bias"}
    assert moved <= upper


@pytest.mark.long
@pytest.mark.parametrize("kind", ["dense", "late_interaction"])
def test_training_ends_with_a_small_student(recipe, kind):
    """Guards against keys of the recipe that get lost on the way to the store."""
    overrides = ["student.layers=1", "student.width=16", "student.feed_forward=24", f"student.kind={kind}"]
    trained = train(read_recipe(recipe, overrides), device="cpu", say=lambda _: None)
    student = (SentenceTransformer if kind == "dense" else MultiVectorEncoder)(
        str(student_path("tiny-student")), device="cpu"
    )
    config = student.transformers_model.config
    assert (trained.width, config.num_hidden_layers, config.intermediate_size) == (16, 1, 24)
    assert len(student.transformers_model.encoder.layer) == 1
    assert student.encode_query(TEXTS[0]).shape[-1] == 16
    assert sum(p.numel() for p in student.parameters()) == trained.parameters


def test_the_objective_compares_layers_that_are_there(load):
    """Guards against an index error in the first step: two of the hidden states of one layer are there, the third is not."""
    load("student.layers=1", "objective.optical.layers=[-1,-2]")
    with pytest.raises(
        InputError, match=r"layers = 1: the objective compares layer -3.*; keep 2 layers, or .* -2 to -1"
    ):
        load("student.layers=1", "objective.optical.layers=[-1,-3]")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["layers=3"], r"^\[student\] .*tiny: layers = 3: the model has 2 transformer layers; ask for 1 to 2$"),
        (["feed_forward=65"], r"^\[student\] .*tiny: feed_forward = 65: the model has 64 neurons a layer; ask for 1"),
        (["width=32"], r"^width = 32: the teacher's tokens are 32 wide; ask for less"),
        (["freeze_layers=2"], r"^\[student\] .*tiny: freeze_layers = 2: the student has 2 layers; freeze fewer$"),
        (["freeze_layers=1", "freeze_embeddings=false"], r"student: freeze_layers freezes the embeddings below them"),
        (["layer_selection=first"], r"student: layer_selection = 'first' is read with layers only; add layers"),
    ],
)
def test_requests_that_cannot_be_met(load, overrides, message):
    """Guards against a traceback, or more than a line."""
    with pytest.raises(InputError, match=message) as error:
        load(*(f"student.{override}" for override in overrides))
    assert "\n" not in str(error.value)


def test_a_head_behind_the_pooling_is_refused(tiny_model):
    """Guards against a crash in the first step: a layer after the pooling expects the width that was."""
    model = tiny_model()
    teacher = SentenceTransformer(modules=[model[0], model[1], Dense(32, 32)], device="cpu")
    with pytest.raises(InputError, match=r"width = 8: cannot narrow a model of the form .*'Dense'\]; expected pooling"):
        narrow(tiny_model(), teacher, 8, TEXTS)
