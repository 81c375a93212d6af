"""One command from a recipe to a table: what is trained, what is evaluated, what is done only once."""

import io

import pytest
from rich.console import Console

from optical_mteb.bases import pypi_bases
from optical_mteb.errors import InputError
from optical_mteb.students import read_student, student_names
from optical_mteb.study import baselines as module
from optical_mteb.study import experiment
from optical_mteb.study.baselines import compare_objectives, tables
from optical_mteb.training.recipe import ObjectiveSettings, Recipe
from tests.conftest import tiny_recipe

pytestmark = pytest.mark.slow

TASK = "CLDRNameRetrieval"


@pytest.fixture
def recipe(tiny_base):
    objective = {"contrastive": {"weight": 0.5}}
    return Recipe.model_validate(tiny_recipe(tiny_base, name="tiny", seed=7, objective=objective))


@pytest.fixture
def small_task(monkeypatch):
    """Leave the task two subsets, for speed."""
    load = module._task

    def cut(name):
        return load(name).filter_languages(None, hf_subsets=["swh-eng", "zul-eng"])

    monkeypatch.setattr(module, "_task", cut)


def late_interaction(recipe):
    return recipe.model_copy(update={"student": recipe.student.model_copy(update={"kind": "late_interaction"})})


def shown(table):
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()


def test_a_comparison_is_one_call(recipe, small_task, marian_folder, tmp_path, monkeypatch):
    """Guards against a break in the whole path, and a second call that trains or evaluates again what is there already."""
    lines = []
    options = {"only": ["contrastive", "recipe"], "translator": str(marian_folder), "results": tmp_path / "results"}
    monkeypatch.setattr(module.Translator, "translate", lambda self, texts, tag: [text[:3] for text in texts])
    first = compare_objectives(recipe, [TASK], device="cpu", say=lines.append, **options)
    assert list(first) == ["zero-shot", "contrastive", "recipe", "translate-then-retrieve"]
    assert student_names() == ["tiny-contrastive", "tiny-recipe"]
    records = [read_student(name) for name in student_names()]
    contrastive, own = (record.recipe for record in records)
    terms = [record.pop("objective") for record in (contrastive, own)]
    assert [{name: term["weight"] for name, term in each.items()} for each in terms] == [
        {"contrastive": 1.0},
        {"contrastive": 0.5},
    ]
    assert contrastive | {"name": ""} == own | {"name": ""}, "all but the objective is equal, the seed included"
    assert (tmp_path / "results/results/optical-mteb__tiny-recipe" / records[1].weights).is_dir()
    for scores in first.values():
        assert set(scores[TASK]) == {"swh-eng", "zul-eng"}
        assert all(0 < row["map_at_100"] <= 1 for row in scores[TASK].values())
    for table in tables(first):
        assert all(name in shown(table) for name in ("swh-eng", "low-resource", "all", "zero-shot"))

    def not_again(*_, **__):
        raise AssertionError("done again")

    monkeypatch.setattr(experiment, "train", not_again)
    monkeypatch.setattr("mteb.abstasks.retrieval.AbsTaskRetrieval.evaluate", not_again)
    assert compare_objectives(recipe, [TASK], say=lines.append, **options) == first
    with pytest.raises(AssertionError, match="done again"):
        compare_objectives(recipe.model_copy(update={"seed": 8}), [TASK], say=lines.append, **options)


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ([TASK], {"change": lambda recipe: recipe.model_copy(update={"name": "x" * 90})}, "at most 96"),
        ([TASK], {"only": ["optical", "contrastiv"]}, r"objective 'contrastiv' is unknown; did you mean 'contrastive'"),
        ([TASK], {"only": ["zzz"]}, r"objective 'zzz' is unknown; expected one of sentence-distillation, .*, recipe$"),
        (["CLDRNamesRetrieval"], {}, r"task 'CLDRNamesRetrieval' is unknown to mteb; did you mean 'CLDRNameRetrieval'"),
        (["cldrnameretrieval"], {}, r"did you mean 'CLDRNameRetrieval'"),
        (["STS12"], {}, r"task 'STS12' is of type STS, expected a retrieval task"),
        ([], {}, r"no task to compare on; name one"),
        ([TASK], {"translator": "/nowhere/at/all"}, r"/nowhere/at/all: no such folder"),
        ([TASK], {"device": "gpu"}, "device 'gpu': expected cpu"),
        ([TASK], {"change": late_interaction, "translator": "late/interaction"}, "compare it with a dense student"),
    ],
)
def test_bad_input_is_found_before_anything_is_trained(recipe, tmp_path, tasks, options, message):
    """Guards against an hour of training that a typing error throws away, or a table of different kinds of retriever."""
    options = {"change": Recipe.model_copy, **options}
    recipe = options.pop("change")(recipe)
    with pytest.raises(InputError, match=message) as error:
        compare_objectives(recipe, tasks, results=tmp_path / "results", say=lambda _: None, **options)
    assert "\n" not in str(error.value)
    assert not student_names()
    assert not (tmp_path / "results").exists()


