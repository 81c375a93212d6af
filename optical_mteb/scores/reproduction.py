"""Running expectations: their commands in a folder of their own, and what became of every expected score."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from optical_mteb.errors import InputError
from optical_mteb.scores.expected import MODULES, Expectation
from optical_mteb.scores.per_query import Scores, read_scores
from optical_mteb.scores.results import find_results
from optical_mteb.storage import bases_folder, data_folder, local_data

MET = "met"
"""Verdict of a score that is the expected one, of the expected model on the expected data."""

LIBRARIES = ("optical-mteb", "mteb", "sentence-transformers", "transformers", "torch", "babel")
"""Libraries that are recorded with a score."""

_ROUNDING = 1e-9  # Of the difference of two decimals.


@dataclass(frozen=True)
class Finding:
    """What became of one expected score.

    Attributes:
        subset: Subset of the task.
        metric: Name of the score.
        expected: A fraction of 1; None where none is known yet.
        got: The score; None where there is none.
        verdict: `met`, or all that is wrong, in words.
    """

    subset: str
    metric: str
    expected: float | None
    got: float | None
    verdict: str


@dataclass(frozen=True)
class Outcome:
    """What became of an expectation.

    Attributes:
        expectation: As it is in the file.
        findings: One for every expected score; none where the commands failed.
        made: The expectation as this run would have it; None where a score is missing.
        notes: What to know of the run beside the scores, a line each.
    """

    expectation: Expectation
    findings: list[Finding] = field(default_factory=list)
    made: Expectation | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def is_met(self) -> bool:
        """Whether all scores are met."""
        return bool(self.findings) and all(finding.verdict == MET for finding in self.findings)


def check(
    expectations: Sequence[Expectation],
    *,
    run: Callable[[Sequence[str], Path], None] | None = None,
    say: Callable[[str], None] = print,
) -> list[Outcome]:
    """Run expectations; those with the same commands share one run.

    Args:
        expectations: What to run.
        run: Runs commands in a folder; `run_commands` by default.
        say: Told what is run.

    Returns:
        An outcome for each, in their order. A command that fails is an outcome, too.
    """
    runner = run or run_commands
    groups: dict[tuple[str, ...], list[Expectation]] = {}
    for each in expectations:
        groups.setdefault(tuple(each.commands), []).append(each)
    outcomes: dict[str, Outcome] = {}
    for number, (commands, group) in enumerate(groups.items(), start=1):
        names = ", ".join(each.name for each in group)
        say(f"{number} of {len(groups)}: {names}: {'; '.join(commands)}")
        with tempfile.TemporaryDirectory(prefix="optical-mteb-expect-") as folder:
            try:
                runner(commands, Path(folder))
            except InputError as error:
                outcomes.update({each.name: Outcome(each, notes=[f"{each.name}: {error}"]) for each in group})
            else:
                outcomes.update({each.name: _outcome(each, Path(folder)) for each in group})
    return [outcomes[each.name] for each in expectations]


def run_commands(commands: Sequence[str], folder: Path) -> None:
    """Run commands in a folder, where `mteb run` writes its results into `results`.

    Students are trained into a store in that folder, so that nothing of the user's is scored or overwritten; converted
    bases and downloaded data are the user's.

    Args:
        commands: Of `MODULES`, as for a shell.
        folder: An empty folder.

    Raises:
        InputError: A command failed.
    """
    environment = {**os.environ, "OPTICAL_MTEB_HOME": str(_own_store(folder))}
    data = local_data()
    if data is not None:
        environment["OPTICAL_MTEB_DATA"] = str(data.resolve())
    log = folder / "log.txt"
    for command in commands:
        program, *arguments = shlex.split(command)
        with log.open("wb") as file:
            done = subprocess.run(  # noqa: S603 - programs of this package and of mteb alone
                [sys.executable, "-m", MODULES[program], *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise InputError(f"{command}: exit code {done.returncode}: {_last_line(log)}")


def _own_store(folder: Path) -> Path:
    store = folder / "home"
    store.mkdir()
    for shared in (bases_folder(), data_folder()):
        try:
            shared.mkdir(parents=True, exist_ok=True)
        except OSError:
            # A home that cannot be written to has nothing to share.
            continue
        (store / shared.name).symlink_to(shared.resolve())
    return store


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in re.split(r"[\r\n]+", log.read_text(encoding="utf-8", errors="replace"))]
    return next((line[:300] for line in reversed(lines) if line), "it printed nothing")


def _outcome(expectation: Expectation, folder: Path) -> Outcome:
    try:
        scores = _scores(expectation, folder / "results")
    except InputError as error:
        return Outcome(expectation, notes=[f"{expectation.name}: {error}"])
    differing = list(_differing(expectation, scores))
    other = [words for words, _ in differing if words]
    findings = []
    for subset, metrics in expectation.scores.items():
        for metric, expected in metrics.items():
            got = scores.values.get(subset, {}).get(metric)
            findings.append(
                Finding(subset, metric, expected, got, _verdict(expectation.tolerance, expected, got, other))
            )
    as_it_should_be = all(finding.verdict in {MET, "new"} for finding in findings)
    lines = [] if as_it_should_be else [*(line for _, line in differing), *_moved(expectation)]
    return Outcome(
        expectation,
        findings,
        None if any(finding.got is None for finding in findings) else _made(expectation, scores),
        [f"{expectation.name}: {line}" for line in lines],
    )


def _scores(expectation: Expectation, cache: Path) -> Scores:
    folder = cache / "results" / expectation.model.replace("/", "__")
    if not folder.is_dir():
        found = ", ".join(path.name.replace("__", "/", 1) for path in sorted((cache / "results").glob("*"))) or "none"
        raise InputError(f"the commands left no results of {expectation.model}; of {found}")
    results = find_results(str(folder), cache, [expectation.task])
    metrics = list(dict.fromkeys(metric for of_subset in expectation.scores.values() for metric in of_subset))
    return read_scores(results, expectation.task, metrics, split=expectation.split)


def _differing(expectation: Expectation, scores: Scores) -> Iterator[tuple[str, str]]:
    """What the scores are of that the expectation is not of: the verdict, where it counts, and a note."""
    results = scores.results
    if expectation.revision not in (None, results.revision):
        verdict = "" if expectation.trains else "other revision"
        yield verdict, f"expected of revision {expectation.revision}; got of {results.revision}"
    if expectation.data_revision not in (None, scores.data_revision):
        yield "other data", f"expected on data revision {expectation.data_revision}; got on {scores.data_revision}"
    if results.experiment:
        yield "other settings", f"got under settings of their own: {results.settings}"


def _moved(expectation: Expectation) -> Iterator[str]:
    """A line where other versions of libraries are installed."""
    here = _installed()
    moved = [
        f"{library} {there} (here {here.get(library, 'none')})"
        for library, there in expectation.versions.items()
        if here.get(library) != there
    ]
    if moved:
        yield f"expected with {', '.join(moved)}"


def _verdict(tolerance: float, expected: float | None, got: float | None, other: Sequence[str]) -> str:
    if got is None:
        return "no score"
    if expected is None:
        return "new"
    words = [*other, *(["miss"] if abs(got - expected) > tolerance + _ROUNDING else [])]
    return ", ".join(words) or MET


def _made(expectation: Expectation, scores: Scores) -> Expectation:
    changes = {
        "revision": scores.results.revision,
        "data_revision": scores.data_revision,
        "versions": _installed(),
        "scores": {
            subset: {metric: scores.values[subset][metric] for metric in metrics}
            for subset, metrics in expectation.scores.items()
        },
    }
    return expectation.model_copy(update=changes)


def _installed() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found
