"""Trials of a model before it is published: MTEB's mock tasks, and a sample of its results run again."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mteb
from mteb.mocks.mock_run import mock_run

from optical_mteb.submission.checks import SubmissionCheck
from optical_mteb.submission.results_folder import Evaluated, main_scores

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.models.models_protocols import MTEBModels

TOLERANCE = 0.001
"""Largest change of a main score that the results repository accepts."""


def check_mock_run(model: MTEBModels, report: Path) -> SubmissionCheck:
    """Run MTEB's mock tasks, as `mteb mock-run` does, and write its report in Markdown."""
    # Without the progress bars of many small evaluations.
    with redirect_stderr(io.StringIO()):
        results = mock_run(model)
    report.write_text(results.to_markdown() + "\n", encoding="utf-8")
    failed = [f"{modality}: {failures}" for _, modality, failures in results.modality_summary() if failures]
    return SubmissionCheck.of("mteb mock-run passes", failed if not results.all_passed else [])


def check_rerun(model: MTEBModels, results: Sequence[Evaluated]) -> SubmissionCheck:
    """Run the smallest subset of the smallest task whose data are there, and compare its score."""
    name = f"a sample that is run again scores the same within {TOLERANCE}"
    unavailable = []
    for evaluated, split, subset in _samples(results):
        task = mteb.get_task(evaluated.task, hf_subsets=[subset], eval_splits=[split])
        with redirect_stderr(io.StringIO()):
            try:
                task.load_data()
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                unavailable.append(f"{evaluated.task}: {reason}")
                continue
            made = mteb.evaluate(
                model, task, cache=None, co2_tracker=False, encode_kwargs={"batch_size": 32}, show_progress_bar=False
            )
        got = main_scores(made.task_results[0])[split, subset]
        expected = main_scores(evaluated.result)[split, subset]
        what = f"{evaluated.task} {subset} ({split}): {expected:.5f} on file, {got:.5f} again"
        return SubmissionCheck.of(name, [what] if abs(got - expected) > TOLERANCE else [], what)
    return SubmissionCheck.of(name, [*unavailable, "no data to run it on; --no-rerun leaves this out"])


def _samples(results: Sequence[Evaluated]) -> list[tuple[Evaluated, str, str]]:
    """The smallest split and subset of every task, the smallest task first."""
    sized = []
    for evaluated in results:
        task = mteb.get_task(evaluated.task)
        sizes = {key: _size(task, *key) for key in main_scores(evaluated.result)}
        smallest = min(sizes, key=lambda key: (sizes[key], key))
        sized.append((sizes[smallest], evaluated, *smallest))
    return [(evaluated, split, subset) for _, evaluated, split, subset in sorted(sized, key=lambda each: each[0])]


def _size(task: AbsTask, split: str, subset: str) -> float:
    """Number of texts, by the task's published statistics; infinite where they do not say."""
    statistics: Any = (task.metadata.descriptive_stats or {}).get(split) or {}
    by_subset = statistics.get("hf_subset_descriptive_stats") or {}
    return float(by_subset.get(subset, statistics).get("num_samples", math.inf))