def test_a_language_that_the_translator_does_not_know_is_found_first(recipe, tmp_path, nllb, monkeypatch):
    """Guards against a translator that fails after all students are trained."""
    translator = module.Translator(*nllb, name="nllb", revision="1")
    monkeypatch.setattr(module.Translator, "load", lambda spec, device: translator)
    with pytest.raises(InputError, match=r"nllb: does not translate from som-Latn"):
        compare_objectives(recipe, [TASK], only=["contrastive"], translator="nllb", results=tmp_path / "results")
    assert not student_names()


def test_the_own_objective_is_not_trained_twice(recipe, monkeypatch):
    """Guards against two equal students merged into one: whoever asks for both names gets both."""
    monkeypatch.setattr(module, "OBJECTIVES", {"contrastive": {"contrastive": {}}, "optical": {"optical": {}}})
    same = recipe.model_copy(update={"objective": ObjectiveSettings.model_validate({"contrastive": {}})})
    assert list(module._recipes(same, None)) == ["contrastive", "optical"]
    assert list(module._recipes(same, ["contrastive", "recipe"])) == ["contrastive", "recipe"]
    assert list(module._recipes(recipe, None)) == ["contrastive", "optical", "recipe"]


def test_the_base_is_known_by_weights_and_prompts(recipe, tiny_model, tmp_path):
    """Guards against scores of one base that the cache takes for another's: same folder name, or the same weights prompted."""
    folders = [tmp_path / place / "base" for place in ("a", "b")]
    for seed, folder in enumerate(folders):
        tiny_model(seed=seed).save_pretrained(str(folder), create_model_card=False)
    settings = [recipe.student.model_copy(update={"base": str(folder)}) for folder in folders]
    settings.append(settings[0].model_copy(update={"prompts": {"query": "q: "}}))
    metas = [module._zero_shot(each, "cpu").mteb_model_meta for each in settings]
    assert {meta.name for meta in metas} == {"base/base"}
    assert len({meta.revision for meta in metas}) == 3
    again = module._zero_shot(settings[0], "cpu").mteb_model_meta
    assert again.revision == metas[0].revision


def test_a_base_from_a_wheel_shares_its_scores_with_mteb_run(recipe):
    """Guards against a base that is evaluated again although `mteb run -m pypi:...` did; prompts of the recipe part the two."""
    base = next((base for base in pypi_bases() if base.is_available()), None)
    if base is None:
        pytest.skip("no wheel with a base is installed")
    student = recipe.student.model_copy(update={"base": base.spec})
    meta = module._zero_shot(student, None)
    assert meta.name == f"pypi/{base.name}"
    assert meta.revision.startswith(base.wheel)


def test_tables_show_means_and_the_best():
    """Guards against wrong group means, columns out of order, and a best figure that does not stand out, ties included."""
    rows = {
        "zero-shot": {"swh-eng": 0.5, "som-eng": 0.3, "fra-eng": 0.9},
        "optical": {"swh-eng": 0.6, "som-eng": 0.30004, "fra-eng": 0.1},
    }
    scores = {
        system: {"T": {subset: {"ndcg_at_10": value, "map_at_100": 0.5} for subset, value in values.items()}}
        for system, values in rows.items()
    }
    table, other = tables(scores)
    assert (table.title, other.title) == ("T: nDCG@10", "T: MAP@100")
    names, zero_shot, optical = ([cell.markup for cell in column] for column in zip(*table.rows, strict=True))
    assert table.headings == ("subset", "zero-shot", "optical")
    assert names == ["fra-eng", "som-eng", "swh-eng", "low-resource", "all"]
    assert zero_shot == ["[bold]90.0[/bold]", "[bold]30.0[/bold]", "50.0", "40.0", "[bold]56.7[/bold]"]
    assert optical == ["10.0", "[bold]30.0[/bold]", "[bold]60.0[/bold]", "[bold]45.0[/bold]", "33.3"]


def test_the_untrained_base_is_of_the_students_kind(recipe, small_task, tmp_path):
    """Guards against a late-interaction student measured against its dense base, and scores of the two kinds mixed up."""
    options = {"only": ["contrastive"], "results": tmp_path / "results", "device": "cpu", "say": lambda _: None}
    found = compare_objectives(late_interaction(recipe), [TASK], **options)
    [base] = (tmp_path / "results/results").glob("base__*/*")
    assert base.name.endswith("-late-interaction")
    assert read_student("tiny-contrastive").kind == "late_interaction"
    assert found["zero-shot"] != found["contrastive"]
    assert module._zero_shot(recipe.student, "cpu").mteb_model_meta.revision != base.name


def test_a_student_of_other_data_is_trained_again(recipe, monkeypatch):
    """Guards against a student of old bitext, or of an old base, passed off as the recipe's."""
    record = experiment.trained(recipe, say=lambda _: None)
    monkeypatch.setattr(experiment, "train", lambda *_, **__: "again")
    folder = module.student_path(record.name)
    assert experiment.trained(recipe, say=lambda _: None) == record
    for changed in ("base_revision", "teacher_revision", "bitext_fingerprint"):
        record.model_copy(update={changed: "another"}).write(folder)
        assert experiment.trained(recipe) == "again"
