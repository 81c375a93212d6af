"""What a comparison looks like, and the `compare` command around it."""

import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from optical_mteb.scores import formats
from optical_mteb.scores.compare import compare_models
from optical_mteb.scores.results import find_results

METRICS = ["ndcg_at_10", "map_at_100"]
BASE = {
    "som-eng": {f"q{number}": 0.25 * (number % 4) for number in range(40)},
    "swh-eng": {f"q{number}": 0.5 for number in range(40)},
}
STUDENT = {
    "som-eng": {query: min(1, score + 0.1) for query, score in BASE["som-eng"].items()},
    "swh-eng": {**BASE["swh-eng"], "q7": 0.7},
}


@pytest.fixture
def comparison(write, cache):
    """A significant gain in Somali, a chance one in Swahili."""
    write("a/base", BASE)
    write("b/student", STUDENT)
    return compare_models(find_results("a/base", cache), [find_results("b/student", cache)], metrics=METRICS)[0]


@pytest.fixture
def run(command, cache):
    """Runs `optical-mteb compare` on the results that were written."""
    return lambda *arguments: command("compare", *arguments, "--results", str(cache))


def cells(comparison, **options):
    [grid, *_] = formats.grids(comparison, **options)
    return grid.headings, {row[0]: row[1:] for row in grid.rows}


def test_a_table_has_both_scores_the_difference_its_interval_and_a_mark(comparison):
    """Guards against fractions for points, intervals of the other metric, and marks without significance."""
    headings, rows = cells(comparison)
    assert headings == ["subset", "ndcg_at_10", "", "diff", "95%", "map_at_100", "", "diff", "95%"]
    assert list(rows) == ["som-eng", "swh-eng", "low-resource", "all"]
    assert rows["som-eng"] == 2 * ["37.5", "47.5", "+10.0*", "[10.0, 10.0]"]
    assert rows["swh-eng"] == 2 * ["50.0", "50.5", "+0.5", "[0.0, 1.5]"]
    assert rows["all"][:3] == ["43.8", "49.0", "+5.2*"]


def test_details_have_the_rest(comparison):
    """Guards against a p-value for its correction, and an effect size that does not exist."""
    headings, rows = cells(comparison, details=True)
    assert headings == ["subset", "ndcg_at_10", "", "diff", "95%", "p", "Holm", "w/t/l", "d_z"]
    assert rows["som-eng"][4:] == ["0.0001", "0.0002", "40/0/0", ""]
    assert rows["swh-eng"][4:] == ["1.0000", "1.0000", "1/39/0", "+0.16"]
    assert rows["all"][5] == ""
    assert len(formats.grids(comparison, details=True)) == 2


def test_the_terminal_table_fits_80_columns(comparison):
    """Guards against cells that are folded or cut."""
    wide = [replace(row, significance=replace(row.significance, low=-0.123, high=-0.101)) for row in comparison.rows]
    comparison = replace(comparison, rows=wide)
    for details in (False, True):
        console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        for grid in formats.grids(comparison, details=details):
            console.print(formats.as_table(grid))
        lines = console.export_text().splitlines()
        assert max(map(len, lines)) <= 80
        row = next(line for line in lines if "som-eng" in line).split()
        assert row[:6] == ["som-eng", "37.5", "47.5", "+10.0*", "[-12.3,", "-10.1]"]


def test_markdown(comparison):
    """Guards against a line that is not a row, and a mark that turns into emphasis."""
    [grid] = formats.grids(comparison)
    lines = formats.as_markdown(grid, ["*: noted"]).splitlines()
    assert lines[0] == "**CLDRNameRetrieval: a/base -> b/student**"
    assert lines[2] == "| subset | ndcg_at_10 |  | diff | 95% | map_at_100 |  | diff | 95% |"
    assert lines[3].count("|") == lines[2].count("|") == 10
    assert r"| som-eng | 37.5 | 47.5 | +10.0\* | [10.0, 10.0] |" in lines[4]
    assert lines[-1] == r"- \*: noted"


def test_latex(comparison):
    """Guards against characters that LaTeX takes for commands, and columns that do not add up."""
    [grid] = formats.grids(comparison)
    lines = formats.as_latex(grid, ["noted"]).splitlines()
    assert lines[1] == r"\begin{tabular}{lrrrrrrrr}"
    assert lines[3].startswith(r"subset & \multicolumn{2}{c}{ndcg\_at\_10} & diff & 95\% & \multicolumn{2}{c}{map")
    assert lines[5].startswith(r"som-eng & $37.5$ & $47.5$ & $+10.0$$^{*}$ & [$10.0$, $10.0$] & ")
    assert all(line.count("&") == 8 for line in lines[5:7])
    assert lines.count(r"\midrule") == 2
    assert lines[-2:] == [r"\end{tabular}", "% noted"]


