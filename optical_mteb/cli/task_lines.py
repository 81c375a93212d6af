"""`mteb.evaluate` with a progress line and a result line a task, in place of mteb's bars."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from optical_mteb.collection.one_pass import LARGEST, digest, texts_of
from optical_mteb.collection.task import CollectionRetrieval
from optical_mteb.errors import InputError
from optical_mteb.progress import ProgressLine, duration, progress_line

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.cache import ResultCache
    from mteb.results import ModelResult

QUIET = {"show_progress_bar": False}


def evaluate_by_lines() -> None:
    """Have `mteb.evaluate` show a line a task from now on, which moves with the texts that the model reads."""
    mteb = import_module("mteb")
    evaluate: Callable[..., ModelResult] = getattr(mteb.evaluate, "_optical_mteb", mteb.evaluate)
    # A second command in one process shows a line once, too.
    evaluate = getattr(evaluate, "_by_lines", evaluate)

    def by_lines(
        model: Any,  # noqa: ANN401 - as mteb's
        tasks: Any,  # noqa: ANN401
        *,
        encode_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,  # noqa: ANN401 - as mteb's
    ) -> ModelResult:
        chosen: list[AbsTask] = [tasks] if isinstance(tasks, mteb.AbsTask) else list(tasks)
        if not chosen:
            raise InputError("no task matches; list them: optical-mteb tasks, or mteb available-tasks")
        results = []
        for task in chosen:
            name, begun = task.metadata.name, time.monotonic()
            missing = _missing(model, task, kwargs.get("cache"), kwargs.get("overwrite_strategy"))
            with progress_line(name, unit="texts") as line, _counted(model, task, missing, line):
                settings = {**(encode_kwargs or {}), **QUIET}
                result = evaluate(model, task, encode_kwargs=settings, **{**kwargs, **QUIET})
            spent = duration(time.monotonic() - begun) if missing else "scored before"
            _say(task, result, spent)
            results.append(result)
        whole = results[-1].model_copy()
        whole.task_results = [found for result in results for found in result.task_results]
        whole.exceptions = [error for result in results for error in result.exceptions or []]
        return whole

    by_lines._by_lines = evaluate  # type: ignore[attr-defined]
    vars(mteb)["evaluate"] = by_lines


def _missing(model: Any, task: AbsTask, cache: ResultCache | None, overwrite: str | None) -> dict[str, list[str]]:  # noqa: ANN401
    """The subsets that are to be evaluated, by split."""
    kept = None
    meta = getattr(model, "mteb_model_meta", None)
    if cache is not None and meta is not None and overwrite != "always":
        kept = cache.load_task_result(task.metadata.name, meta)
    if kept is not None:
        return kept.get_missing_evaluations(task)
    return {split: list(task.hf_subsets) for split in task.eval_splits}


def _say(task: AbsTask, result: ModelResult, spent: str) -> None:
    name = task.metadata.name
    for found in result.task_results:
        subsets = {row["hf_subset"] for rows in found.scores.values() for row in rows}
        over = f" over {len(subsets)} subsets" if len(subsets) > 1 else ""
        print(f"{name}: {task.metadata.main_score} {found.get_score():.4f}{over}, {spent}", flush=True)
    for error in result.exceptions or []:
        print(f"{name}: failed: {error.exception}", flush=True)


@contextmanager
def _counted(model: Any, task: AbsTask, missing: Mapping[str, Sequence[str]], line: ProgressLine) -> Iterator[None]:  # noqa: ANN401
    """Moves a line on with every batch of a sentence-transformers model; others move none."""
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    while not isinstance(model, SentenceTransformer | MultiVectorEncoder) and hasattr(model, "model"):
        model = model.model
    if not isinstance(model, SentenceTransformer | MultiVectorEncoder):
        yield
        return

    # The queries of a late-interaction model are read again for every subset.
    parts = ("corpus", "queries") if isinstance(model, SentenceTransformer) else ("corpus",)

    def move(module: Any, inputs: Any, output: Any) -> None:  # noqa: ANN401, ARG001 - a hook
        line.total = line.total or _texts(task, missing, once=parts)
        read = output.get("attention_mask") if isinstance(output, Mapping) else None
        if read is not None:
            line(len(read))

    hook = model[0].register_forward_hook(move)
    try:
        yield
    finally:
        hook.remove()


def _texts(task: AbsTask, missing: Mapping[str, Sequence[str]], once: Sequence[str]) -> int | None:
    """How many documents and queries a retrieval task reads, some of them once; None of another task."""
    from mteb.abstasks import AbsTaskRetrieval

    if not isinstance(task, AbsTaskRetrieval) or not task.data_loaded:
        return None
    read, count = set[object](), 0
    for split, subsets in missing.items():
        for subset in subsets:
            data = task.dataset.get(subset, {}).get(split)
            for part, texts in texts_of(data).items() if data is not None else ():
                shared = part in once and isinstance(task, CollectionRetrieval) and len(texts) <= LARGEST
                which = (split, part, digest(texts) if shared else subset)
                count += 0 if which in read else len(texts)
                read.add(which)
    return count
