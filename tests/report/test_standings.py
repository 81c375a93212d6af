"""The table of where every model stands, against mteb's own means and by hand."""

import json

import mteb
import pytest
from mteb.results import BenchmarkResults, ModelResult
from mteb.results.task_result import TaskResult

from optical_mteb.benchmark import LANGUAGES, SPLITS
from optical_mteb.errors import InputError
from optical_mteb.registry import register
from optical_mteb.report.collect import collect
from optical_mteb.report.site import write_report
from optical_mteb.report.standings import BEGIN, END, as_markdown, standings, write_into


@pytest.fixture(scope="module", autouse=True)
def registered():
    register()


def write_model(folder, name, shift=0.0, revision="r1", english=True, leave_out=(), **record):
    """Results on the benchmark, as MTEB writes them; returns scores by task and subset."""
    place = folder / "results" / name.replace("/", "__") / revision
    place.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, task in enumerate(mteb.get_benchmark("OPTICAL-CLIR").tasks):
        about = task.metadata
        subsets = list(task.hf_subsets)
        if about.name == "NTREXRetrieval" and english:
            subsets += [subset for subset in mteb.get_task(about.name).hf_subsets if subset.startswith("eng-")]
        rows, phases = [], []
        for at, subset in enumerate(sorted(subsets)):
            if (about.name, subset) in leave_out:
                continue
            score = round(0.2 + number / 10 + at / 100 + shift, 5)
            found[about.name, subset] = score
            rows.append({"hf_subset": subset, "languages": about.eval_langs[subset], "main_score": score})
            rows[-1] |= {"ndcg_at_10": score, "map_at_100": score / 2}
            phases.append(
                {"name": "Scoring", "start": at, "end": at + 2.0, "split": SPLITS[about.name], "subset": subset}
            )
        # Of no table: a subset that is not in the benchmark, and the data's loading.
        phases.append({"name": "Scoring", "start": 0.0, "end": 900.0, "split": SPLITS[about.name], "subset": "x-eng"})
        phases.append({"name": "Data loading", "start": 0.0, "end": 900.0, "split": "", "subset": ""})
        result = {
            "dataset_revision": about.revision,
            "task_name": about.name,
            "mteb_version": "2.26.24",
            "scores": {SPLITS[about.name]: rows},
            "evaluation_time": 1.0,
            "kg_co2_emissions": None,
            "evaluation_phases": phases,
        }
        (place / f"{about.name}.json").write_text(json.dumps(result))
    meta = {"name": name, "revision": revision, "n_parameters": 22_700_000, **record}
    (place / "model_meta.json").write_text(json.dumps(meta))
    return found


def test_means_parameters_and_seconds(tmp_path):
    """Guards against means that weigh tasks, splits or subsets otherwise than the benchmark, and against lost seconds."""
    scores = write_model(tmp_path, "a/low")
    write_model(tmp_path, "b/high", shift=0.3, n_parameters=0)
    table = standings(collect(tmp_path))
    assert [row.label for row in table.rows] == ["low", "high"]
    results = [TaskResult.from_disk(tmp_path / f"results/a__low/r1/{task}.json") for task in SPLITS]
    model = ModelResult(model_name="a/low", model_revision="1", task_results=results)
    expected = mteb.get_benchmark("OPTICAL-CLIR").get_score(BenchmarkResults(model_results=[model]))["a/low"]
    shown = dict(zip((column.heading for column in table.columns), table.rows[0].means, strict=True))
    for group, languages in LANGUAGES.items():
        assert shown[f"{group} to English"] == pytest.approx(100 * expected[f"Languages::{group}"])
        values = [scores.get(("NTREXRetrieval", f"eng-{language}")) for language in languages]
        values = [value for value in values if value is not None]
        assert shown[f"English to {group}"] == pytest.approx(100 * sum(values) / len(values))
    assert table.rows[0].seconds == 2.0 * len(scores)
    assert table.rows[0].parameters == pytest.approx(22.7)
    lines = as_markdown(table).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"| low | {table.rows[0].means[0]:.1f} |")
    assert lines[2].endswith(f"| 23 M | {2 * len(scores)} |")
    assert lines[3].startswith(f"| high | **{table.rows[1].means[0]:.1f}** |")
    assert "| none |" in lines[3]


def test_what_has_not_been_run_has_no_mean(tmp_path):
    """Guards against a mean over fewer subsets than others have, and models that share a name."""
    write_model(tmp_path, "a/same")
    write_model(tmp_path, "b/same", revision="r2", english=False, leave_out={("AfriQARetrieval", "swh-eng")})
    write_model(tmp_path, "c/index", revision="r3", experiment_kwargs={"index": "flat"})
    write_model(
        tmp_path,
        "d/few",
        leave_out={(task, f"{code}-eng") for task in SPLITS for code in ("swh", "fra", "hau")},
        english=False,
    )
    collection = collect(tmp_path)
    table = standings(collection)
    assert [row.label for row in table.rows] == ["same@r2", "same@r1"]
    assert [mean is None for mean in table.rows[0].means] == [True, False, False, True, True, True]
    assert table.rows[0].seconds is None
    assert as_markdown(table).count("not run") == 4
    write_report(tmp_path, tmp_path / "site")
    page = (tmp_path / "site" / "index.html").read_text()
    assert 'id="standings"' in page
    assert f"<td>{table.rows[1].means[0]:.1f}</td>" in page


def test_the_table_goes_between_the_marks(tmp_path):
    """Guards against a README that loses text, gets the table twice, or is written though it has no place for it."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\n| old |\n{END}\nafter\n")
    assert write_into(readme, "| new |")
    assert readme.read_text() == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"
    assert not write_into(readme, "| new |")
    for text in ("none", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{BEGIN}\n{END}\n"):
        readme.write_text(text)
        with pytest.raises(InputError, match=r"README\.md: has no place for the table"):
            write_into(readme, "| new |")
        assert readme.read_text() == text
    with pytest.raises(InputError, match="cannot be read"):
        write_into(tmp_path / "none.md", "| new |")
