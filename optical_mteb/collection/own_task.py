"""Which collections of the user's own are tasks: those found in the data folder, and those that were added.

`optical_mteb.collection.own_retrieval` is imported inside the functions only: it needs mteb, whose import registers the
tasks that are listed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from optical_mteb.errors import InputError, did_you_mean
from optical_mteb.mteb_compat import task_registry
from optical_mteb.storage import added_tasks_file, atomic_file, held, local_data, remove, writing

if TYPE_CHECKING:
    from optical_mteb.collection.own_retrieval import OwnRetrieval


@dataclass(frozen=True)
class OwnTask:
    """A task of the user's own, or what keeps a folder from being one.

    Attributes:
        folder: The collection, or the file or folder that the problem is in.
        task: The task; None where there is a problem.
        problem: One line; empty where there is none.
    """

    folder: Path
    task: type[OwnRetrieval] | None = None
    problem: str = ""


class AddedTasks(BaseModel):
    """`tasks.json`: the tasks that were added.

    Attributes:
        folders: Absolute path of the collection, by the task's name.
    """

    model_config = ConfigDict(extra="forbid")

    folders: dict[str, Path] = {}


def own_tasks() -> list[OwnTask]:
    """The user's own tasks, those in `OPTICAL_MTEB_DATA/tasks` by folder, then the added ones by name.

    The data are not read. Nothing is raised: a folder with a problem is listed with it.
    """
    names, tasks = _folders()
    if not names:
        return tasks
    # Nothing of ours is half imported once mteb is there.
    import mteb  # noqa: F401

    from optical_mteb.collection.own_retrieval import own_task_class

    by_name: dict[str, Path] = {}
    for folder, name in names.items():
        try:
            task = own_task_class(folder)
        except (OSError, ValueError, RecursionError) as error:
            # A path that the system refuses, or a file that no reader foresaw: the other tasks stay.
            unforeseen = f"{folder}: cannot be read ({type(error).__name__}: {error})"
            tasks.append(OwnTask(folder, problem=str(error) if isinstance(error, InputError) else unforeseen))
            continue
        called = task.metadata.name
        problem = ""
        if _is_of_others(called):
            problem = f"{folder}: {called!r} is a task of MTEB or this package; give yours another name"
        elif name and called != name:
            problem = f"{folder}: was added as {name!r}, is called {called!r} now; run: optical-mteb tasks add {folder}"
        elif called in by_name:
            problem = f"{folder}: is called {called!r}, and so is {by_name[called]}; give one of them another name"
        else:
            by_name[called] = folder
        tasks.append(OwnTask(folder, problem=problem) if problem else OwnTask(folder, task))
    return tasks


def _folders() -> tuple[dict[Path, str], list[OwnTask]]:
    """Folders with the names that they were added under, empty for found ones; and what is wrong with their lists."""
    names: dict[Path, str] = {}
    problems = []
    try:
        names |= {folder: name for name, folder in sorted(_added_tasks().folders.items())}
    except InputError as error:
        problems.append(OwnTask(added_tasks_file(), problem=str(error)))
    try:
        data = local_data()
        found = sorted(data.glob("tasks/*/task.toml")) if data else []
        names = {path.parent.resolve(): "" for path in found} | names
    except (OSError, ValueError) as error:
        problems.append(OwnTask(Path(), problem=str(error)))
    return names, problems


def add_task(folder: Path) -> OwnRetrieval:
    """Remember a collection as a task, once all of it is checked.

    Args:
        folder: Folder with a `task.toml` and the data; it stays where it is.

    Returns:
        The task with its data loaded.

    Raises:
        InputError: The folder is not a valid collection, or there is a task of that name already.
    """
    import mteb  # noqa: F401 - as above

    from optical_mteb.collection.own_retrieval import TASK_FILE, own_task_class

    folder = folder.resolve()
    task = own_task_class(folder)()
    name = task.metadata.name
    others = {own.task.metadata.name: own.folder for own in own_tasks() if own.task and own.folder != folder}
    whose = others.get(name) or ("MTEB or this package" if _is_of_others(name) else None)
    if whose is not None:
        raise InputError(f"{folder / TASK_FILE}: name: {name!r} is a task of {whose} already; give yours another name")
    task.load_data()
    with _changing() as added:
        added.folders = {key: path for key, path in added.folders.items() if path != folder} | {name: folder}
    return task


def remove_task(name: str) -> Path:
    """Forget a task that was added. Its folder stays as it is; what the cache has of it goes.

    Returns:
        The folder.

    Raises:
        InputError: No task of that name was added.
    """
    from optical_mteb.collection.beir import CORPUS, cache_folder

    with _changing() as added:
        if name not in added.folders:
            found = next((own.folder for own in own_tasks() if own.task and own.task.metadata.name == name), None)
            if found is not None:
                raise InputError(f"task {name!r} is found in {found}; move that folder out of OPTICAL_MTEB_DATA/tasks")
            hint = did_you_mean(name, added.folders) or "list the tasks: optical-mteb tasks"
            raise InputError(f"no task {name!r} was added; {hint}")
        folder = added.folders.pop(name)
    with suppress(InputError):
        remove(cache_folder(folder / CORPUS))
    return folder


def _is_of_others(name: str) -> bool:
    """Whether mteb has a task of that name that is none of the user's own."""
    from optical_mteb.collection.own_retrieval import OwnRetrieval

    task = task_registry().get(name)
    return task is not None and not issubclass(task, OwnRetrieval)


def _added_tasks() -> AddedTasks:
    path = added_tasks_file()
    try:
        return AddedTasks.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return AddedTasks()
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise InputError(f"{path}: cannot be read ({reason}); fix it, or remove it and add the tasks again") from error


@contextmanager
def _changing() -> Iterator[AddedTasks]:
    """The added tasks, written back when the block ends without an exception; one process at a time."""
    path = added_tasks_file()
    with held(Path(f"{path}.lock")):
        added = _added_tasks()
        yield added
        with atomic_file(path) as scratch, writing(path):
            scratch.write_text(added.model_dump_json(indent=2) + "\n", encoding="utf-8")
