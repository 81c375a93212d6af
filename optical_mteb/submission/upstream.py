"""A task as a pull request to mteb needs it: data for the Hub, the task's file, descriptive statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import HfApi

from optical_mteb.collection.task import CollectionRetrieval
from optical_mteb.collection.text_retrieval import chosen_of, load_subsets, text_retrieval_task
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder
from optical_mteb.submission.push import why_no_upload
from optical_mteb.submission.task_data import CARD, data_card, write_hub_data
from optical_mteb.submission.task_source import source_path, stock_task, task_source

if TYPE_CHECKING:
    from mteb.abstasks.retrieval import AbsTaskRetrieval

HUB = "hub"
NOT_UPLOADED = "main"
"""Revision of data that no commit on the Hub names yet."""


@dataclass(frozen=True)
class Upstream:
    """What was written.

    Attributes:
        folder: Has `hub/`, the data set's repository, and `mteb/`, files where mteb's repository has them.
        task: The task on the stock class.
        source: The task's file.
        hub_id: `owner/name` of the data set on the Hub; None where none is chosen yet.
    """

    folder: Path
    task: type[AbsTaskRetrieval]
    source: Path
    hub_id: str | None


def write_upstream(
    name: str,
    output: Path,
    *,
    hub_id: str | None = None,
    subsets: Sequence[str] = (),
    splits: Sequence[str] = (),
) -> Upstream:
    """Write a task of this package, or of the user's own, for mteb's repository and the Hub.

    Args:
        name: Name of the task.
        output: Folder to write; what an earlier call wrote there is replaced.
        hub_id: `owner/name` of the data set on the Hub; `mteb/<name>` by default.
        subsets: Those to write; those that `mteb run` runs by default.
        splits: Those to write, likewise. Every subset must have each of them, as MTEB's stock loader asks.

    Raises:
        InputError: There is no such task, subset or split; it is MTEB's already; a subset lacks a split; its data cannot
            be had; or the folder holds something else.
    """
    task = text_retrieval_task(name)
    if not isinstance(task, CollectionRetrieval):
        raise InputError(f"task {name}: is in mteb already")
    chosen, wanted = chosen_of(task, subsets, splits)
    for subset, split in ((subset, split) for split in wanted for subset in chosen):
        if not task.has_split(subset, split):
            raise InputError(
                f"task {name}: {subset} has no split {split!r}, and mteb's stock loader asks every subset for every "
                "split; choose others by --subset and --split"
            )
    if hub_id is not None and hub_id.count("/") != 1:
        raise InputError(f"--hub-id {hub_id}: expected OWNER/NAME, a data set on the Hub")
    if output.exists() and not (output / HUB / CARD).is_file():
        raise InputError(f"{output}: holds something else than a task for mteb; choose another --output")
    data = load_subsets(name, chosen, wanted)
    with atomic_folder(output) as folder:
        statistics = Path("mteb", "descriptive_stats", str(task.metadata.type), f"{name}.json")
        dataset = {"path": hub_id or f"mteb/{name}", "revision": NOT_UPLOADED}
        stock = stock_task(task, dataset, chosen, wanted, folder / statistics)
        counted = stock()
        counted.dataset, counted.data_loaded = data, True
        counted.calculate_descriptive_statistics(overwrite_results=True)
        configurations = write_hub_data(data, folder / HUB)
        card = data_card(stock.metadata, configurations, _origin(task))
        (folder / HUB / CARD).write_text(card, encoding="utf-8")
        source = folder / source_path(stock.metadata)
        source.parent.mkdir(parents=True)
        source.write_text(task_source(stock), encoding="utf-8")
        written = source.relative_to(folder)
    return Upstream(output, stock, output / written, hub_id)


def push_upstream(written: Upstream, *, say: Callable[[str], None]) -> None:
    """Upload the data by huggingface_hub, and put the commit into the task's file; or say what would be done.

    Data of no license that the Hub knows are never uploaded: whether they may be is for a person to read.
    """
    about, folder = written.task.metadata, written.folder / HUB
    name = written.hub_id or about.dataset["path"]
    reason = why_no_upload(written.hub_id)
    if not about.license or about.license == "not specified" or about.license.startswith("http"):
        reason = f"read first whether its license allows it: {about.license or 'none is known'}; then upload it by hand"
    if reason:
        say(f"would upload {folder} to https://huggingface.co/datasets/{name} ({reason})")
        return
    api = HfApi()
    api.create_repo(name, repo_type="dataset", exist_ok=True)
    commit = api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder, commit_message="Add the data").oid
    about.dataset["revision"] = commit
    written.source.write_text(task_source(written.task), encoding="utf-8")
    say(f"uploaded {folder} to https://huggingface.co/datasets/{name}, commit {commit}")


def next_steps(written: Upstream) -> list[str]:
    """What is left to do for the pull request, a line each."""
    about = written.task.metadata
    path = source_path(about)
    lines = [
        f"copy {written.folder / 'mteb'} into a clone of https://github.com/embeddings-benchmark/mteb",
        f"add to {path.parent / '__init__.py'}: from .{path.stem} import {about.name}",
    ]
    if about.dataset["revision"] == NOT_UPLOADED:
        lines.insert(0, f"upload {written.folder / HUB}, and put its commit into {written.source} as the revision")
    return lines


def _origin(task: AbsTaskRetrieval) -> str:
    about = task.metadata
    path = about.dataset["path"]
    # A folder on this machine is nobody else's business.
    where = "" if Path(path).is_absolute() else f"`{path}` at revision `{about.dataset['revision']}`"
    return ", ".join(part for part in (about.reference, where) if part) or "not published elsewhere"
