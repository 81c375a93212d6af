"""What the bitext of a recipe shares with the tasks that its student may be scored on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from optical_mteb.bitext import ParallelCorpus
from optical_mteb.bitext.overlap import Sides
from optical_mteb.collection.published_data import without_downloads
from optical_mteb.errors import InputError
from optical_mteb.students.sidecar import OverlapRecord
from optical_mteb.training.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset

    from optical_mteb.collection.task import CollectionRetrieval

MOST_DOCUMENTS = 500_000
"""A larger collection is not read: it takes longer than a training should wait."""


def leave_out_overlaps(
    recipe: Recipe, corpus: ParallelCorpus, tasks: Sequence[CollectionRetrieval], *, say: Callable[[str], None] = print
) -> tuple[ParallelCorpus, list[OverlapRecord]]:
    """Leave out the pairs that a task has, too, unless the recipe names the task in `mteb_tasks`.

    Tasks are compared as far as their data is on this machine.

    Returns:
        The pairs that are left, with the report of all, and the counts by task.

    Raises:
        InputError: A language has no pair left.
    """
    sides = Sides(corpus)
    found: dict[str, set[int]] = {}
    absent = []
    for task in tasks:
        texts = _texts_at_hand(task, corpus.languages)
        if texts is None:
            absent.append(task.metadata.name)
        else:
            found[task.metadata.name] = sides.shared_with(texts)
    records = [
        OverlapRecord(task=name, pairs=len(shared), kept=bool(shared) and name in recipe.tasks_read)
        for name, shared in sorted(found.items())
    ]
    dropped = {number for each in records if not each.kept for number in found[each.task]}
    for line in _lines(records, sorted(absent), recipe):
        say(line)
    if not dropped:
        return corpus, records
    left = ParallelCorpus([pair for number, pair in enumerate(corpus) if number not in dropped], corpus.report)
    for language, pairs in corpus.counts.items():
        if language not in left.counts:
            own = {
                name: sum(corpus[number].language == language for number in shared) for name, shared in found.items()
            }
            named = ", ".join(f"{each.task} {own[each.task]:,}" for each in records if not each.kept and own[each.task])
            raise InputError(
                f"{language}: tasks have each of the {pairs:,} pairs, too ({named}); add other bitext of that language, or name "
                "in mteb_tasks what the student may have read"
            )
    say(f"left to train on: {len(left):,} of {len(corpus):,} pairs")
    return left, records


def _lines(records: Sequence[OverlapRecord], absent: Sequence[str], recipe: Recipe) -> list[str]:
    lines = [
        f"overlap with test data: {each.task} has {each.pairs:,} of the pairs, too: "
        + ("kept, as mteb_tasks names it" if each.kept else "left out; to keep them, name the task in mteb_tasks")
        for each in records
        if each.pairs
    ]
    none = [
        each.task + (" (though mteb_tasks names it)" if each.task in recipe.mteb_tasks else "")
        for each in records
        if not each.pairs
    ]
    if none:
        lines.append(f"no overlap with test data: {', '.join(none)}")
    if absent:
        tasks = "1 task" if len(absent) == 1 else f"{len(absent)} tasks"
        lines.append(f"overlap not checked for {tasks}: their data is not here, or too large")
    return lines


def _texts_at_hand(task: CollectionRetrieval, languages: Collection[str]) -> set[str] | None:
    """Queries and documents of a task, as far as they are here; None where nothing is.

    Subsets with one of the languages are read, and those that are run by default.
    """
    texts: set[str] = set()
    wanted = [name for name in task.metadata.hf_subsets if not set(name.split("-")).isdisjoint(languages)]
    for subset in dict.fromkeys([*wanted, *(task.default_subsets or task.metadata.hf_subsets)]):
        for split in task.metadata.eval_splits:
            if not task.has_split(subset, split):
                continue
            try:
                with without_downloads():
                    data = task.load_split(subset, split)
            except InputError:
                continue
            if len(data["corpus"]) > MOST_DOCUMENTS:
                return None
            texts.update(_texts(data["queries"]), _texts(data["corpus"]))
    return texts or None


def _texts(table: Dataset) -> Iterator[str]:
    for column in ("title", "text"):
        if column in table.column_names:
            yield from (text for text in table[column][:] if isinstance(text, str) and text)
