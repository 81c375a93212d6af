"""Running a study: every training once, whatever is killed and whoever else runs it."""

import json
import re

import pytest

from optical_mteb.errors import InputError
from optical_mteb.students import student_names, student_path
from optical_mteb.study.cells import CellFolder
from optical_mteb.study.jobs import load_study
from optical_mteb.study.running import run, run_on_ray
from optical_mteb.study.table import read_records, read_table, rows, write_table
from tests.study.conftest import edit
from tests.study.processes import in_processes

pytestmark = pytest.mark.slow


@pytest.fixture
def small(study_file):
    """Two trainings and the base."""
    edit(study_file, "pairs = [1, 2, 3]", "pairs = [1, 2]")
    return edit(study_file, "seeds = [1, 2]", "seeds = [1]")


def test_kill_and_go_on(small, tmp_path, own_home):
    """Guards against a study that begins anew or leaves half a record after a kill, and one that two processes both make."""
    folder, log = tmp_path / "cells", tmp_path / "log"
    arguments = (small, folder, own_home, log)
    assert in_processes(1, *arguments, killed_at=("evaluate", 2)) == [-9]
    assert len(list(folder.glob("*.json"))) == 1
    assert in_processes(1, *arguments, killed_at=("train", 1)) == [-9]
    assert in_processes(2, *arguments) == [0, 0]
    noted = log.read_text().split("\n")
    assert sum(line.startswith("train") for line in noted) == 2
    # The first student was scored in the run whose next training was killed: it was in the store.
    assert sum(line.startswith("evaluate") for line in noted) == 3
    study = load_study(small)
    assert len(read_records(study, CellFolder(folder))) == 3
    assert student_names() == []


def test_a_student_that_lacks_a_file_is_trained_again(small, tmp_path, monkeypatch):
    """Guards against a cell that fails for ever, because a kill left half of its student in the store."""
    study, cells = load_study(small), CellFolder(tmp_path / "cells")
    [job] = [job for job in study.jobs.values() if len(job.training.languages) == 1]
    with monkeypatch.context() as patch:
        patch.setattr("optical_mteb.study.running.evaluate", lambda *_, **__: (_ for _ in ()).throw(InputError("no")))
        assert run(study, cells, [job], say=lambda line: None)
    (student_path(job.recipe.name) / "modules.json").unlink()
    assert not run(study, cells, [job], say=lambda line: None)
    assert cells.read(job.fingerprint)
    assert student_names() == []


def test_what_fails_is_reported_and_the_rest_is_done(small, tmp_path):
    """Guards against one failing training that ends a study, or counts as done."""
    edit(small, "contrastive = []", 'wild = ["student.freeze_layers=9"]')
    study, cells = load_study(small), CellFolder(tmp_path / "cells")
    failed = run(study, cells, list(study.jobs.values()), say=lambda line: None)
    assert len(failed) == 2
    assert all("freeze fewer" in line for line in failed.values())
    assert len(read_records(study, cells)) == 1


def test_a_cluster_does_the_same(small, tmp_path, own_home, monkeypatch):
    """Guards against other scores from workers than from one process, a training that is lost, and one that fails alone."""
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    edit(small, "contrastive = []", 'contrastive = []\nwild = ["student.freeze_layers=9"]')
    edit(small, "pairs = [1, 2]", "pairs = [1]")
    study = load_study(small)
    here, there = CellFolder(tmp_path / "here"), CellFolder(tmp_path / "there")
    jobs = list(study.jobs.values())
    run(study, here, jobs, device="cpu", say=lambda line: None)
    [failed] = run_on_ray(study, there, jobs, workers=2, device="cpu", say=lambda line: None).values()
    assert "freeze fewer" in failed
    own, others = read_records(study, here), read_records(study, there)
    assert own.keys() == others.keys()
    assert len(own) == 2
    for fingerprint, record in own.items():
        for subset, metrics in record.scores["CLDRNameRetrieval"].items():
            other = others[fingerprint].scores["CLDRNameRetrieval"][subset]
            assert metrics["map_at_100"] == pytest.approx(other["map_at_100"], abs=1e-3)


def test_scores_are_in_the_precision_of_the_training(small, tmp_path, monkeypatch):
    """Guards against a recipe in float32 whose students are scored in bfloat16, and a record that names the other one."""
    monkeypatch.setattr("optical_mteb.study.running.computes_in_bfloat16", lambda device: True)
    precisions = []
    for number, said in enumerate(("float32", "auto", "bfloat16")):
        recipe = small.with_name("recipe.toml")
        recipe.write_text(re.sub(r'"precision" = "\w+"', f'"precision" = "{said}"', recipe.read_text()))
        study, cells = load_study(small), CellFolder(tmp_path / str(number))
        [base] = [job for job in study.jobs.values() if not job.training.languages]
        run(study, cells, [base], say=lambda line: None)
        precisions.append(cells.read(base.fingerprint).precision)
    assert precisions == ["float32", "bfloat16", "bfloat16"]


def test_table_has_a_row_for_each_cell_and_metric(study_file, tmp_path):
    """Guards against a wrong group, a mean of other queries, trainings that are lost where cells coincide, and a lossy file."""
    edit(study_file, "seeds = [1, 2]", "seeds = [1]")
    study, cells = load_study(study_file), CellFolder(tmp_path / "cells")
    run(study, cells, list(study.jobs.values()), say=lambda line: None)
    records = read_records(study, cells)
    table = rows(study, records)
    assert len(table) == 2 * 3 * 4 * 2
    for row in table:
        record = json.loads((tmp_path / "cells" / f"{row.cell}.json").read_text())
        values = record["scores"][row.task][row.subset][row.metric]
        assert row.value == pytest.approx(sum(values) / len(values), abs=1e-6)
        assert row.queries == len(values) == 15
        order = ["swh", "som", "fra"]
        expected = "never" if row.language == "hau" else "trained" if row.language in order[: row.pairs] else "later"
        assert row.group == expected
        assert row.trained == ("" if row.approach == "zero-shot" else " ".join(order[: row.pairs]))
        assert row.training_pairs == (0 if row.approach == "zero-shot" else 24)
    write_table(tmp_path / "table.csv", table)
    assert read_table(tmp_path / "table.csv") == table
