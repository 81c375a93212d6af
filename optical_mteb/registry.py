"""The one place that writes into mteb's registries: students, bases and tasks of this package."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, wraps
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import TracebackType
from typing import TYPE_CHECKING, Any

from optical_mteb.errors import InputError
from optical_mteb.mteb_compat import (
    forget_benchmarks,
    model_registry,
    model_renames,
    mteb_version,
    set_task_list,
    task_registry,
    wrap_requires_merge,
)
from optical_mteb.storage import may_have_own_tasks

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.models.model_meta import ModelMeta
    from mteb.models.models_protocols import MTEBModels
    from mteb.results import ModelResult, TaskResult
    from sentence_transformers import SentenceTransformer

    from optical_mteb.collection.task import CollectionRetrieval


def register() -> None:
    """Fill mteb's registries with what this package has, read afresh from the student store; any number of times.

    A step that fails, as one may with a later mteb, is named in a warning and leaves the others.
    """
    steps: dict[str, Callable[[], None]] = {
        "the students of the package": _register_shipped_students,
        "the students of the store": _register_stored_students,
        "the bases from PyPI": _register_bases,
        "its tasks": lambda: _add_tasks(package_tasks()),
        "the user's own tasks": _register_own_tasks,
        "the user's own tasks for new scores when their data change": _compare_revisions_of_own_tasks,
        "its benchmarks": _register_benchmarks,
        "errors in one line": _show_input_errors_in_one_line,
    }
    for what, step in steps.items():
        try:
            step()
        # Nothing narrower: a name that mteb no longer has, a store that cannot be read, a file in it that is damaged.
        except Exception as error:
            warnings.warn(
                f"optical-mteb could not register {what} with mteb {mteb_version()}: {type(error).__name__}: {error}",
                stacklevel=2,
            )
    spec = os.environ.get("OPTICAL_MTEB_INDEX")
    if spec:
        search_by_index(spec)


def search_by_index(spec: str, recall: float = 0.99) -> Callable[[], bool]:
    """Have `mteb.evaluate` search by an index in the store from now on, and `mteb.get_model` check that it can be one.

    Args:
        spec: What `IndexSpec.parse` reads, or `auto`; one that cannot be read is an `InputError` when either is called.
        recall: Share of the exact best that searching should find.

    Returns:
        Whether an evaluation has gone through the index by now.
    """
    mteb = import_module("mteb")
    calls = {"loaded": 0, "evaluated": 0}
    get_model, evaluate = (getattr(f, "_optical_mteb", f) for f in (mteb.get_model, mteb.evaluate))

    @wraps(get_model)
    def get_checked(*args: Any, **kwargs: Any) -> MTEBModels:  # noqa: ANN401 - as mteb's
        from optical_mteb.index.assembly import BuildSettings

        BuildSettings(spec=spec, recall=recall)
        calls["loaded"] += 1
        model: MTEBModels = get_model(*args, **kwargs)
        return model

    @wraps(evaluate)
    def evaluate_by_index(
        model: MTEBModels | ModelMeta | SentenceTransformer,
        *args: Any,  # noqa: ANN401 - as mteb's
        **kwargs: Any,  # noqa: ANN401 - as mteb's
    ) -> ModelResult:
        from optical_mteb.index.assembly import BuildSettings
        from optical_mteb.index.search_model import indexed

        calls["evaluated"] += 1
        result: ModelResult = evaluate(indexed(model, BuildSettings(spec=spec, recall=recall)), *args, **kwargs)
        return result

    get_checked._optical_mteb, evaluate_by_index._optical_mteb = get_model, evaluate  # type: ignore[attr-defined]
    vars(mteb).update(get_model=get_checked, evaluate=evaluate_by_index)
    if _runs_mteb():
        atexit.register(_fail_without_index, spec, calls)
    return lambda: bool(calls["evaluated"])


def _fail_without_index(spec: str, calls: Mapping[str, int]) -> None:
    """End the `mteb` command with an error where it has loaded a model and evaluated it past the index."""
    if calls["loaded"] and not calls["evaluated"] and not hasattr(sys, "last_type"):
        print(f"mteb: error: {without_index(spec)}", file=sys.stderr, flush=True)
        os._exit(1)


def without_index(spec: str) -> str:
    """The error line for an evaluation that did not search by the index that was asked for."""
    return (
        f"mteb {mteb_version()} did not search by the index {spec}, and its scores are those of exact search; "
        "remove them, and install the release of mteb that constraints.txt names"
    )


def _register_own_tasks() -> None:
    names = task_registry()
    for name in [name for name, task in names.items() if _is_own(task)]:
        del names[name]
    set_task_list(lambda tasks: tuple(task for task in tasks if not _is_own(task)))
    _add_tasks(_own_tasks())


def _add_tasks(tasks: Iterable[type[AbsTask]]) -> None:
    names = task_registry()
    new = [task for task in tasks if names.setdefault(task.metadata.name, task) is task]
    set_task_list(lambda listed: (*listed, *(task for task in new if task not in listed)))


def package_tasks() -> Iterator[type[AbsTask]]:
    """The task classes of this package, by file."""
    from mteb.abstasks import AbsTask

    package = import_module("optical_mteb.tasks")
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, AbsTask) and value.__module__ == module.name:
                yield value


def collection_tasks() -> list[CollectionRetrieval]:
    """The tasks of this package whose texts a training compares its bitext with."""
    registered = list(package_tasks())
    # Not before mteb, whose import registers the tasks.
    from optical_mteb.collection.task import CollectionRetrieval

    return [task() for task in registered if issubclass(task, CollectionRetrieval)]


def _own_tasks() -> Iterator[type[AbsTask]]:
    """The tasks that the user's own collections are; one that cannot be is a line in the log."""
    if not may_have_own_tasks():
        return
    from optical_mteb.collection.own_task import own_tasks

    for own in own_tasks():
        if own.task is None:
            _say_once(f"optical-mteb: left out a task: {own.problem}")
        else:
            yield own.task


