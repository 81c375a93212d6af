"""The benchmarks: found by their names, filled with the right subsets, their means those of the scores."""

import re
from pathlib import Path
from statistics import fmean

import mteb
import pytest
from mteb.benchmarks.benchmark import CustomGrouping
from mteb.results import BenchmarkResults, ModelResult
from mteb.results.task_result import TaskResult

from optical_mteb.benchmark import LANGUAGES, SPLITS
from optical_mteb.registry import register

pytestmark = pytest.mark.usefixtures("registered")


@pytest.mark.long
def test_found_by_name_and_alias_and_listed_once():
    """Guards against names that `mteb run -b` does not know, and against what is listed twice after registering twice."""
    tasks = len(mteb.get_tasks())
    for name in ("OPTICAL-CLIR", "OPTICAL-CLIR+"):
        first = mteb.get_benchmark(name)
        register()
        assert mteb.get_benchmark(name) is mteb.get_benchmark(name.lower()) is first
        assert [benchmark.name for benchmark in mteb.get_benchmarks()].count(name) == 1
    assert len(mteb.get_tasks()) == tasks


def test_tasks_ask_for_the_groups_and_no_more():
    """Guards against a subset that belongs to no group, or to two, and a language of a group that a task is not asked in."""
    benchmark = mteb.get_benchmark("OPTICAL-CLIR")
    wanted = {f"{language}-eng" for languages in LANGUAGES.values() for language in languages}
    assert [task.metadata.name for task in benchmark.tasks] == list(SPLITS)
    (grouping,) = [each for each in benchmark.aggregations if isinstance(each, CustomGrouping)]
    assert [group.label for group in grouping.groups] == list(LANGUAGES)
    for task in benchmark.tasks:
        grouped = [
            subset
            for group in grouping.groups
            for each in group.tasks
            if each.metadata.name == task.metadata.name
            for subset in each.hf_subsets
        ]
        assert sorted(grouped) == sorted(task.hf_subsets)
        assert set(task.hf_subsets) == wanted & set(mteb.get_task(task.metadata.name).metadata.hf_subsets)
        assert task.eval_splits == [SPLITS[task.metadata.name]]


def test_the_larger_one_adds_the_tasks_of_mteb():
    """Guards against questions in English on passages in another language, and groups of other languages."""
    small, large = mteb.get_benchmark("OPTICAL-CLIR"), mteb.get_benchmark("OPTICAL-CLIR+")
    tasks = {task.metadata.name: task for task in large.tasks}
    own = {task.metadata.name: task for task in small.tasks}
    assert {name: task.hf_subsets for name, task in tasks.items() if name in own} == {
        name: task.hf_subsets for name, task in own.items()
    }
    assert tasks.keys() - own.keys() == {"BelebeleRetrieval", "MIRACLRetrievalHardNegatives"}
    belebele = tasks["BelebeleRetrieval"].metadata
    (grouping,) = [each for each in large.aggregations if isinstance(each, CustomGrouping)]
    assert [group.label for group in grouping.groups] == [*LANGUAGES, "same language"]
    for group in grouping.groups[:-1]:
        (part,) = [task for task in group.tasks if task.metadata.name == "BelebeleRetrieval"]
        for subset in part.hf_subsets:
            passages, questions = belebele.eval_langs[subset]
            assert passages == "eng-Latn"
            assert questions.partition("-")[0] in LANGUAGES[group.label]
    assert {task.metadata.name for task in grouping.groups[-1].tasks} == {"MIRACLRetrievalHardNegatives"}
    assert grouping.groups[-1].tasks[0].hf_subsets == ["sw", "yo"]


def test_the_docs_name_tasks_that_mteb_has():
    """Guards against a task or subset in docs/tasks.md that the installed mteb does not have."""
    text = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text()
    section = text.partition("## MTEB's own tasks\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:4] for line in section.splitlines() if line.startswith("| `")]
    named = {name: note for cell, _, note in rows for name in re.findall("`([A-Za-z]+)`", cell)}
    assert "BelebeleRetrieval" in named
    for name, note in named.items():
        subsets = mteb.get_task(name).metadata.hf_subsets
        told = set(re.findall("`([a-z]\\S*)`", note))
        assert told <= set(subsets), name
    assert mteb.get_benchmark("MTEB(Indic, v1)").name in section


def test_means_are_those_of_the_scores():
    """Guards against a group mean over the wrong subsets, against means by hand."""
    benchmark = mteb.get_benchmark("OPTICAL-CLIR")
    score = {}
    results = []
    for number, task in enumerate(benchmark.tasks):
        about, rows = task.metadata, []
        for place, subset in enumerate(task.hf_subsets):
            value = score[about.name, subset.partition("-")[0]] = (1 + number) / 10 + place / 100
            rows.append({"hf_subset": subset, "languages": about.eval_langs[subset], "main_score": value})
        scores = {SPLITS[about.name]: rows}
        made = {"dataset_revision": "1", "mteb_version": "2", "evaluation_time": 1.0}
        results.append(TaskResult(task_name=about.name, scores=scores, **made))
    found = benchmark.get_score(
        BenchmarkResults(model_results=[ModelResult(model_name="a/b", model_revision="1", task_results=results)])
    )["a/b"]
    for group, languages in LANGUAGES.items():
        means = []
        for task in SPLITS:
            values = [score[task, language] for language in languages if (task, language) in score]
            if values:
                means.append(fmean(values))
        assert found[f"Languages::{group}"] == pytest.approx(fmean(means)), group
