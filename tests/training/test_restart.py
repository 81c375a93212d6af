"""An interrupted training goes on where it was, and says in one line why it cannot."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from optical_mteb.errors import InputError
from optical_mteb.storage import held, runs_folder
from optical_mteb.students import student_path
from optical_mteb.toml_file import as_override
from optical_mteb.training.checkpoint_record import RunRecord
from optical_mteb.training.checkpoints import Checkpoints
from optical_mteb.training.evaluation import DevEvaluator, DevScores
from optical_mteb.training.recipe import read_recipe
from optical_mteb.training.run import train
from optical_mteb.training.trainer import DistillationTrainer
from tests.training.conftest import damages, full_disk, recipe_tables

pytestmark = pytest.mark.slow


def write_recipe(folder: Path, base: Path, steps: int, dropout: float = 0.1, **training: object) -> Path:
    tables = recipe_tables(
        base,
        student={"dropout": dropout},
        training={"steps": steps, "checkpoint_every": 4, **training},
        batches={"monolingual": 0.25, "cross_lingual": 0.5, "multilingual": 0.25, "alpha": 0.5},
        objective={"optical": {"layers": [-1, -2]}, "contrastive": {}, "anchor": {}},
        evaluation={"pairs": 12, "every": 5},
    )
    path = folder / "tiny.toml"
    path.write_text("\n".join(as_override(key, table) for key, table in tables.items()))
    return path


@pytest.fixture
def recipe(tmp_path, tiny_base):
    return read_recipe(write_recipe(tmp_path, tiny_base, 12))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_base):
    """What the store says of the recipe's student after a training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTICAL_MTEB_HOME", str(folder / "home"))
        return train(read_recipe(write_recipe(folder, tiny_base, 12)), say=lambda _: None)


def interrupted(monkeypatch, recipe, step, **options):
    """Break off a training of the recipe in the middle of a step, counted from 0."""
    take_step = DistillationTrainer.training_step

    def broken(self, *arguments, **keywords):
        loss = take_step(self, *arguments, **keywords)
        if self.state.global_step == step:
            raise KeyboardInterrupt
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "training_step", broken)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, say=lambda _: None, **options)


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory, tiny_base):
    """The runs of a home whose training of the recipe was broken off in step 9."""
    folder = tmp_path_factory.mktemp("broken-off")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTICAL_MTEB_HOME", str(folder / "home"))
        interrupted(patch, read_recipe(write_recipe(folder, tiny_base, 12)), 9)
    return folder / "home" / "runs"


def taken_up(broken_off):
    """The folder of that run, in the home of a test."""
    shutil.copytree(broken_off, runs_folder(), dirs_exist_ok=True)
    return runs_folder() / "tiny-student"


@pytest.mark.parametrize("step", [4, 7, 11])
def test_any_step_is_taken_up(monkeypatch, recipe, whole, step):
    """Guards against an order, a learning rate, moments, a best student or dropout that a restart gets wrong."""
    interrupted(monkeypatch, recipe, step)
    lines = []
    again = train(recipe, resume=True, say=lines.append)
    assert any(f"continues from checkpoint-{4 * (step // 4):08d}" in line for line in lines)
    assert again.weights == whole.weights
    assert again.steps == whole.steps
    timed = {"seconds", "pairs_per_second", "peak_memory_gb", "loss", "optical", "contrastive", "anchor"}
    assert {k: v for k, v in again.metrics.items() if k not in timed} == {
        k: v for k, v in whole.metrics.items() if k not in timed
    }


def test_the_student_is_the_mean_of_the_last_checkpoints(monkeypatch, recipe):
    """Guards against a mean without the last step, or of the wrong checkpoints, and one that keeps too few of them."""
    settings = {"steps": 10, "average": 2, "checkpoint_every": 4, "keep_checkpoints": 1}
    training = recipe.training.model_copy(update=settings)
    averaged = recipe.model_copy(update={"training": training, "evaluation": None})
    monkeypatch.setattr(Checkpoints, "end", lambda _: None)
    train(averaged, say=lambda _: None)
    run = runs_folder() / "tiny-student"
    assert sorted(path.name for path in run.glob("*-*")) == ["checkpoint-00000008", "checkpoint-00000010"]
    older, newer = (load_file(path / "weights.safetensors") for path in sorted(run.glob("checkpoint-*")))
    student = SentenceTransformer(str(student_path("tiny-student")), device="cpu")
    own = {name: weight for name, weight in student.named_parameters() if name in newer}
    assert len(own) == len(newer) > 10
    for name, weight in own.items():
        torch.testing.assert_close(weight.detach(), (older[name] + newer[name]) / 2)
    assert any(not torch.equal(older[name], newer[name]) for name in own)


