"""The bitext of a training against the tasks that its student may be scored on."""

from types import SimpleNamespace

import pytest
from datasets import Dataset

from optical_mteb.bitext import ParallelCorpus
from optical_mteb.collection.published_data import offline
from optical_mteb.errors import InputError
from optical_mteb.students import read_student
from optical_mteb.training.overlap import leave_out_overlaps
from optical_mteb.training.recipe import find_recipe, read_recipe
from optical_mteb.training.run import train
from tests.training.conftest import bitext, recipe_tables


class Task:
    """A task of two subsets, of which one is here."""

    default_subsets = ("swh-eng", "som-eng")

    def __init__(self, name, queries=(), documents=("elsewhere",)):
        self.metadata = SimpleNamespace(name=name, hf_subsets=["swh-eng", "som-eng"], eval_splits=["test"])
        self.texts = queries, documents

    def has_split(self, subset, split):
        return True

    def load_split(self, subset, split):
        assert offline()
        if subset == "som-eng" or not self.texts[0]:
            raise InputError("not here")
        queries, documents = (list(texts) for texts in self.texts)
        return {"queries": Dataset.from_dict({"text": queries}), "corpus": Dataset.from_dict({"text": documents})}


@pytest.fixture
def corpus():
    return bitext([("Good morning", "Habari", "swh"), ("Good night", "Usiku", "swh"), ("Bread", "Rooti", "som")])


def test_what_tasks_have_is_left_out_unless_they_are_named(corpus, monkeypatch):
    """Guards against students that are scored on what they have read, downloads for the check, and silent losses."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    recipe = read_recipe(find_recipe("quickstart"), ["mteb_tasks=['Named', 'Clean']"])
    tasks = [Task("Named", ["Habari!"]), Task("Other", ["x"], ["y", "good night."]), Task("Clean", ["z"]), Task("Away")]
    lines = []
    left, records = leave_out_overlaps(recipe, corpus, tasks, say=lines.append)
    assert [pair.english for pair in left] == ["Good morning", "Bread"]
    assert [(each.task, each.pairs, each.kept) for each in records] == [
        ("Clean", 0, False),
        ("Named", 1, True),
        ("Other", 1, False),
    ]
    assert lines == [
        "overlap with test data: Named has 1 of the pairs, too: kept, as mteb_tasks names it",
        "overlap with test data: Other has 1 of the pairs, too: left out; to keep them, name the task in mteb_tasks",
        "no overlap with test data: Clean (though mteb_tasks names it)",
        "overlap not checked for 1 task: their data is not here, or too large",
        "left to train on: 2 of 3 pairs",
    ]
    assert not offline()
    with pytest.raises(
        InputError, match=r"^som: tasks have each of the 1 pairs, too \(Other 1\); add other bitext"
    ) as error:
        leave_out_overlaps(recipe, corpus, [Task("Other", ["bread", "Habari"])], say=lines.append)
    assert "\n" not in str(error.value)


@pytest.mark.long
def test_the_record_of_a_student_has_the_counts(tmp_path, tiny_base):
    """Guards against a check that changes what is reported and not what is trained on."""
    words = [("good morning", "habari"), ("good night", "usiku mwema"), ("bread", "mkate"), ("water", "maji")] * 6
    table = "".join(f"{english} {n}\t{other} {n}\n" for n, (english, other) in enumerate(words))
    (tmp_path / "a.tsv").write_text(table)
    own = {"source": "a.tsv", "language": "swh"}
    training = {"steps": 1, "batch_size": 4}
    recipe = read_recipe(recipe_tables(tiny_base, bitext=[own], training=training, objective={"optical": {}}))
    lines = []
    train(recipe, recipe_folder=tmp_path, tasks=[Task("Other", ["Bread 2", "MAJI 3"])], say=lines.append)
    record = read_student(recipe.name)
    assert [each.model_dump() for each in record.overlaps] == [{"task": "Other", "pairs": 2, "kept": False}]
    assert "left to train on: 22 of 24 pairs" in lines
    left = ParallelCorpus.load(recipe.bitext, base_folder=tmp_path)
    assert (
        record.bitext_fingerprint
        == ParallelCorpus([p for p in left if p.id not in {"3", "4"}], left.report).fingerprint
    )
