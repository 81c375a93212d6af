"""The one place that writes into mteb's registries: students, bases and tasks of this package."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from functools import cache, wraps
from importlib import import_module
from itertools import chain
from pathlib import Path
from pkgutil import iter_modules
from types import TracebackType
from typing import TYPE_CHECKING, Any

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.models.model_meta import ModelMeta
    from mteb.models.models_protocols import MTEBModels
    from mteb.results import ModelResult, TaskResult
    from sentence_transformers import SentenceTransformer


def register() -> None:
    """Fill mteb's registries with what this package has, read afresh from the student store; any number of times."""
    _register_tasks()
    _register_benchmarks()
    _register_models()
    _show_input_errors_in_one_line()
    spec = os.environ.get("OPTICAL_MTEB_INDEX")
    if spec:
        search_by_index(spec)


def search_by_index(spec: str, recall: float = 0.99) -> None:
    """Have `mteb.evaluate` search by an index in the store from now on, and `mteb.get_model` check that it can be one.

    Args:
        spec: What `IndexSpec.parse` reads, or `auto`; one that cannot be read is an `InputError` when either is called.
        recall: Share of the exact best that searching should find.
    """
    mteb = import_module("mteb")
    get_model, evaluate = (getattr(f, "_optical_mteb", f) for f in (mteb.get_model, mteb.evaluate))

    @wraps(get_model)
    def get_checked(*args: Any, **kwargs: Any) -> MTEBModels:  # noqa: ANN401 - as mteb's
        from optical_mteb.index.assembly import BuildSettings

        BuildSettings(spec=spec, recall=recall)
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

        result: ModelResult = evaluate(indexed(model, BuildSettings(spec=spec, recall=recall)), *args, **kwargs)
        return result

    get_checked._optical_mteb, evaluate_by_index._optical_mteb = get_model, evaluate  # type: ignore[attr-defined]
    vars(mteb).update(get_model=get_checked, evaluate=evaluate_by_index)


def _register_tasks() -> None:
    # The package's attribute of that name is the function.
    registry = import_module("mteb.get_tasks")
    names = registry._TASKS_REGISTRY
    for task in filter(_is_own, registry.TASK_LIST):
        del names[task.metadata.name]
    listed = [task for task in registry.TASK_LIST if not _is_own(task)]
    for task in chain(package_tasks(), _own_tasks()):
        if task.metadata.name not in names:
            names[task.metadata.name] = task
            listed.append(task)
    vars(registry)["TASK_LIST"] = tuple(listed)
    _compare_revisions_of_own_tasks()


def package_tasks() -> Iterator[type[AbsTask]]:
    """The task classes of this package, by file."""
    from mteb.abstasks import AbsTask

    package = import_module("optical_mteb.tasks")
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, AbsTask) and value.__module__ == module.name:
                yield value


def _own_tasks() -> Iterator[type[AbsTask]]:
    """The tasks that the user's own collections are; one that cannot be is a line in the log."""
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
    evaluation = import_module("mteb.evaluate")
    requires_merge = getattr(evaluation, "_requires_merge", None)
    if requires_merge is None or getattr(requires_merge, "_optical_mteb", False):
        return

    def compared(task: AbsTask, existing: TaskResult) -> bool:
        return _is_own(type(task)) or bool(requires_merge(task, existing))

    compared._optical_mteb = True  # type: ignore[attr-defined]
    vars(evaluation)["_requires_merge"] = compared


def _register_benchmarks() -> None:
    """Put the benchmarks among the names of the module that mteb collects its own from, once, into a cache."""
    from optical_mteb.benchmark import optical_clir, optical_clir_plus

    benchmarks, registry = import_module("mteb.benchmarks.benchmarks"), import_module("mteb.benchmarks.get_benchmark")
    if not hasattr(benchmarks, "OPTICAL_CLIR"):
        vars(benchmarks).update(OPTICAL_CLIR=optical_clir(), OPTICAL_CLIR_PLUS=optical_clir_plus())
        registry._build_registry.cache_clear()
        registry._build_aliases_registry.cache_clear()


def _register_models() -> None:
    from optical_mteb.bases import pypi_bases
    from optical_mteb.recipes import shipped_students
    from optical_mteb.students.meta import pypi_base_meta, student_meta
    from optical_mteb.students.store import student_names

    for student in sorted({*student_names(), *shipped_students()}):
        _register_model(student_meta(student), alias=student)
    for base in pypi_bases():
        _register_model(pypi_base_meta(base), alias=f"pypi:{base.name}")


def _register_model(meta: ModelMeta, alias: str) -> None:
    from mteb.models.get_model_meta import _MODEL_RENAMES
    from mteb.models.model_implementations import MODEL_REGISTRY

    if meta.name is None:
        return
    MODEL_REGISTRY[meta.name] = meta
    # A second registry key would list the model twice; mteb's renames resolve the short name, but call it outdated.
    _MODEL_RENAMES[alias] = meta.name
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
    program = Path(sys.argv[0])
    return program.stem == "mteb" or (program.name == "__main__.py" and program.parent.name == "mteb")
