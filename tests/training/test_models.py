"""Student and teacher of a recipe: of half precision, of other widths, with layers behind their pooling."""

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize

from optical_mteb.bases import as_late_interaction
from optical_mteb.training.evaluation import DevEvaluator
from optical_mteb.training.fit import training_arguments
from optical_mteb.training.models import load_models
from optical_mteb.training.objective import build_loss
from optical_mteb.training.projection import token_width
from optical_mteb.training.recipe import read_recipe
from tests.conftest import build_tiny_model
from tests.training.conftest import bitext, recipe_tables

ENGLISH = ["good morning", "water", "the house is red", "seed"]
SWAHILI = ["habari ya asubuhi", "maji", "nyumba ni nyekundu", "mbegu"]
CORPUS = bitext([(english, swahili, "swh") for english, swahili in zip(ENGLISH, SWAHILI, strict=True)])


def recipe(student, teacher, kind="dense", **objective):
    tables = recipe_tables(student, student={"kind": kind}, training={"steps": 1})
    tables |= {"teacher": {"base": str(teacher), "prompt": "document"}, "objective": objective or {"contrastive": {}}}
    return read_recipe(tables)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """Folders of tiny bases by the widths of their tokens and sentences."""
    folder = tmp_path_factory.mktemp("bases")
    for tokens, sentences in [(32, 32), (32, 16), (64, 32), (64, 16)]:
        model = build_tiny_model(hidden=tokens)
        if sentences != tokens:
            modules = [model[0], model[1], Dense(tokens, sentences), Normalize()]
            model = SentenceTransformer(modules=modules, prompts=model.prompts, device="cpu")
        model.save_pretrained(str(folder / f"{tokens}-{sentences}"), create_model_card=False)
    return folder


@pytest.mark.long
@pytest.mark.parametrize(
    ("student", "teacher", "objective", "kind"),
    [
        ("64-16", "32-32", "optical", "dense"),
        ("64-16", "32-32", "contrastive", "dense"),
        ("64-16", "32-32", "contrastive", "late_interaction"),
        ("64-32", "32-32", "optical", "late_interaction"),
        ("64-32", "32-32", "sentence", "dense"),
        ("32-32", "64-16", "sentence", "late_interaction"),
        ("32-32", "64-16", "contrastive", "dense"),
        ("32-16", "32-16", "contrastive", "late_interaction"),
    ],
)
def test_layers_behind_the_pooling(bases, tmp_path, student, teacher, objective, kind):
    """Guards against products of matrices that do not fit, maps that nothing trains, and maps that are not saved."""
    said = []
    checked = recipe(bases / student, bases / teacher, kind, **{objective: {}})
    models = load_models(checked, CORPUS, device="cpu", say=said.append)
    assert token_width(models.student) == token_width(models.teacher)
    loss = build_loss(checked.objective, models.student, models.teacher, kind=kind)
    features = [models.teacher.preprocess(ENGLISH), models.student.preprocess(SWAHILI)]
    sum(loss(features).values()).backward()
    maps = [module.linear.weight for module in models.student if isinstance(module, Dense)]
    wanted = objective == "sentence" or (objective == "contrastive" and kind == "dense")
    if wanted:
        assert models.student.get_embedding_dimension() == models.teacher.get_embedding_dimension()
        assert maps == [] or maps[-1].grad is not None
    elif objective == "optical":
        assert sum("projected" in line for line in said) == (student[:2] != teacher[:2])
    DevEvaluator(models, CORPUS, kind=kind)()
    saved, loaded = models.student, SentenceTransformer
    if kind == "late_interaction":
        saved, loaded = as_late_interaction(models.student), MultiVectorEncoder
    saved.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    again = loaded(str(tmp_path / "saved"), device="cpu")
    own, other = (model.encode(["maji"], convert_to_numpy=True)[0] for model in (saved, again))
    np.testing.assert_allclose(own, other, atol=1e-6)


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("same", [True, False])
def test_a_base_of_half_precision_is_trained_in_single(tiny_model, tmp_path, dtype, same):
    """Guards against weights that steps of the optimizer are too small to move, whatever precision a file holds."""
    tiny_model().to(dtype).save_pretrained(str(tmp_path / "half"), create_model_card=False)
    tiny_model(seed=1).to(dtype).save_pretrained(str(tmp_path / "teacher"), create_model_card=False)
    checked = recipe(tmp_path / "half", tmp_path / ("half" if same else "teacher"))
    models = load_models(checked, CORPUS, device="cpu", say=lambda _: None)
    assert next(SentenceTransformer(str(tmp_path / "half"), device="cpu").parameters()).dtype == dtype
    for model in (models.student, models.teacher):
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("named", ["bf16", "fp16"])
def test_the_recipe_sets_the_precision(bases, monkeypatch, named):
    """Guards against `accelerate launch --mixed_precision` training in another precision than the record says."""
    checked = recipe(bases / "32-32", bases / "32-32")
    models = load_models(checked, CORPUS, device="cpu", say=lambda _: None)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", named)
    assert training_arguments(checked, models, 1).mixed_precision == "no"
    half = checked.model_copy(update={"training": checked.training.model_copy(update={"precision": "bfloat16"})})
    assert training_arguments(half, models, 1).mixed_precision == "bf16"