def test_checkpoints_rotate_and_hold_what_is_needed(monkeypatch, recipe):
    """Guards against a disk that fills up, and files that run code when they are loaded or that another Python cannot read.

    And against optimizer moments for rows that never move, and checkpoints that carry them.
    """
    longer = recipe.training.model_copy(update={"steps": 24})
    interrupted(monkeypatch, recipe.model_copy(update={"training": longer}), 18)
    run = runs_folder() / "tiny-student"
    names = sorted(path.name for path in run.iterdir())
    assert [name for name in names if name.startswith("checkpoint")] == ["checkpoint-00000012", "checkpoint-00000016"]
    assert len([name for name in names if name.startswith("best")]) == 1
    suffixes = {path.suffix for path in run.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors"}
    progress = json.loads((run / "checkpoint-00000012" / "progress.json").read_text())
    assert progress["progress"]["best"]["step"] in (5, 10)
    assert progress["learning_rates"][0] > 0
    for name in ("weights.safetensors", "optimizer.safetensors"):
        keys = load_file(run / "checkpoint-00000016" / name).keys()
        assert keys
        assert not any("word_embeddings" in key or "pooler" in key for key in keys)


def test_a_run_with_other_settings_is_not_gone_on_with(broken_off, recipe):
    """Guards against two recipes mixed in one student, and a --fresh that does not start over."""
    taken_up(broken_off)
    faster = recipe.training.model_copy(update={"learning_rate": 2e-3})
    other = recipe.model_copy(update={"training": faster})
    with pytest.raises(
        InputError, match=r"was started with training.learning_rate = 0.001, now 0.002; undo that .* or start over with"
    ):
        train(other, say=lambda _: None)
    lines = []
    train(other, fresh=True, say=lines.append)
    assert not any("continues" in line for line in lines)


def test_a_corpus_that_changed(monkeypatch, recipe, tmp_path):
    """Guards against a training that goes on with other pairs than it began with."""
    rows = [f"name number {i} of all\tjina la {i * 7} kati ya yote\n" for i in range(60)]
    (tmp_path / "pairs.tsv").write_text("".join(rows))
    own = read_recipe(
        tmp_path / "tiny.toml", ["bitext=[{source='pairs.tsv', language='swh'}]", "batches={}", "training.steps=12"]
    )

    interrupted(monkeypatch, own, 9, recipe_folder=tmp_path)
    (tmp_path / "pairs.tsv").write_text("".join(rows[:-1]))
    with pytest.raises(
        InputError, match=r"was started on other bitext: the files of the recipe have changed since; undo"
    ):
        train(own, recipe_folder=tmp_path, say=lambda _: None)


def parsed(content):
    try:
        return json.loads(content)
    except ValueError:
        return None


def test_a_damaged_checkpoint_counts_as_not_there(broken_off, recipe, whole, tmp_path):
    """Guards against tracebacks over a checkpoint that a power cut emptied, and against weights of flipped bits."""
    run = taken_up(broken_off)
    manifest = RunRecord.model_validate_json((run / "checkpoint-00000008" / "run.json").read_bytes())
    copy = tmp_path / "copy" / "tiny-student"
    # Step 4 is before the first evaluation, step 8 after it.
    for path in [*run.glob("checkpoint-00000008/*"), *run.glob("best-00000005/*")]:
        for damaged in damages(path.read_bytes()):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(run, copy)
            (copy / path.relative_to(run)).write_bytes(damaged)
            lines = []
            checkpoints = Checkpoints(copy, manifest)
            checkpoints.begin(say=lines.append)
            if path.name != "checksums.json" or parsed(damaged) != parsed(path.read_bytes()):
                assert checkpoints.latest().name == "checkpoint-00000004", path
                assert "checkpoint-00000008" in lines[0]
    lines = []
    weights = run / "checkpoint-00000008" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"~")
    assert train(recipe, say=lines.append).weights == whole.weights
    assert any("continues from checkpoint-00000004" in line for line in lines)
    taken_up(broken_off)
    for path in run.glob("checkpoint-*/progress.json"):
        path.write_bytes(b"")
    with pytest.raises(InputError, match="nothing to resume"):
        train(recipe, resume=True, say=lines.append)
    assert train(recipe, say=lines.append).weights == whole.weights
    assert "no checkpoint of 'tiny-student' is whole: the training starts over" in lines


def test_one_name_is_one_training_at_a_time(recipe):
    """Guards against two trainings of one name, whose checkpoints and weights mix."""
    lock = runs_folder() / ".tiny-student.lock"
    with (
        held(lock, "unused"),
        pytest.raises(InputError, match="student tiny-student: another process is training it; wait"),
    ):
        train(recipe, say=lambda _: None)


