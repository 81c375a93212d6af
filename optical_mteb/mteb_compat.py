"""Names that mteb, transformers and ir_datasets keep to themselves, each behind a function that says what it is for.

No other module uses such a name. A release that no longer has one ends in one line that names the release and the name.
All of it is imported inside the functions: importing mteb registers this package, which must be whole by then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from mteb import TaskResult
    from mteb.abstasks import AbsTask
    from mteb.models.model_meta import ModelMeta
    from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper
    from mteb.types import Array, BatchedInput
    from torch.utils.data import DataLoader
    from transformers import TrainingArguments


def mteb_version() -> str:
    """The release of mteb, whether it was installed as `mteb` or as `mteb-core`."""
    return str(import_module("mteb").__version__)


def task_registry() -> dict[str, type[AbsTask]]:
    """Mteb's tasks by name; what is put there is found by `mteb.get_task`."""
    registry: dict[str, type[AbsTask]] = _private("mteb.get_tasks", "_TASKS_REGISTRY", "to look up tasks")
    return registry


def set_task_list(change: Callable[[tuple[type[AbsTask], ...]], tuple[type[AbsTask], ...]]) -> None:
    """Replace the tasks that mteb lists and filters by `change` of those that it has."""
    # The package's attribute of that name is the function.
    module = import_module("mteb.get_tasks")
    vars(module)["TASK_LIST"] = change(_private("mteb.get_tasks", "TASK_LIST", "to add tasks"))


def model_registry() -> dict[str, ModelMeta]:
    """Mteb's models by name."""
    registry: dict[str, ModelMeta] = _private(
        "mteb.models.model_implementations", "MODEL_REGISTRY", "to look up models"
    )
    return registry


def model_renames() -> dict[str, str]:
    """Names by which mteb finds a model under another name: a second registry key would list it twice."""
    renames: dict[str, str] = _private("mteb.models.get_model_meta", "_MODEL_RENAMES", "to find models by short names")
    return renames


def forget_benchmarks() -> None:
    """Have mteb collect its benchmarks anew when it is next asked for one."""
    for name in ("_build_registry", "_build_aliases_registry"):
        _private("mteb.benchmarks.get_benchmark", f"{name}.cache_clear", "to add benchmarks")()


def wrap_requires_merge(
    wrap: Callable[[Callable[[AbsTask, TaskResult], bool]], Callable[[AbsTask, TaskResult], bool]],
) -> None:
    """Put `wrap` around what tells mteb whether a complete result in its cache is to be scored anew; once."""
    module, name = "mteb.evaluate", "_requires_merge"
    current = _private(module, name, "to score collections that have changed anew")
    if not hasattr(current, "_optical_mteb"):
        wrapped = wrap(current)
        wrapped._optical_mteb = current  # type: ignore[attr-defined]
        vars(import_module(module))[name] = wrapped


def token_embeddings(
    wrapper: MultiVectorWrapper,
    inputs: DataLoader[BatchedInput],
    **kwargs: Any,  # noqa: ANN401 - as mteb's
) -> Array:
    """What a late-interaction model gives for texts, as mteb's own search has them; its wrapper has no public `encode`."""
    module = "mteb.models.sentence_transformer_wrapper"
    _private(module, "MultiVectorWrapper._encode", "to encode by token")
    return wrapper._encode(inputs, **kwargs)


def read_run_settings(path: Path) -> list[dict[str, Any]]:
    """The entries of a `run_settings.jsonl`, which mteb writes beside results."""
    read = _private("mteb.results.task_result", "_read_run_settings_from_file", "to read the settings of a run")
    entries: list[dict[str, Any]] = read(path)
    return entries


def expand_run_settings(entry: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What one entry of a `run_settings.jsonl` stands for: key, place and settings of each result."""
    expand = _private("mteb.results.task_result", "_expand_run_settings_entry", "to check the settings of a run")
    return list(expand(entry))


def merge_run_settings(path: Path, settings: Any) -> None:  # noqa: ANN401 - as mteb has them
    """Write entries into a `run_settings.jsonl` as mteb does, beside those that are there."""
    _private("mteb.results.task_result", "_write_and_merge_keyed_json", "to write the settings of a run")(
        path, settings
    )


def oldest_mteb_version(versions: str) -> Any:  # noqa: ANN401 - a Version or nothing
    """The oldest of the versions that a result says it was made with, as mteb's own check reads it."""
    return _private("mteb.results.task_result", "TaskResult._parse_mteb_version_min", "to check results")(versions)


def pull_request_body(meta: ModelMeta, paths: list[Path]) -> str:
    """The text of a pull request of results, as mteb writes it."""
    prepare = _private("mteb.cache.result_cache", "_prepare_pr_body", "to describe a pull request")
    return str(prepare([meta], {meta: paths}))


def check_pull_request_tools() -> None:
    """Mteb's own check that git and GitHub's command are there and logged in."""
    _private("mteb._reversible_workflow.git_utils", "check_pr_requirements", "to open a pull request")()


def hub_commit(config: object) -> str | None:
    """The commit of the Hub that transformers loaded a configuration from, or None where it was none."""
    commit = getattr(config, "_commit_hash", None)
    return commit if isinstance(commit, str) else None


def loaded_from(config: object) -> str:
    """The folder or Hub id that transformers loaded a configuration from; empty where it was built in memory."""
    return str(getattr(config, "_name_or_path", "") or "")


def use_one_gpu(arguments: TrainingArguments) -> None:
    """Keep transformers' Trainer from torch's DataParallel, which splits a batch and with it its contrast."""
    if not hasattr(arguments, "_n_gpu"):
        raise _missing("transformers", "TrainingArguments._n_gpu", "to train on one of several GPUs")
    arguments._n_gpu = min(arguments.n_gpu, 1)


def download_place(download: Any) -> Path | None:  # noqa: ANN401 - a class without types
    """Where ir_datasets keeps a download, if it has a place for it; there is no public way to ask."""
    if not hasattr(download, "_cache_path"):
        raise _missing("ir_datasets", f"{type(download).__name__}._cache_path", "to find downloads")
    return Path(download._cache_path) if download._cache_path else None


def _private(module: str, name: str, purpose: str) -> Any:  # noqa: ANN401 - whatever has that name
    """What has a dotted name in a module of another library.

    Raises:
        InputError: The installed release has none.
    """
    try:
        return reduce(getattr, name.split("."), import_module(module))
    except (ImportError, AttributeError) as error:
        raise _missing(module.partition(".")[0], f"{module}.{name}", purpose) from error


def _missing(library: str, name: str, purpose: str) -> InputError:
    release = mteb_version() if library == "mteb" else version(library)
    return InputError(
        f"{library} {release} has no {name}, which optical-mteb needs {purpose}; "
        "install the release that constraints.txt names"
    )