def test_json_has_all_there_is(run, comparison):
    """Guards against figures that are rounded or left out."""
    code, output, errors = run("a/base", "b/student", "--format", "json")
    assert (code, errors) == (0, "")
    content = json.loads(output)
    assert content["settings"] == {"confidence": 0.95, "resamples": 10000, "split": "test", "intersect": False}
    assert content["baseline"]["model"] == "a/base"
    [found] = content["comparisons"]
    assert found["model"]["revision"] == "r1"
    assert len(found["rows"]) == len(comparison.rows) == 8
    row = next(row for row in found["rows"] if row["name"] == "swh-eng" and row["metric"] == "map_at_100")
    assert row["difference"] == pytest.approx(0.005)
    keys = {"queries", "low", "high", "p_value", "adjusted", "wins", "ties", "losses", "effect_size"}
    assert row["significance"].keys() == keys


def test_names_tell_the_sides_apart(write, cache):
    """Guards against a table of a model beside itself."""

    def sides(first, second):
        return formats.labels(
            compare_models(find_results(first, cache), [find_results(second, cache)], metrics=METRICS)[0]
        )

    write("a/base", BASE, revision="r1")
    write("a/base", BASE, revision="r2")
    folder = write("a/base", BASE, revision="r2", experiment={"index": "hnsw"})
    assert sides("a/base@r1", "a/base@r2") == ("a/base@r1", "a/base@r2")
    assert sides("a/base@r2", str(folder)) == ("a/base (plain)", "a/base (index = hnsw)")


def test_the_command_prints_a_table_and_what_it_means(run, comparison):
    """Guards against a table without its legend."""
    code, output, errors = run("a/base", "b/student", "-t", "CLDRNameRetrieval")
    assert (code, errors) == (0, "")
    assert "+10.0*" in output
    assert "*: p < 0.05 in a two-sided paired randomisation test, after Holm's correction for 2 subsets" in output
    for table_format, sign in (("markdown", "| som-eng |"), ("latex", r"\toprule")):
        assert sign in run("a/base", "b/student", "--format", table_format)[1]


def test_a_guard_fails_by_name(run, comparison):
    """Guards against a guard without an exit code, and one that fails on a gain."""
    code, output, errors = run("b/student", "a/base", "--fail-if-worse", "0.5")
    assert code == 1
    assert "-10.0*" in output
    assert re.findall(r"^CLDRNameRetrieval (\S+): a/base is worse by (\S+) points of ndcg_at_10$", errors, re.M) == [
        ("som-eng", "10.0"),
        ("low-resource", "5.2"),
        ("all", "5.2"),
    ]
    assert run("a/base", "b/student", "--fail-if-worse", "0.5")[0] == 0
    assert run("b/student", "a/base", "--fail-if-worse", "20")[0] == 0
    assert run("b/student", "a/base")[0] == 0


@pytest.mark.parametrize("points", ["-1", "nan"])
def test_a_guard_needs_points(run, comparison, points):
    """Guards against a guard that never fails."""
    code, _, errors = run("a/base", "b/student", "--fail-if-worse", points)
    assert code == 2
    assert "expected a number of points, 0 or more" in errors


def test_several_models_are_compared_with_the_first(run, write, comparison):
    """Guards against comparing each model with its neighbor instead of with the first."""
    write("c/other", BASE)
    _, output, _ = run("a/base", "b/student", "c/other", "--format", "markdown")
    assert re.findall(r"\*\*CLDRNameRetrieval: (.*)\*\*", output) == ["a/base -> b/student", "a/base -> c/other"]


def test_results_without_scores_by_query_keep_their_table(run, write):
    """Guards against empty columns, and a note that is missing or longer than a line."""
    write("a/base", BASE, keep=False)
    write("b/student", STUDENT, keep=False)
    _, output, _ = run("a/base", "b/student")
    lines = [line.split() for line in output.splitlines()]
    assert ["subset", "ndcg_at_10", "diff", "map_at_100", "diff"] in lines
    assert ["som-eng", "37.5", "47.5", "+10.0", "37.5", "47.5", "+10.0"] in lines
    assert output.splitlines()[-1].startswith(
        "no test of significance where scores by query lack: ndcg_at_10, map_at_100"
    )
