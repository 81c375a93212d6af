"""Reading MTEB's results and the table of two models."""

import json

import pytest
from rich.console import Console

from optical_mteb.errors import InputError
from optical_mteb.scores.compare import comparison_table
from optical_mteb.scores.results import read_scores

METRICS = ["ndcg_at_10", "map_at_100"]


@pytest.fixture
def results(tmp_path):
    """A result folder as `mteb run` writes it: two models, three subsets."""

    def write(model, revision, scores):
        folder = tmp_path / "results" / model.replace("/", "__") / revision
        folder.mkdir(parents=True)
        rows = [
            {"hf_subset": subset, "languages": ["som-Latn"], "main_score": a, "ndcg_at_10": a, "map_at_100": b}
            for subset, (a, b) in scores.items()
        ]
        content = {
            "dataset_revision": "1",
            "task_name": "CLDRNameRetrieval",
            "mteb_version": "2.26.0",
            "scores": {"test": rows},
            "evaluation_time": 1.0,
            "kg_co2_emissions": None,
        }
        (folder / "CLDRNameRetrieval.json").write_text(json.dumps(content))
        (folder / "model_meta.json").write_text(json.dumps({"name": model, "revision": revision}))

    write("a/base", "r1", {"som-eng": (0.5, 0.4), "swh-eng": (0.6, 0.5), "fra-eng": (0.9, 0.8)})
    write("b/student", "r2", {"fra-eng": (0.8, 0.7), "som-eng": (0.7, 0.6), "swh-eng": (0.7, 0.65)})
    return tmp_path


def test_differences_and_group_means(results):
    """Pins rows of one subset beside those of another, and means over the wrong ones."""
    pair = [read_scores(results, name, "CLDRNameRetrieval", METRICS) for name in ("a/base", "b/student")]
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison_table(*pair, metrics=METRICS, groups={"low-resource": ["som-eng", "swh-eng", "mar-eng"]}))
    rows = {line.split()[0]: line.split()[1:] for line in console.export_text().splitlines() if line.split()}
    assert rows["som-eng"] == ["50.0", "70.0", "+20.0", "40.0", "60.0", "+20.0"]
    assert rows["fra-eng"] == ["90.0", "80.0", "-10.0", "80.0", "70.0", "-10.0"]
    assert rows["low-resource"] == ["55.0", "70.0", "+15.0", "45.0", "62.5", "+17.5"]
    assert rows["all"] == ["66.7", "73.3", "+6.7", "56.7", "65.0", "+8.3"]


@pytest.mark.parametrize(
    ("model", "metrics", "message"),
    [
        ("a/other", METRICS, r"no results of a/other on CLDRNameRetrieval; run: mteb run -m a/other"),
        ("a/base", ["ndcg_at_7"], r"no score 'ndcg_at_7'"),
    ],
)
def test_what_is_not_there_is_named(results, model, metrics, message):
    """Pins a KeyError for missing results or scores."""
    with pytest.raises(InputError, match=message):
        read_scores(results, model, "CLDRNameRetrieval", metrics)


def test_two_revisions_are_never_mixed(results):
    """Pins scores of one training taken for another's."""
    folder = results / "results" / "a__base"
    (folder / "r9").mkdir()
    for path in (folder / "r1").iterdir():
        (folder / "r9" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"several revisions on CLDRNameRetrieval \(r1, r9\)"):
        read_scores(results, "a/base", "CLDRNameRetrieval", METRICS)
    assert read_scores(results, "a/base@r9", "CLDRNameRetrieval", METRICS).revision == "r9"
    with pytest.raises(InputError, match="no results of a/base at revision r7"):
        read_scores(results, "a/base@r7", "CLDRNameRetrieval", METRICS)


def test_different_subsets_are_refused(results):
    """Pins means over languages that only one model was scored on."""
    base = read_scores(results, "a/base", "CLDRNameRetrieval", METRICS)
    student = read_scores(results, "b/student", "CLDRNameRetrieval", METRICS)
    del student.values["fra-eng"]
    with pytest.raises(InputError, match="only one side has scores of fra-eng"):
        comparison_table(base, student, metrics=METRICS, groups={})
