"""Students that are the weighted mean of others."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from optical_mteb.bases import as_late_interaction, base_revision
from optical_mteb.cli import app
from optical_mteb.errors import InputError
from optical_mteb.students import read_student, student_names, student_path
from optical_mteb.students.averaging import average
from optical_mteb.students.store import checked_folder
from tests.conftest import build_tiny_model
from tests.test_registry import sidecar_of


def put(name, base, *, seed=None, model=None, late=False, **record):
    """A student in the store: the base with noise, or another model, and what is recorded about it."""
    model = model or SentenceTransformer(str(base), device="cpu")
    torch.manual_seed(seed or 0)
    with torch.no_grad():
        for parameter in model.transformers_model.encoder.parameters():
            parameter += 0.1 * torch.randn_like(parameter) if seed else 0
    folder = student_path(name)
    (as_late_interaction(model) if late else model).save_pretrained(str(folder))
    facts = {"name": name, "kind": "late_interaction" if late else "dense", "mteb_tasks": [], "license": None}
    facts |= {"base": str(base), "base_revision": base_revision(str(base)), "bitext_fingerprint": "x"}
    sidecar_of(base_revision(str(folder)), **facts | record).write(folder)
    return folder


def tensors(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("late", [False, True])
def test_the_mean_of_students_and_base(tiny_base, late):
    """Guards against weights on the wrong side, tensors out of place, and a record that hides what was averaged."""
    first = put(
        "first", tiny_base, seed=1, late=late, languages=["eng-Latn", "swh-Latn"], mteb_tasks=["B"], license="mit"
    )
    second = put("second", tiny_base, seed=2, late=late, mteb_tasks=["A"], bitext_fingerprint="y")
    command = ["average", "first", "second", str(tiny_base), "--weights", "0.75", "0.5", "-0.25", "--name", "mean"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "student mean = 0.75 x first + 0.5 x second + -0.25 x" in result.output
    ours, (a, b, base) = tensors(checked_folder("mean")), map(tensors, (first, second, tiny_base))
    assert ours.keys() == a.keys()
    for name, tensor in ours.items():
        expected = 0.75 * a[name] + 0.5 * b[name] - 0.25 * base[name]
        np.testing.assert_allclose(tensor, expected, atol=1e-6)
        # What no training changed is the base's to the last bit: a pack leaves it out.
        assert np.array_equal(tensor, base[name]) or not np.array_equal(a[name], base[name])
    record = read_student("mean")
    assert [(side.of, side.revision, side.weight) for side in record.average] == [
        ("first", read_student("first").weights, 0.75),
        ("second", read_student("second").weights, 0.5),
        (str(tiny_base), base_revision(str(tiny_base)), -0.25),
    ]
    assert (record.languages, record.mteb_tasks) == (["eng-Latn", "som-Latn", "swh-Latn"], ["A", "B"])
    assert (record.license, record.bitext_fingerprint not in {"x", "y"}) == (None, True)
    assert "| second | 0.5 |" in (checked_folder("mean") / "README.md").read_text()


@pytest.mark.long
def test_what_cannot_be_averaged_is_refused(tiny_base, tmp_path):
    """Guards against means of models that do not share what their weights mean, and a half-written student."""
    put("first", tiny_base, seed=1)
    put("late", tiny_base, seed=2, late=True)
    put("other-base", tiny_base, seed=2, base_revision="0" * 40)
    put("pruned", tiny_base, model=build_tiny_model(words=("habari",)))
    put("shallow", tiny_base, model=build_tiny_model(layers=1))
    put("wide", tiny_base, model=build_tiny_model(hidden=64))
    put("spaced", tiny_base, seed=2, recipe={"student": {"layers": 2, "layer_selection": "first"}})
    cases = [
        (["first", "late"], None, "late and first cannot be averaged: kind is late_interaction there and dense here"),
        (["first", "other-base"], None, "base_revision is 0000"),
        (["first", "pruned"], None, "pruned has another tokenizer or vocabulary than first"),
        (["first", "shallow"], None, r"the shape of tensor encoder\.layer\.1.* is None there"),
        (["first", "wide"], None, r"the shape of tensor .* is \(.*64.*\) there and \(.*32.*\) here"),
        (["first", "spaced"], None, "layers is 2 there and None here"),
        (["first", "missing"], None, "student 'missing' is not trained yet"),
        ([str(tiny_base), str(tiny_base)], None, "is not trained yet|student name"),
        (["first"], None, "an average of 1: name two or more"),
        (["first", "late"], [0.5], "1 weights for 2 sides"),
        (["first", "late"], [0.5, 0.6], r"weights 0\.5 0\.6 sum to 1\.1; expected 1"),
    ]
    before = student_names()
    for specs, weights, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            average(specs, "mean", weights=weights)
        assert "\n" not in str(caught.value)
    assert student_names() == before
    assert not student_path("mean").exists()
