"""The table of where every model stands, against mteb's own means and by hand."""

import json
from pathlib import Path

import mteb
import pytest

from optical_mteb.benchmark import LANGUAGES
from optical_mteb.errors import InputError
from optical_mteb.report.collect import collect
from optical_mteb.report.site import write_report
from optical_mteb.report.standings import BEGIN, END, as_markdown, standings, write_into
from tests.results import write_result

pytestmark = pytest.mark.usefixtures("registered")


TASKS = ("CLDRNameRetrieval", "NTREXRetrieval", "AfriQARetrieval", "FLORESDocRetrieval")


def write_model(folder, name, shift=0.0, revision="r1", leave_out=(), **record):
    """Results on the tasks as they are run by default; returns scores by task and subset."""
    place = folder / "results" / name.replace("/", "__") / revision
    meta = {"name": name, "revision": revision, "n_parameters": 22_700_000, **record}
    found = {}
    for number, task in enumerate(map(mteb.get_task, TASKS)):
        about, (split,) = task.metadata, task.eval_splits
        rows, phases = [], []
        for at, subset in enumerate(task.hf_subsets):
            if subset in leave_out or (about.name, subset) in leave_out:
                continue
            score = found[about.name, subset] = round(0.2 + number / 10 + at / 100 + shift, 5)
            rows.append({"hf_subset": subset, "languages": about.eval_langs[subset], "main_score": score})
            rows[-1] |= {"ndcg_at_10": score, "map_at_100": score / 2}
            phases.append({"name": "Scoring", "start": at, "end": at + 2.0, "split": split, "subset": subset})
        # In no column: a subset that is not run by default, and the loading of data.
        rows.append({**rows[-1], "hf_subset": "x-eng"})
        phases.append({"name": "Scoring", "start": 0.0, "end": 900.0, "split": split, "subset": "x-eng"})
        phases.append({"name": "Data loading", "start": 0.0, "end": 900.0, "split": "", "subset": ""})
        write_result(place, about.name, about.revision, rows, meta, split=split, evaluation_phases=phases)
    return found


def test_means_parameters_and_seconds(tmp_path):
    """Guards against means over other subsets, splits or weights, a row in the wrong place, and lost seconds."""
    scores = write_model(tmp_path, "a/low")
    write_model(tmp_path, "b/high", shift=0.3, n_parameters=0)
    table = standings(collect(tmp_path))
    assert [row.label for row in table.rows] == ["low", "high"]
    shown = dict(zip((column.heading for column in table.columns), table.rows[0].means, strict=True))
    for group, languages in LANGUAGES.items():
        for heading, pattern in ((f"{group} to English", "{}-eng"), (f"English to {group}", "eng-{}")):
            parts = []
            for task in TASKS:
                values = [scores.get((task, pattern.format(language))) for language in languages]
                values = [value for value in values if value is not None]
                parts += [sum(values) / len(values)] if values else []
            assert shown[heading] == pytest.approx(100 * sum(parts) / len(parts))
    assert ("AfriQARetrieval", "dev") in table.columns[2].subsets
    assert table.rows[0].seconds == 2.0 * len(scores)
    assert table.rows[0].parameters == pytest.approx(22.7)
    lines = as_markdown(table).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith(f"| low | {table.rows[0].means[0]:.1f} |")
    assert lines[2].endswith(f"| 23 M | {2 * len(scores)} |")
    assert lines[3].startswith(f"| high | **{table.rows[1].means[0]:.1f}** |")
    assert "| none |" in lines[3]
    # A run that was continued: mteb keeps the phases of its last part.
    path = tmp_path / "results" / "a__low" / "r1" / "FLORESDocRetrieval.json"
    record = json.loads(path.read_text())
    record["scores"]["dev"].pop()
    path.write_text(json.dumps(record | {"evaluation_phases": record["evaluation_phases"][1:]}))
    of_flores = sum(task == "FLORESDocRetrieval" for task, _ in scores)
    assert standings(collect(tmp_path)).rows[0].seconds == 2.0 * (len(scores) - of_flores) + 1.0


def test_what_has_not_been_run_has_no_mean(tmp_path):
    """Guards against a mean over fewer subsets than others have, and models that share a name."""
    english = {subset for subset in mteb.get_task("NTREXRetrieval").hf_subsets if subset.startswith("eng-")}
    write_model(tmp_path, "a/same")
    write_model(tmp_path, "b/same", revision="r2", leave_out={*english, ("FLORESDocRetrieval", "swh-eng")})
    write_model(tmp_path, "c/index", revision="r3", experiment_kwargs={"index": "flat"})
    write_model(tmp_path, "d/few", leave_out={*english, "swh-eng", "fra-eng", "hau-eng"})
    table = standings(collect(tmp_path))
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


@pytest.mark.long
def test_the_readme_has_the_table_of_the_results():
    """Guards against a table in the README that was typed, or is of older results."""
    root = Path(__file__).parents[2]
    table = standings(collect(root / "results"))
    assert f"{BEGIN}\n{as_markdown(table)}\n{END}" in (root / "README.md").read_text()
