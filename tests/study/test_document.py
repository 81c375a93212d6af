"""What a study writes, against its records."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from optical_mteb.study.cells import CellFolder, CellRecord
from optical_mteb.study.figures import draw
from optical_mteb.study.jobs import load_study
from optical_mteb.study.page import page
from optical_mteb.study.summary import summarise
from optical_mteb.study.table import read_records, read_table, rows, write_table
from optical_mteb.study.writing import write
from tests.study.conftest import edit

SUBSETS = ("swh-eng", "som-eng", "fra-eng", "hau-eng")


@pytest.fixture
def recorded(study_file, tmp_path):
    """A study whose records have drawn scores, better with every pair and better still in Swahili."""
    study = load_study(study_file)
    cells = CellFolder(tmp_path / "out" / "cells")
    cells.folder.mkdir(parents=True)
    hard = np.random.default_rng(0).uniform(0, 0.5, 40)
    for training, job in study.jobs.items():
        level = 0.05 * len(training.languages)
        scores = {
            subset: {
                metric: [round(float(score), 4) for score in hard + level + 0.1 * (subset == "swh-eng")]
                for metric in ("map_at_100", "ndcg_at_10")
            }
            for subset in SUBSETS
        }
        record = CellRecord(
            fingerprint=job.fingerprint,
            determined_by={},
            student="0" * 40,
            figures={"pairs": 24.0, "tokens": 100.0, "seconds": 1.0} if training.steps else {},
            evaluation_seconds=1,
            versions={"mteb": "2"},
            queries={"CLDRNameRetrieval": {subset: [f"q{n}" for n in range(40)] for subset in SUBSETS}},
            scores={"CLDRNameRetrieval": scores},
        )
        cells.write(record)
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
    records = {job.fingerprint: record for job in study.jobs.values() if (record := cells.read(job.fingerprint))}
    summary = summarise(study, records)
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
    records = {job.fingerprint: record for job in study.jobs.values() if (record := cells.read(job.fingerprint))}
    summary = summarise(study, records)
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
    shown = CliRunner().invoke(app, [*common, "--dry-run"])
    assert shown.exit_code == 0
    assert "12 cells" not in shown.output
    assert "8 cells are 4 trainings and the untrained model; 5 chosen, 0 done" in " ".join(shown.output.split())
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*common, "--only", "zero*"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "table.csv").is_file()
    # A recipe has gained keys since the table was made, so that its fingerprints are others.
    table = tmp_path / "earlier.csv"
    write_table(table, [replace(row, cell="earlier") for row in read_table(tmp_path / "out" / "table.csv")])
    same = CliRunner().invoke(app, [*common, "--only", "zero*", "--against", str(table)])
    assert same.exit_code == 0, same.output
    assert "8 scores compared" in same.output
    changed = [
        replace(row, value=row.value + 0.006) if (row.subset, row.metric) == ("swh-eng", "map_at_100") else row
        for row in read_table(table)
    ]
    write_table(tmp_path / "other.csv", changed)
    other = CliRunner().invoke(app, [*common, "--only", "zero*", "--against", str(tmp_path / "other.csv")])
    assert (other.exit_code, "swh-eng map_at_100" in other.output) == (1, True), other.output
    # Another precision may be further off, but not by any amount.
    for offset, code in ((0.006, 0), (0.021, 1)):
        low = [replace(row, value=row.value + offset, precision="bfloat16") for row in read_table(table)]
        write_table(tmp_path / "low.csv", low)
        loose = CliRunner().invoke(app, [*common, "--only", "zero*", "--against", str(tmp_path / "low.csv")])
        assert (loose.exit_code, "tolerance 2 points" in loose.output) == (code, True), loose.output
    again = CliRunner().invoke(app, [*common, "--dry-run"])
    assert "1 done" in " ".join(again.output.split())
    nothing = CliRunner().invoke(app, [*common, "--only", "nobody*"])
    assert "matches no training" in str(nothing.exception)
