"""The benchmark: found by its names, filled with the right subsets, its means those of the scores."""

import json
import subprocess
import sys
from statistics import fmean

import mteb
import pytest
from mteb.benchmarks.benchmark import CustomGrouping
from mteb.results import BenchmarkResults, ModelResult
from mteb.results.task_result import TaskResult

from optical_mteb.benchmark import LANGUAGES, SPLITS
from optical_mteb.registry import register


@pytest.fixture(scope="module", autouse=True)
def registered():
    register()


@pytest.mark.parametrize("name", ["OPTICAL-CLIR", "optical-clir"])
def test_found_by_name_and_alias(name):
    """Pins a benchmark that `mteb run -b` does not know."""
    assert mteb.get_benchmark(name).name == "OPTICAL-CLIR"


def test_listed_once_after_registering_twice():
    """Pins a second registration that lists the benchmark twice, or builds another one."""
    first = mteb.get_benchmark("OPTICAL-CLIR")
    register()
    assert mteb.get_benchmark("OPTICAL-CLIR") is first
    assert [benchmark.name for benchmark in mteb.get_benchmarks()].count("OPTICAL-CLIR") == 1


def test_tasks_ask_for_the_groups_and_no_more():
    """Pins a subset that belongs to no group, to two, or a task without any."""
    benchmark = mteb.get_benchmark("OPTICAL-CLIR")
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
        assert task.hf_subsets
        assert task.eval_splits == [SPLITS[task.metadata.name]]
        assert all(subset.endswith("-eng") for subset in task.hf_subsets)


def test_means_are_those_of_the_scores():
    """Pins a group mean over the wrong subsets, against means by hand."""
    benchmark = mteb.get_benchmark("OPTICAL-CLIR")
    score = {}
    results = []
    for number, task in enumerate(benchmark.tasks):
        split = SPLITS[task.metadata.name]
        rows = []
        for place, subset in enumerate(task.hf_subsets):
            value = (1 + number) / 10 + place / 100
            score[task.metadata.name, subset.partition("-")[0]] = value
            rows.append({"hf_subset": subset, "languages": task.metadata.eval_langs[subset], "main_score": value})
        results.append(
            TaskResult(
                dataset_revision="1",
                task_name=task.metadata.name,
                mteb_version="2",
                scores={split: rows},
                evaluation_time=1.0,
            )
        )
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


def test_the_stock_command_lists_it():
    """Pins a benchmark that is there in Python alone."""
    code = "import mteb, json; print(json.dumps([b.name for b in mteb.get_benchmarks(['optical-clir'])]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == ["OPTICAL-CLIR"]
