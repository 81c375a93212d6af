"""The checks of the results repository (github.com/embeddings-benchmark/results, tests/), on a folder and offline."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mteb import ResultCache, TaskResult, get_task
from packaging.version import Version

from optical_mteb.mteb_compat import expand_run_settings, oldest_mteb_version, read_run_settings
from optical_mteb.submission.published import COMMIT
from optical_mteb.submission.results_folder import RUN_SETTINGS, Evaluated, main_scores

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

LARGEST_FILE = 10 * 2**20
"""Bytes of a file in a pull request to the repository."""

OLDEST_MTEB = Version("2.14.0")
"""The first version of mteb that writes run settings."""

_META = "model_meta.json"


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "FAILED"
    OPEN = "open"
    """Nothing is wrong, but something is left to do before the pull requests."""


@dataclass(frozen=True)
class SubmissionCheck:
    """One check of a submission; `detail` is why it failed, what is left to do, or what was found where all is well."""

    name: str
    verdict: Verdict
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:<6}  {self.name}{f': {self.detail}' if self.detail else ''}"

    @classmethod
    def of(cls, name: str, problems: Sequence[str], detail: str = "") -> SubmissionCheck:
        """Failed where there are problems, of which the first three are told."""
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        if problems:
            return cls(name, Verdict.FAILED, "; ".join(problems[:3]) + more)
        return cls(name, Verdict.OK, detail)


def check_results(cache: Path, results: Sequence[Evaluated]) -> list[SubmissionCheck]:
    """Check the files `results/<model>/<revision>/*.json` of a cache, and that MTEB reads these results from them."""
    folders = [path for path in sorted(cache.glob("results/*/*")) if path.is_dir()]
    files = [path for folder in folders for path in sorted(folder.glob("*.json")) if path.name != _META]
    return [
        SubmissionCheck.of("folder and model_meta.json agree", _disagreements(folders)),
        SubmissionCheck.of("the revision has the form of a commit", _revisions(folders)),
        SubmissionCheck.of("one revision a task", _revisions_by_task(files)),
        SubmissionCheck.of(
            "files under 10 MB", _large(path for folder in folders for path in sorted(folder.iterdir()))
        ),
        SubmissionCheck.of("file names are task names", _misnamed(files)),
        SubmissionCheck.of(
            f"{RUN_SETTINGS} has every split and subset", [line for path in files for line in _settings(path)]
        ),
        SubmissionCheck.of(
            "no split, subset or language is dropped", [line for path in files for line in _dropped(path)]
        ),
        SubmissionCheck.of("MTEB reads the same scores", _unread(cache, results)),
    ]


def _disagreements(folders: Sequence[Path]) -> list[str]:
    problems = [] if folders else ["there are no results"]
    for folder in folders:
        record = _record(folder)
        name, revision = record.get("name"), record.get("revision")
        if not isinstance(name, str) or "/" not in name:
            problems.append(f"{folder.name}: {_META} has no name with an organisation")
        elif name.replace(" ", "_").replace("/", "__") != folder.parent.name:
            problems.append(f"{folder.parent.name}: {_META} is of {name}")
        if revision != folder.name:
            problems.append(f"{folder.name}: {_META} is of revision {revision}")
    return problems


def _revisions(folders: Sequence[Path]) -> list[str]:
    # A single character is a version of an API.
    return [
        f"{folder.name} is not a commit"
        for folder in folders
        if not re.fullmatch(COMMIT, folder.name) and len(folder.name) != 1
    ]


def _revisions_by_task(files: Sequence[Path]) -> list[str]:
    revisions: Mapping[tuple[str, str], list[str]] = defaultdict(list)
    for path in files:
        revisions[path.parent.parent.name, path.stem].append(path.parent.name)
    return [f"{task}: {', '.join(found)}" for (_, task), found in revisions.items() if len(found) > 1]


def _large(paths: Iterable[Path]) -> list[str]:
    sizes = {path: path.stat().st_size for path in paths}
    return [f"{path.name} has {size / 2**20:.1f} MB" for path, size in sizes.items() if size > LARGEST_FILE]


def _misnamed(files: Sequence[Path]) -> list[str]:
    found = {path: json.loads(path.read_text(encoding="utf-8")).get("task_name") for path in files}
    return [f"{path.name} has results on {task}" for path, task in found.items() if task != path.stem]


def _settings(path: Path) -> list[str]:
    result = TaskResult.from_disk(path)
    settings_path = path.parent / RUN_SETTINGS
    if not settings_path.is_file():
        return [f"{path.stem}: no {RUN_SETTINGS}; evaluate with mteb {OLDEST_MTEB} or newer"]
    versions: dict[tuple[str, str, str], list[object]] = defaultdict(list)
    for entry in read_run_settings(settings_path):
        for key, _, settings in expand_run_settings(entry):
            versions[key].append((settings.get("version") or {}).get("mteb"))
    problems = [f"{path.stem}: evaluated with mteb {result.mteb_version}"] if _is_old(result.mteb_version) else []
    for split, subset in main_scores(result):
        recorded = versions.get((path.stem, split, subset))
        if not recorded:
            problems.append(f"{path.stem}: {split} of {subset} is not in it")
        problems += [
            f"{path.stem}: {split} of {subset} was run with mteb {each}" for each in recorded or () if _is_old(each)
        ]
    return problems


def _is_old(version: object) -> bool:
    oldest = oldest_mteb_version(version) if isinstance(version, str) else None
    return oldest is None or oldest < OLDEST_MTEB


def _dropped(path: Path) -> list[str]:
    result, task = TaskResult.from_disk(path), get_task(path.stem)
    problems = []
    for split, subsets in result.get_missing_evaluations(task).items():
        lacking = sorted(subset for subset in subsets if _has_split(task, subset, split))
        if lacking:
            some = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
            problems.append(f"{path.stem}: {split} lacks {len(lacking)} of {len(task.hf_subsets)} subsets ({some})")
    languages = task.metadata.hf_subsets_to_langscripts
    for split, rows in result.scores.items():
        for row in rows:
            lost = sorted(set(languages.get(row["hf_subset"], ())) - set(row["languages"]))
            if lost:
                problems.append(f"{path.stem}: {split} of {row['hf_subset']} lacks the language {', '.join(lost)}")
    return problems


def _has_split(task: AbsTask, subset: str, split: str) -> bool:
    has_split = getattr(task, "has_split", None)
    return has_split is None or bool(has_split(subset, split))


def _unread(cache: Path, results: Sequence[Evaluated]) -> list[str]:
    read = ResultCache(cache).load_results(include_remote=False).model_results
    found = {each.task_name: main_scores(each) for of in read for each in of.task_results}
    return [
        f"{evaluated.task}: MTEB reads {'other scores' if evaluated.task in found else 'no result'}"
        for evaluated in results
        if found.get(evaluated.task) != main_scores(evaluated.result)
    ]


def _record(folder: Path) -> dict[str, Any]:
    path = folder / _META
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return record if isinstance(record, dict) else {}
