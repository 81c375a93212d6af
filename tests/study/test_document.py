"""What a study writes, against its records."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from optical_mteb.study.cells import CellFolder
from optical_mteb.study.figures import draw
from optical_mteb.study.jobs import load_study
from optical_mteb.study.page import page
from optical_mteb.study.summary import summarise
from optical_mteb.study.table import read_records, read_table, rows, write_table
from optical_mteb.study.writing import write
from tests.study.conftest import edit, record

SUBSETS = ("swh-eng", "som-eng", "fra-eng", "hau-eng")


@pytest.fixture
def recorded(study_file, tmp_path):
    """A study whose records have drawn scores, better with every pair and better still in Swahili."""
    study = load_study(study_file)
    cells = CellFolder(tmp_path / "out" / "cells")
    hard = np.random.default_rng(0).uniform(0, 0.5, 40)
    for training, job in study.jobs.items():
        level = 0.05 * len(training.languages)
        scores = {subset: (hard + level + 0.1 * (subset == "swh-eng")).round(4).tolist() for subset in SUBSETS}
        figures = {"pairs": 24.0, "tokens": 100.0, "seconds": 1.0} if training.steps else {}
        cells.write(record(job, {"CLDRNameRetrieval": scores}, **figures))
    return study, cells, hard


def test_means_and_slopes_are_the_records(recorded, tmp_path):
    """Guards against a group of other languages, a mean that mixes numbers of pairs, a slope of another unit, a swapped side."""
    study, cells, hard = recorded
    *_, path = write(study, cells, tmp_path / "out", document=tmp_path / "doc.md", figures=False, command="make it")
    assert (path, "make it" in path.read_text()) == (tmp_path / "doc.md", True)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    means = {(each["approach"], each["pairs"], each["group"]): each["estimate"]["value"] for each in summary["means"]}
    base = hard.mean()
    assert means["contrastive", 2, "low-resource"] == pytest.approx(base + 0.1 + 0.05, abs=1e-4)
    assert means["contrastive", 2, "trained on"] == pytest.approx(base + 0.1 + 0.05, abs=1e-4)
    assert means["contrastive", 1, "trained on"] == pytest.approx(base + 0.05 + 0.1, abs=1e-4)
    assert means["contrastive", 1, "not yet trained on"] == pytest.approx(base + 0.05, abs=1e-4)
    assert means["contrastive", 3, "never trained on"] == pytest.approx(base + 0.15, abs=1e-4)
    assert means["zero-shot", 3, "high-resource"] == pytest.approx(base, abs=1e-4)
    assert ("contrastive", 3, "not yet trained on") not in means
    slope = np.polyfit(np.log2([1, 2, 3]), [0.05, 0.1, 0.15], 1)[0]
    for each in summary["slopes"]:
        points = [1, 2] if each["group"] == "not yet trained on" else [1, 2, 3]
        expected = np.polyfit(np.log2(points), [0.05 * n for n in points], 1)[0]
        assert each["estimate"]["value"] == pytest.approx(expected, abs=1e-4), each
    assert slope > 0
    joined = {each["group"]: each for each in summary["interference"]}
    assert set(joined) == {"swh", "som", "low-resource, trained on"}
    assert joined["swh"]["what"] == "fra join swh som"
    assert joined["swh"]["difference"]["estimate"]["value"] == pytest.approx(0.05, abs=1e-4)
    assert joined["swh"]["difference"]["p"] < 0.01
    rival = next(each for each in summary["approaches"] if each["group"] == "low-resource")
    assert (rival["approach"], rival["what"]) == ("contrastive", "less zero-shot")
    assert rival["difference"]["estimate"]["value"] == pytest.approx(0.15, abs=1e-4)


def test_one_number_of_pairs_is_a_comparison_of_approaches(recorded, study_file, tmp_path):
    """Guards against a page that speaks of doublings and orders where there are none, and gives no score; and a lone point."""
    _, cells, _ = recorded
    edit(study_file, "pairs = [1, 2, 3]", "pairs = [3]")
    study = load_study(study_file)
    summary = summarise(study, read_records(study, cells))
    text = "\n".join(page(study, summary, {}))
    low = next(e for e in summary.means if (e.approach, e.group) == ("contrastive", "low-resource")).estimate
    assert f"| `contrastive` | {100 * low.value:.1f} [" in text
    assert "Which objective teaches most" in text
    assert "doubling" not in text
    pytest.importorskip("matplotlib")
    assert not any(title.startswith("MAP@100 against") for title in draw(summary, tmp_path / "figures"))


def test_what_is_not_done_is_left_out(recorded, tmp_path):
    """Guards against a mean over the seeds that are there, as if it were over all."""
    study, cells, _ = recorded
    gone = next(job for job in study.jobs.values() if len(job.training.languages) == 2)
    cells.path(gone.fingerprint).unlink()
    summary = summarise(study, read_records(study, cells))
    assert {each.pairs for each in summary.means if each.approach == "contrastive"} == {1, 3}
    assert (summary.done, summary.trainings) == (6, 7)


@pytest.mark.long
def test_several_write_into_one_folder(recorded, tmp_path):
    """Guards against a study that fails to write its table, since another process writes the same one."""
    study, cells, _ = recorded

    def written(_):
        return list(write(study, cells, tmp_path / "out", document=None, figures=False, command="make it"))

    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(written, range(4)))
    assert paths == [[tmp_path / "out" / name for name in ("table.csv", "summary.json", "study.md")]] * 4
    left = {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."}
    assert left == {"cells", *(path.name for path in paths[0])}
    assert len(read_table(tmp_path / "out" / "table.csv")) == len(rows(study, read_records(study, cells)))


@pytest.mark.long
def test_figures_are_the_same_twice(recorded, tmp_path):
    """Guards against a date or a drawn id in a figure: a review would see a change where there is none."""
    pytest.importorskip("matplotlib")
    study, cells, _ = recorded
    drawn = []
    for name in ("one", "two"):
        written = list(write(study, cells, tmp_path / name, document=None, figures=True, command="make it"))
        svg = [path for path in written if path.suffix == ".svg"]
        assert len(svg) == 3
        drawn.append({path.name: path.read_bytes() for path in svg})
        text = (tmp_path / name / "study.md").read_text()
        assert all(f"(figures/{path.name})" in text for path in svg)
    assert drawn[0] == drawn[1]


@pytest.mark.long
def test_cli(study_file, tmp_path):
    """Guards against a dry run that trains, a report of nothing, and a pattern that matches nothing."""
    from typer.testing import CliRunner

    from optical_mteb.cli import app

    edit(study_file, "pairs = [1, 2, 3]", "pairs = [1, 2]")
    common = ["study", str(study_file), "--output", str(tmp_path / "out"), "--no-figures"]

    def run(*options):
        return CliRunner().invoke(app, [*common, *options])

    shown = run("--dry-run")
    assert shown.exit_code == 0
    assert "12 cells" not in shown.output
    assert "8 cells are 4 trainings and the untrained model; 5 chosen, 0 done" in " ".join(shown.output.split())
    assert not (tmp_path / "out").exists()
    done = run("--only", "zero*")
    assert done.exit_code == 0, done.output
    table = read_table(tmp_path / "out" / "table.csv")
    # Another precision may be further off, but not by any amount.
    for offset, precision, code, line in (
        (0, "float32", 0, "8 scores compared"),
        (0.006, "float32", 1, "swh-eng map_at_100"),
        (0.006, "bfloat16", 0, "tolerance 2 points"),
        (0.021, "bfloat16", 1, "tolerance 2 points"),
    ):
        # A recipe has gained keys since the table was made, so that its fingerprints are others.
        earlier = []
        for row in table:
            moved = row.value + offset * ((row.subset, row.metric) == ("swh-eng", "map_at_100"))
            earlier.append(replace(row, cell="earlier", precision=precision, value=moved))
        write_table(tmp_path / "earlier.csv", earlier)
        found = run("--only", "zero*", "--against", str(tmp_path / "earlier.csv"))
        assert (found.exit_code, line in found.output) == (code, True), found.output
    assert "1 done" in " ".join(run("--dry-run").output.split())
    assert "matches no training" in str(run("--only", "nobody*").exception)