def test_a_kill_while_a_finished_run_is_removed(broken_off, recipe, whole):
    """Guards against a run that can neither go on nor start anew, and against weights of another recipe in it."""
    for left in ("best-00000005", "checkpoint-00000008", "nothing"):
        for path in taken_up(broken_off).iterdir():
            if path.name != left:
                shutil.rmtree(path)
        assert train(recipe, say=lambda _: None).weights == whole.weights


def test_resume_and_fresh_need_something_to_do(recipe):
    """Guards against a --resume that silently starts from nothing, and two options that contradict each other."""
    with pytest.raises(InputError, match=r"nothing to resume: .* has no checkpoint; leave --resume out"):
        train(recipe, resume=True, say=lambda _: None)
    with pytest.raises(InputError, match=r"take one of them"):
        train(recipe, resume=True, fresh=True, say=lambda _: None)


def test_a_full_disk_leaves_the_last_checkpoint(monkeypatch, recipe, whole):
    """Guards against a traceback and a half-written checkpoint where the disk is full; the training goes on once it is not."""
    save = Checkpoints.save

    def on_a_full_disk(self, *arguments, **keywords):
        if self.latest() is None:
            return save(self, *arguments, **keywords)
        with full_disk(10_000):
            return save(self, *arguments, **keywords)

    monkeypatch.setattr(Checkpoints, "save", on_a_full_disk)
    with pytest.raises(
        InputError, match=r"cannot write there \(.*\); the checkpoint of step 4 is whole: free the place, or set"
    ) as error:
        train(recipe, say=lambda _: None)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(Checkpoints, "save", save)
    assert train(recipe, resume=True, say=lambda _: None).weights == whole.weights


def test_a_store_that_cannot_be_written_to(recipe, own_home, monkeypatch):
    """Guards against a training that finds out at its end that there is no place for the student."""
    own_home.mkdir()
    (own_home / "students").write_text("in the way")
    monkeypatch.setattr("optical_mteb.training.run.load_models", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(InputError, match=r"cannot write there .*set OPTICAL_MTEB_HOME to another folder"):
        train(recipe, say=lambda _: None)


def test_the_best_student_is_kept(monkeypatch, recipe):
    """Guards against the last student in the place of the best one, and patience without an end; a script gives scores."""
    script = {0: 0.5, 1: 0.9, 2: 0.2, 3: 0.9}
    seen = []

    def scripted(self):
        score = {"swh": script[len(seen)]}
        seen.append({name: weight.detach().clone() for name, weight in self._models.student.named_parameters()})
        return DevScores(score, score, {"swh": 0.1})

    monkeypatch.setattr(DevEvaluator, "__call__", scripted)
    lines = []
    longer = recipe.training.model_copy(update={"steps": 40})
    patient = recipe.evaluation.model_copy(update={"patience": 2})
    trained = train(recipe.model_copy(update={"training": longer, "evaluation": patient}), say=lines.append)
    assert trained.steps == 10
    assert trained.metrics["dev_accuracy"] == 0.9
    assert "best on the dev split: step 10 of 20, translation accuracy 90.0%" in lines
    student = dict(SentenceTransformer(str(student_path("tiny-student")), device="cpu").named_parameters())
    assert all(torch.equal(student[name], weight) for name, weight in seen[1].items())
    assert not all(torch.equal(student[name], weight) for name, weight in seen[3].items())
    assert "| dev_accuracy | 0.9 |" in (student_path("tiny-student") / "README.md").read_text()


def test_difference_of_manifests_names_the_key():
    """Guards against a message that does not say what changed."""
    one = RunRecord(recipe={"a": {"b": 1}, "c": [1]}, bitext_fingerprint="f", base_revision="r", teacher_revision="t")
    assert one.difference(one.model_copy()) is None
    assert "a.b = 1, now 2" in one.difference(one.model_copy(update={"recipe": {"a": {"b": 2}, "c": [1]}}))
    assert "other bitext" in one.difference(one.model_copy(update={"bitext_fingerprint": "g"}))
    assert "another base revision (r, now s)" in one.difference(one.model_copy(update={"base_revision": "s"}))


def test_tensorboard_log(recipe, own_home):
    """Guards against logs that are asked for and not written."""
    pytest.importorskip("tensorboard")
    logged = recipe.training.model_copy(update={"tensorboard": True, "log_every": 2})
    train(recipe.model_copy(update={"training": logged}), say=lambda _: None)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(own_home / "logs" / "tiny-student"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"train/loss", "train/optical", "train/dev_accuracy"} <= set(tags)
