"""The prepared folder: of a trained student, with nothing stubbed; and what becomes of names, commits and tasks."""

import json
import re
from contextlib import suppress

import mteb
import numpy as np
import pytest
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

from optical_mteb.registry import register
from optical_mteb.students import student_path
from optical_mteb.submission import Verdict, package
from optical_mteb.submission.package import CLONE, OVERVIEW, _clone_kept
from optical_mteb.training.recipe import read_recipe
from optical_mteb.training.run import train
from tests.conftest import tiny_recipe
from tests.submission.conftest import COMMIT


def rows_of(cache):
    """Everything that MTEB reads from a result cache, scores by query aside."""
    return {
        (of.model_name, of.model_revision, result.task_name, split, row["hf_subset"]): {
            name: value for name, value in row.items() if name != "per_query"
        }
        for of in mteb.ResultCache(cache).load_results(include_remote=False).model_results
        for result in of.task_results
        for split, rows in result.scores.items()
        for row in rows
    }


@pytest.mark.long
def test_a_trained_student(tmp_path, tiny_base):
    """Guards against a break in the whole path: trained, evaluated by MTEB, prepared, checked, read by MTEB with the same scores."""
    recipe = tiny_recipe(tiny_base, license="mit", bitext=[{"source": "cldr:som", "limit": 40}])
    sidecar = train(read_recipe(recipe), device="cpu", say=lambda line: None)
    register()
    model, tasks = mteb.get_model("tiny-student"), [mteb.get_task("LocalWordsRetrieval")]
    mteb.evaluate(model, tasks, cache=mteb.ResultCache(tmp_path / "cache"), co2_tracker=False, show_progress_bar=False)

    made = package.prepare("tiny-student", tmp_path / "made", cache=tmp_path / "cache")

    assert [str(check) for check in made.checks if check.verdict is Verdict.FAILED] == []
    assert len([check for check in made.checks if check.verdict is Verdict.OK]) == 14
    assert (made.submittable, made.waiting) == ([], ["LocalWordsRetrieval"])
    rows = rows_of(tmp_path / "made")
    assert len(rows) == 2
    # As text: nAUC can be NaN, which equals nothing.
    assert str(rows) == str(rows_of(tmp_path / "cache"))
    folder = tmp_path / "made" / "results" / "optical-mteb__tiny-student" / sidecar.weights
    assert {path.name for path in folder.iterdir()} == {
        "LocalWordsRetrieval.json",
        "model_meta.json",
        "run_settings.jsonl",
    }
    assert "per_query" not in (folder / "LocalWordsRetrieval.json").read_text()
    assert "✓ (28/28)" in (tmp_path / "made" / "mteb" / "mteb_mock_run_results.md").read_text()
    texts = ["query: habari", "a house"]
    published = SentenceTransformer(str(tmp_path / "made" / "hub"), device="cpu")
    own = SentenceTransformer(str(student_path("tiny-student")), device="cpu")
    np.testing.assert_array_equal(published.encode(texts), own.encode(texts))
    assert published.prompts == own.prompts
    # Its base is a folder, of which nobody knows what it was trained on.
    assert json.loads((folder / "model_meta.json").read_text())["training_datasets"] is None
    assert "trained on is unknown" in (tmp_path / "made" / "hub" / "README.md").read_text()


def test_a_student_on_the_hub(tmp_path, write, student, prepare, quick):
    """Guards against a local name or commit in folder, record, source, card or texts, where the published ones belong."""
    write()
    made = prepare("optical-mteb/tiny-student", hub_id="someone/Tiny-1.0", revision=COMMIT)
    assert {check.name for check in made.checks if check.verdict is not Verdict.OK} == {"mteb has the model"}
    assert {key[:2] for key in rows_of(tmp_path / "made")} == {("someone/Tiny-1.0", COMMIT)}
    source = (tmp_path / "made/mteb/models/model_implementations/someone_models.py").read_text()
    scope = {}
    exec(source, scope)
    meta = scope["tiny_1_0"]
    assert (meta.name, meta.revision, meta.reference) == (
        "someone/Tiny-1.0",
        COMMIT,
        "https://huggingface.co/someone/Tiny-1.0",
    )
    assert meta.loader is mteb.models.SentenceTransformerEncoderWrapper
    assert meta.training_datasets >= {"LocalWordsRetrieval", "XQuADRetrieval"}
    assert (meta.license, meta.languages, meta.embed_dim) == ("mit", ["eng-Latn", "som-Latn"], 32)
    record = json.loads((tmp_path / "made/results/someone__Tiny-1.0" / COMMIT / "model_meta.json").read_text())
    assert record["loader"] == "SentenceTransformerEncoderWrapper"
    assert record["training_datasets"] == sorted(meta.training_datasets)
    for path in (tmp_path / "made").rglob("*"):
        if path.suffix in {".md", ".json", ".py", ".jsonl"}:
            text = path.read_text()
            assert "optical-mteb/tiny-student" not in text, path
            assert student.weights not in text, path


