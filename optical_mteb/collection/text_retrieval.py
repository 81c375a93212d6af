"""Tasks of MTEB by name, and text retrieval tasks loaded to be written to files: documents, queries and judgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optical_mteb.errors import InputError, did_you_mean, reason_of
from optical_mteb.mteb_compat import task_registry

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData


def task_named(name: str) -> AbsTask:
    """The task of a name.

    Raises:
        InputError: There is no such task.
    """
    import mteb

    try:
        return mteb.get_task(name)
    except KeyError as error:
        near = did_you_mean(name, task_registry(), most=3) or "list them: mteb available-tasks"
        raise InputError(f"task {name!r} is unknown to mteb; {near}") from error


def text_retrieval_task(name: str) -> AbsTaskRetrieval:
    """The task of a name.

    Raises:
        InputError: There is no such task, or it is no retrieval of text.
    """
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    task = task_named(name)
    about = task.metadata
    if not isinstance(task, AbsTaskRetrieval) or about.type != "Retrieval" or list(about.modalities) != ["text"]:
        kind = f"{about.type} of {', '.join(about.modalities)}"
        raise InputError(f"task {name}: is {kind}; only Retrieval of text is documents, queries and judgements alone")
    return task


def chosen_of(task: AbsTaskRetrieval, subsets: Sequence[str], splits: Sequence[str]) -> tuple[list[str], list[str]]:
    """The subsets and splits that are asked for, each once; those that `mteb run` runs where none is.

    Raises:
        InputError: The task does not have one of them.
    """
    about = task.metadata
    for kind, asked, there in (("subset", subsets, about.hf_subsets), ("split", splits, about.eval_splits)):
        for each in asked:
            if each not in there:
                raise InputError(f"task {about.name}: has no {kind} {each!r}; it has {', '.join(there)}")
    return list(dict.fromkeys(subsets or task.hf_subsets)), list(dict.fromkeys(splits or task.eval_splits))


def load_data(task: AbsTaskRetrieval) -> None:
    """Load a task's chosen subsets and splits, as texts and judgements of MTEB's second format.

    Raises:
        InputError: They cannot be loaded.
    """
    try:
        task.load_data()
    except OSError as error:
        raise InputError(
            f"task {task.metadata.name}: its data cannot be loaded ({reason_of(error)}); fix that, or get the data first"
        ) from error
    task.convert_v1_dataset_format_to_v2(num_proc=None)


def load_subsets(name: str, subsets: Sequence[str], splits: Sequence[str]) -> dict[str, dict[str, RetrievalSplitData]]:
    """The data of a task by subset and split.

    Raises:
        InputError: They cannot be loaded, or are more than texts and judgements.
    """
    import mteb

    task = mteb.get_task(name, eval_splits=list(splits), hf_subsets=list(subsets))
    load_data(task)  # type: ignore[arg-type]
    loaded: dict[str, dict[str, RetrievalSplitData]] = {
        subset: {split: task.dataset[subset][split] for split in splits}  # type: ignore[index]
        for subset in subsets
    }
    for subset, of_subset in loaded.items():
        for data in of_subset.values():
            _check(f"task {name}/{subset}", data)
    return loaded


def _check(where: str, data: RetrievalSplitData) -> None:
    if data["top_ranked"] is not None:
        raise InputError(f"{where}: ranks a given list of documents per query; no format here can hold that list")
    for dataset in (data["corpus"], data["queries"]):
        if getattr(dataset.features.get("text"), "dtype", "") not in ("string", "large_string"):
            raise InputError(f"{where}: its texts are not plain strings; only plain strings are written")
    if "instruction" in data["queries"].column_names:
        raise InputError(
            f"{where}: its queries have instructions beside their text; no format here has a place for them"
        )
