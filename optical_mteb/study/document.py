"""The document of a study, in Markdown: every number in it comes from the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from optical_mteb.study.analysis import Estimate
from optical_mteb.study.cells import CellRecord
from optical_mteb.study.evaluation import METRICS
from optical_mteb.study.grid import ZERO_SHOT
from optical_mteb.study.jobs import Study
from optical_mteb.study.summary import CHANGING, GROUPS, Contrast, StudySummary

HEADINGS = {"map_at_100": "MAP@100", "ndcg_at_10": "nDCG@10"}


def document(
    study: Study, summary: StudySummary, records: Mapping[str, CellRecord], *, figures: Mapping[str, str], command: str
) -> str:
    """The text.

    Args:
        study: The study.
        summary: What it found.
        records: Trainings that are done, by fingerprint.
        figures: Path of each figure, from the document, by its title.
        command: What makes the study again.
    """
    parts = [
        f"# The study of language pairs: {study.settings.name}",
        (
            "How does retrieval in low-resource languages change as a training has more language pairs? This page is written "
            f"by\n\n    {command}"
        ),
        _design(study, summary, records),
        "## Scores by number of pairs",
        (
            "Scores x 100 with 95% bootstrap intervals over trainings (orders and seeds) and queries, the translations of a "
            "sentence drawn together. Groups of languages that are the same at every number of pairs can be read along a "
            f"row; {' and '.join(repr(group) for group in CHANGING)} have other languages in every column."
        ),
        *_means(study, summary),
        *_section(
            "## What a doubling of the pairs adds",
            "Least-squares slope of the score x 100 per doubling of the pairs; of the groups that change, of the gain on "
            "zero-shot. An interval without 0 is bold.",
            _slopes(study, summary),
        ),
        *_section(
            "## Do high-resource pairs hurt low-resource languages?",
            "Low-resource languages that are trained on, after high-resource pairs joined less before, scores x 100, p of a "
            "paired randomisation test over sentences, corrected by Holm over a table.",
            _interference(summary),
        ),
        *_section(
            "## The approaches, one less another",
            f"At {max(study.settings.pairs)} pairs, scores x 100, Holm's correction over a table. Bold: p < 0.05.",
            _approaches(summary),
        ),
        *([f"## Figures\n\n{_figures(figures)}"] if figures else []),
    ]
    return "\n\n".join(parts) + "\n"


def _design(study: Study, summary: StudySummary, records: Mapping[str, CellRecord]) -> str:
    settings = study.settings
    jobs = [job for job in study.jobs.values() if job.fingerprint in records]
    recipe = next((job.recipe for job in study.jobs.values() if job.training.languages), None)
    trained = [records[job.fingerprint] for job in jobs if job.training.languages]
    lines = [
        "## Design",
        f"- {summary.done} of {summary.trainings} trainings are done.",
        f"- Recipe `{settings.recipe}`"
        + (f", student from `{recipe.student.base}`, teacher `{recipe.teacher.base}`" if recipe else "")
        + f"; seeds {', '.join(map(str, settings.seeds))}; pairs {', '.join(map(str, settings.pairs))}.",
        *(f"- Order `{name}`: {' '.join(order)}." for name, order in study.orders.items()),
        f"- High-resource: {' '.join(settings.high_resource) or 'none'}; the others of an order are low-resource.",
        *(
            f"- Budget `{budget}`: {steps} steps{' for every pair' if budget == 'per_pair' else ''}"
            f"{f' of {recipe.training.batch_size} examples' if recipe else ''}."
            for budget, steps in settings.budgets.items()
        ),
        *(
            f"- Approach `{name}`: {'nothing is trained' if name == ZERO_SHOT else _overrides(overrides)}."
            for name, overrides in settings.approaches.items()
        ),
        *(
            f"- `{task.name}`{f' ({task.split})' if task.split else ''}: {', '.join(task.subsets)}"
            + (f"; {task.queries} queries each" if task.queries else "")
            + (f"; {task.documents} documents" if task.documents else "")
            + "."
            for task in settings.tasks
        ),
    ]
    if len(settings.seeds) * len(study.orders) == 1:
        lines.append("- One order and one seed: the intervals below are over queries alone.")
    if trained:
        pairs, tokens, seconds = (
            sum(each.figures.get(key, 0) for each in trained) for key in ("pairs", "tokens", "seconds")
        )
        scoring = sum(records[job.fingerprint].evaluation_seconds for job in jobs)
        lines.append(
            f"- Cost: {pairs:,.0f} examples, {tokens:,.0f} tokens, {seconds / 60:.0f} min of training, "
            f"{scoring / 60:.0f} min of scoring."
        )
        versions = {(each.precision, tuple(sorted(each.versions.items()))) for each in records.values()}
        lines.append(
            "- Made in "
            + "; in ".join(
                f"{precision} with {', '.join(f'{k} {v}' for k, v in libraries)}"
                for precision, libraries in sorted(versions)
            )
            + "."
        )
    return lines[0] + "\n\n" + "\n".join(lines[1:])


def _overrides(overrides: Sequence[str]) -> str:
    return ", ".join(f"`{each}`" for each in overrides) or "the recipe as it is"


def _section(heading: str, what: str, tables: Iterable[str]) -> list[str]:
    """A section, or nothing where it has no table."""
    found = list(tables)
    return [heading, what, *found] if found else []


def _means(study: Study, summary: StudySummary) -> Iterator[str]:
    pairs = sorted(study.settings.pairs)
    found = {(m.metric, m.budget, m.group, m.approach, m.pairs): m.estimate for m in summary.means}
    for metric in METRICS:
        for budget in study.settings.budgets:
            for group in GROUPS:
                rows = []
                for approach in study.settings.approaches:
                    estimates = [found.get((metric, budget, group, approach, number)) for number in pairs]
                    if any(estimates):
                        rows.append([approach, *(interval(each) if each else "" for each in estimates)])
                if rows:
                    yield f"**{HEADINGS[metric]}, {group}**, budget `{budget}`"
                    yield table(
                        ["approach", *(f"{number} {'pair' if number == 1 else 'pairs'}" for number in pairs)], rows
                    )


def _slopes(study: Study, summary: StudySummary) -> Iterator[str]:
    for metric in METRICS:
        for budget in study.settings.budgets:
            found = {
                (s.group, s.approach): s.estimate for s in summary.slopes if (s.metric, s.budget) == (metric, budget)
            }
            approaches = list(dict.fromkeys(approach for _, approach in found))
            rows = [
                [group, *(_signed(found[group, name]) if (group, name) in found else "" for name in approaches)]
                for group in GROUPS
                if any((group, name) in found for name in approaches)
            ]
            if rows:
                yield f"**{HEADINGS[metric]}**, budget `{budget}`"
                yield table(["group", *approaches], rows)


def _interference(summary: StudySummary) -> Iterator[str]:
    if not summary.interference:
        return
    for metric in METRICS:
        yield f"**{HEADINGS[metric]}**"
        yield _contrasts([each for each in summary.interference if each.metric == metric], "language")


def _approaches(summary: StudySummary) -> Iterator[str]:
    for metric in METRICS:
        contrasts = [each for each in summary.approaches if each.metric == metric]
        if contrasts:
            yield f"**{HEADINGS[metric]}**"
            yield _contrasts(contrasts, "group")


def _contrasts(contrasts: Sequence[Contrast], heading: str) -> str:
    """A row for what is set against what, a column a group or language."""
    groups = list(dict.fromkeys(each.group for each in contrasts))
    found = {(each.approach, each.budget, each.what, each.group): each.difference for each in contrasts}
    rows = []
    for approach, budget, what in dict.fromkeys(key[:3] for key in found):
        cells = []
        for group in groups:
            difference = found.get((approach, budget, what, group))
            shown = "" if difference is None else f"{100 * difference.estimate.value:+.1f} (p {difference.p:.3f})"
            cells.append(f"**{shown}**" if difference is not None and difference.p < 0.05 else shown)
        rows.append([approach, f"`{budget}`", what, *cells])
    return table(["approach", "budget", f"what / {heading}", *groups], rows)


def interval(estimate: Estimate) -> str:
    """A score x 100 and its interval."""
    return f"{100 * estimate.value:.1f} [{100 * estimate.low:.1f}, {100 * estimate.high:.1f}]"


def _signed(estimate: Estimate) -> str:
    shown = f"{100 * estimate.value:+.2f} [{100 * estimate.low:+.2f}, {100 * estimate.high:+.2f}]"
    return f"**{shown}**" if estimate.low > 0 or estimate.high < 0 else shown


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    line: Callable[[Sequence[str]], str] = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
    return "\n".join([line(headings), line(["---"] * len(headings)), *(line(row) for row in rows)])


def _figures(figures: Mapping[str, str]) -> str:
    return "\n\n".join(f"![{title}]({path})" for title, path in figures.items())
