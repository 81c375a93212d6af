"""A task of this package as mteb's own code has it: metadata and a class on the stock `AbsTaskRetrieval`, no more."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

_SWITCHES = ("ignore_identical_ids", "skip_first_result")
"""Attributes by which a task changes how rankings are scored."""


def stock_task(
    task: AbsTaskRetrieval,
    dataset: Mapping[str, str],
    subsets: Sequence[str],
    splits: Sequence[str],
    statistics: Path,
) -> type[AbsTaskRetrieval]:
    """A task on the stock class, whose data on the Hub (path, revision) have these subsets, each in all the splits.

    Its descriptive statistics are read from the file `statistics`.
    """
    fields = {name: getattr(task.metadata, name) for name in TaskMetadata.model_fields}
    languages = {subset: task.metadata.hf_subsets_to_langscripts[subset] for subset in subsets}
    fields |= {"dataset": dict(dataset), "eval_langs": languages, "eval_splits": list(splits)}

    class Metadata(TaskMetadata):
        """MTEB's, whose statistics are not in MTEB's package yet."""

        @property
        def descriptive_stat_path(self) -> Path:
            return statistics

    switches = {name: True for name in _SWITCHES if getattr(task, name)}
    return type(task.metadata.name, (AbsTaskRetrieval,), {"metadata": Metadata(**fields), **switches})


def source_path(metadata: TaskMetadata) -> Path:
    """Where mteb's repository has the file of such a task."""
    languages = {tag.partition("-")[0] for tags in metadata.hf_subsets_to_langscripts.values() for tag in tags}
    folder = "multilingual" if len(languages) > 1 else next(iter(languages))
    stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", metadata.name).lower()
    return Path("mteb", "tasks", "retrieval", folder, f"{stem}.py")


def task_source(task: type[AbsTaskRetrieval]) -> str:
    """The file of a task for mteb's repository."""
    about = task.metadata
    lines = []
    for name in ("name", *(name for name in TaskMetadata.model_fields if name not in ("name", "bibtex_citation"))):
        value, field = getattr(about, name), TaskMetadata.model_fields[name]
        if field.is_required() or value != field.default or name == "eval_splits":
            lines.append(f"        {name}={'_EVAL_LANGS' if name == 'eval_langs' else _literal(value)},")
    languages = "\n".join(
        f"    {_literal(subset)}: {_literal(tags)}," for subset, tags in about.hf_subsets_to_langscripts.items()
    )
    switches = "".join(f"    {name} = True\n" for name in _SWITCHES if getattr(task, name))
    return (
        "from mteb.abstasks.retrieval import AbsTaskRetrieval\n"
        "from mteb.abstasks.task_metadata import TaskMetadata\n\n"
        f"_EVAL_LANGS = {{\n{languages}\n}}\n\n\n"
        f"class {about.name}(AbsTaskRetrieval):\n{switches}"
        "    metadata = TaskMetadata(\n" + "\n".join(lines) + f"\n        bibtex_citation={_citation(about)},\n    )\n"
    )


def _citation(about: TaskMetadata) -> str:
    text = about.bibtex_citation
    if not text:
        return _literal(text)
    return f'r"""\n{text.strip()}\n"""' if '"""' not in text else repr(text)


def _literal(value: object) -> str:
    """A Python literal in double quotes, as mteb's formatter has it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_literal, value)) + ")"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return repr(value)