def _is_own(task: type[AbsTask]) -> bool:
    return task.__module__ == "optical_mteb.collection.own_retrieval"


@cache
def _say_once(line: str) -> None:
    logging.getLogger(__name__).warning(line)


def _compare_revisions_of_own_tasks() -> None:
    """Have mteb score an own task anew where its data have changed.

    By itself mteb takes a complete result from its cache whatever data revision it is of, and looks at revisions only
    where splits or subsets are missing.
    """

    def comparing(
        requires_merge: Callable[[AbsTask, TaskResult], bool],
    ) -> Callable[[AbsTask, TaskResult], bool]:
        return lambda task, existing: _is_own(type(task)) or requires_merge(task, existing)

    wrap_requires_merge(comparing)


def _register_benchmarks() -> None:
    """Put the benchmarks among the names of the module that mteb collects its own from, once, into a cache."""
    from optical_mteb.benchmark import optical_clir, optical_clir_plus

    benchmarks = import_module("mteb.benchmarks.benchmarks")
    if not hasattr(benchmarks, "OPTICAL_CLIR"):
        vars(benchmarks).update(OPTICAL_CLIR=optical_clir(), OPTICAL_CLIR_PLUS=optical_clir_plus())
        forget_benchmarks()


def _register_shipped_students() -> None:
    from optical_mteb.recipes import shipped_students
    from optical_mteb.students.meta import student_meta

    for student in sorted(shipped_students()):
        _register_model(student_meta(student), alias=student)


def _register_stored_students() -> None:
    from optical_mteb.students.meta import student_meta
    from optical_mteb.students.store import student_names

    for student in student_names():
        _register_model(student_meta(student), alias=student)


def _register_bases() -> None:
    from optical_mteb.bases import pypi_bases
    from optical_mteb.students.meta import pypi_base_meta

    for base in pypi_bases():
        _register_model(pypi_base_meta(base), alias=f"pypi:{base.name}")


def _register_model(meta: ModelMeta, alias: str) -> None:
    if meta.name is None:
        return
    model_registry()[meta.name] = meta
    # A second registry key would list the model twice; mteb's renames resolve the short name, but call it outdated.
    model_renames()[alias] = meta.name
    warnings.filterwarnings("ignore", message=f"The model '{alias}' has been renamed", category=DeprecationWarning)


def _show_input_errors_in_one_line() -> None:
    """Let the `mteb` command print a mistake of the user as one line; every other program keeps its traceback."""
    if getattr(sys.excepthook, "_optical_mteb", False):
        return
    previous = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, InputError) and _runs_mteb():
            print(f"mteb: error: {error}", file=sys.stderr)
        else:
            previous(kind, error, trace)

    excepthook._optical_mteb = True  # type: ignore[attr-defined]
    sys.excepthook = excepthook


def _runs_mteb() -> bool:
    program = Path(sys.argv[0] if sys.argv else "")
    return program.stem == "mteb" or (program.name == "__main__.py" and program.parent.name == "mteb")