def test_the_card(tmp_path, write, prepare, quick):
    """Guards against a card without what the Hub lists a model by, or that keeps silent about what the training has read."""
    write()
    prepare(hub_id="a/b")
    card = ModelCard((tmp_path / "made/hub/README.md").read_text())
    assert (card.data.license, card.data.language, card.data.library_name) == (
        "mit",
        ["eng", "som"],
        "sentence-transformers",
    )
    assert 'SentenceTransformer("a/b")' in card.text
    disclosed = card.text.partition("## Data disclosure")[2]
    assert "License: mit" in disclosed
    assert "eng-Latn, som-Latn" in disclosed
    assert "data this training read: LocalWordsRetrieval\n" in disclosed
    assert re.search(r"its base or its teacher read: .*\bFEVER\b.*\bXQuADRetrieval\b", disclosed)
    assert "| cldr:som | som | 8 |" in disclosed


def test_tasks_are_told_apart(tmp_path, write, student, prepare, quick):
    """Guards against a task that lives only here in the results that are to be submitted, or one of MTEB's that is left out.

    And against a pull request that swears what is not so: that the training has not seen a task that it has.
    """
    write()
    write("LocalWordsRetrieval")
    made = prepare()
    assert (made.submittable, made.waiting) == (["PublicWordsRetrieval"], ["LocalWordsRetrieval"])
    notes = {check.name: check.detail for check in made.checks if check.verdict is Verdict.OPEN}
    assert notes["MTEB has the tasks"].endswith("LocalWordsRetrieval")
    overview = (tmp_path / "made" / OVERVIEW).read_text()
    assert "Tasks to submit: PublicWordsRetrieval." in overview
    request = (tmp_path / "made/pull_request_results.md").read_text()
    assert "**Total Results:** 1" in request
    assert "Neither the training nor the base nor the teacher has seen data of the tasks" in request
    assert "| LocalWordsRetrieval (not in MTEB) | 0.3750 |" in (tmp_path / "made/pull_request_mteb.md").read_text()
    student.model_copy(update={"mteb_tasks": ["PublicWordsRetrieval"]}).write(student_path("tiny-student"))
    prepare()
    request = (tmp_path / "made/pull_request_results.md").read_text()
    assert "has seen data of: PublicWordsRetrieval." in request


def test_an_older_submission_is_replaced(tmp_path, write, prepare, quick):
    """Guards against files of an older submission that stay, and a lost clone of mteb's repository."""
    write()
    made = tmp_path / "made"
    prepare()
    (made / CLONE).mkdir()
    (made / CLONE / "kept").write_text("")
    prepare(hub_id="a/b", revision=COMMIT)
    assert [path.name for path in (made / "results").iterdir()] == ["a__b"]
    assert (made / CLONE / "kept").is_file()
    # As a kill leaves it between the two moves, before the new submission is there and after it.
    aside = made.with_name(f".{made.name}.remote")
    (made / CLONE).rename(aside)
    with _clone_kept(made):
        assert (aside / "kept").is_file()
    assert (made / CLONE / "kept").is_file()
    with suppress(KeyboardInterrupt), _clone_kept(made) as park:
        park()
        assert (aside / "kept").is_file()
        raise KeyboardInterrupt
    assert (made / CLONE / "kept").is_file()
    assert not aside.exists()


def test_what_is_not_known_is_left_to_do(write, student, prepare, quick):
    """Guards against a field that mteb's reviewers ask for and that is silently None, and a card that names local paths."""
    sources = ("cldr:som", "moses:/home/me/som.en", "~/som.tsv", "hub:a/b", "som.tsv")
    bitext = [student.bitext[0].model_copy(update={"source": source}) for source in sources]
    student.model_copy(update={"bitext": bitext, "license": None}).write(student_path("tiny-student"))
    register()
    write()
    notes = {check.name: check.detail for check in prepare().checks if check.verdict is Verdict.OPEN}
    assert notes["ModelMeta is filled out"] == "not known: license, reference"
    assert student.weights[:12] in notes["the revision is a commit on the Hub"]
    told = notes["the card names nothing by its path"]
    assert told.startswith("hub/README.md has moses:/home/me/som.en, ~/som.tsv;")
