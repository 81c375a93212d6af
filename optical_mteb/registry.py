"""The one place that writes into mteb's registries: students, bases and tasks of this package."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import TracebackType
from typing import TYPE_CHECKING

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.models.model_meta import ModelMeta


def register() -> None:
    """Fill mteb's registries with what this package has, read afresh from the student store; any number of times."""
    _register_tasks()
    _register_models()
    _show_input_errors_in_one_line()


def _register_tasks() -> None:
    # The package's attribute of that name is the function.
    registry = import_module("mteb.get_tasks")
    for task in _tasks():
        if task.metadata.name not in registry._TASKS_REGISTRY:
            registry._TASKS_REGISTRY[task.metadata.name] = task
            vars(registry)["TASK_LIST"] = (*registry.TASK_LIST, task)


def _tasks() -> Iterator[type[AbsTask]]:
    """The task classes of this package, by file."""
    from mteb.abstasks import AbsTask

    package = import_module("optical_mteb.tasks")
    for module in iter_modules(package.__path__, f"{package.__name__}."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, AbsTask) and value.__module__ == module.name:
                yield value


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
