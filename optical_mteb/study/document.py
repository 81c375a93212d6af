"""The document of a study, in Markdown: a page for all readers, then its tables. All numbers are the summary's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from optical_mteb.study.analysis import Difference
from optical_mteb.study.cells import CellRecord
from optical_mteb.study.contrasts import Contrast
from optical_mteb.study.grid import ZERO_SHOT
from optical_mteb.study.jobs import Study
from optical_mteb.study.markdown import Cells, bold_if_not_zero, crossed, interval, shown_p, signed, table
from optical_mteb.study.page import SIGNIFICANT, page
from optical_mteb.study.replicates import CHANGING, GROUPS, NAME
from optical_mteb.study.saturation import FORMS, Fit
from optical_mteb.study.summary import Mean, Slope, StudySummary


def document(
    study: Study, summary: StudySummary, records: Mapping[str, CellRecord], *, figures: Mapping[str, str], command: str
) -> str:
    """The text, with the records by fingerprint, figures by title as in `page`, and the command that makes the study."""
    parts = [
        f"# The study `{study.settings.name}`",
        (
            f"This document is written by\n\n    {command}\n\nIt begins with a page that needs no knowledge of the code. The "
            "tables behind it follow."
        ),
        *page(study, summary, figures),
        _design(study, summary, records),
        "## Scores by number of pairs",
        (
            f"{NAME} x 100 with 95% bootstrap intervals over trainings (orders and seeds) and queries, the translations of a "
            "sentence drawn together. Groups of languages that are the same at every number of pairs can be read along a "
            f"row; {' and '.join(repr(group) for group in CHANGING)} have other languages in every column."
        ),
        *_means(study, summary.means, GROUPS),
        *_section(
            "## What a doubling of the pairs adds",
            "Least-squares slope of the score x 100 per doubling of the pairs; of the groups that change, of the gain on "
            "zero-shot. An interval without 0 is bold.",
            _slopes(study, summary.slopes),
        ),
        *_section(
            "## Where it ends",
            "The curves of means, or gains, against the number of pairs, as three forms. The error is that in predicting each "
            "number of pairs but the first and the last from the others, in points; the share is that of the resamples in "
            "which a form predicts best. Bold: the form of the smallest error.",
            _forms(summary),
        ),
        *_section(
            "## Languages never trained on, by family and script",
            "Families are Glottolog's, scripts have their ISO 15924 codes. Scores x 100 as above.",
            [*_means(study, summary.breakdown, list(dict.fromkeys(each.group for each in summary.breakdown)))],
        ),
        *_section(
            "## Does a related language help?",
            "What it adds to the gain of a language that is not trained on that the training has another one of its family "
            "or script, x 100. Compared are orders at the same number of pairs, beside a mean for every language and one for "
            "every training. The interval is over languages; p is of a permutation test, which exchanges the orders.",
            _related(summary),
        ),
        *_section(
            "## What other batches add",
            "Each approach that differs from the recipe in its batches alone, less the recipe, scores x 100, on the orders "
            "and seeds that both have. At equal tokens, the recipe's scores are moved by what its two budgets say that more "
            "tokens are worth. Bold: p < 0.05 after Holm's correction over all of them.",
            _added(summary),
        ),
        *_section(
            "## Do other batches change what a doubling adds?",
            "The slope of the difference to the recipe as it is, x 100 per doubling. An interval without 0 is bold.",
            _slopes(study, summary.steeper),
        ),
        *_section(
            "## Do high-resource pairs hurt low-resource languages?",
            "Low-resource languages that are trained on, after high-resource pairs joined less before, scores x 100, p of a "
            "paired randomisation test over sentences, corrected by Holm over a table.",
            _contrasts(summary.interference, "language"),
        ),
        *_section(
            "## The approaches, one less another",
            f"At {max(study.settings.pairs)} pairs, on the orders and seeds that both have, scores x 100, Holm's correction over a "
            "table. Bold: p < 0.05.",
            _contrasts(summary.approaches, "group"),
        ),
        *(["## Figures", *(f"![{title}]({path})" for title, path in figures.items())] if figures else []),
    ]
    return "\n\n".join(parts) + "\n"


def _design(study: Study, summary: StudySummary, records: Mapping[str, CellRecord]) -> str:
    settings = study.settings
    jobs = [job for job in study.jobs.values() if job.fingerprint in records]
    recipe = next((job.recipe for job in study.jobs.values() if job.training.languages), None)
    trained = [records[job.fingerprint] for job in jobs if job.training.languages]
    lines = [
        "## All settings",
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
            f"- Part of the grid: {'; '.join(f'{key} {_all(values)}' for key, values in part.items())}."
            for part in (each.model_dump(exclude_none=True) for each in settings.cells)
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


def _all(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _overrides(overrides: Sequence[str]) -> str:
    return ", ".join(f"`{each}`" for each in overrides) or "the recipe as it is"


def _section(heading: str, what: str, tables: Iterable[str]) -> list[str]:
    """A section, or nothing where it has no table."""
    found = list(tables)
    return [heading, what, *found] if found else []


def _means(study: Study, means: Sequence[Mean], groups: Sequence[str]) -> Iterator[str]:
    found = {(m.budget, m.group, m.approach, m.pairs): m.estimate for m in means}
    columns = {number: f"{number} {'pair' if number == 1 else 'pairs'}" for number in sorted(study.settings.pairs)}
    for budget in study.settings.budgets:
        cells: Cells = {
            ((group, approach), heading): interval(found[budget, group, approach, number])
            for group, approach in product(groups, study.settings.approaches)
            for number, heading in columns.items()
            if (budget, group, approach, number) in found
        }
        if cells:
            yield f"Budget `{budget}`:"
            yield crossed(["queries in", "approach"], cells, list(columns.values()))


def _slopes(study: Study, slopes: Sequence[Slope]) -> Iterator[str]:
    for budget in study.settings.budgets:
        cells: Cells = {((s.group,), s.approach): bold_if_not_zero(s.estimate) for s in slopes if s.budget == budget}
        if cells:
            yield f"Budget `{budget}`:"
            yield crossed(["group"], cells)


def _forms(summary: StudySummary) -> Iterator[str]:
    rows = []
    for each in summary.slopes:
        if not each.fits:
            continue
        fits = {fit.form: fit for fit in each.fits}
        rows.append(
            [each.group, each.approach, f"`{each.budget}`", *(_form(fits[form], each.fits[0]) for form in FORMS)]
        )
    if rows:
        yield table(["group", "approach", "budget", "straight", "broken: error, pairs", "power: error, exponent"], rows)


def _form(fit: Fit, best: Fit) -> str:
    at = fit.parameter
    digits = 0 if fit.form == "broken" else 2
    parameter = "" if at is None else f"; {at.value:.{digits}f} [{at.low:.{digits}f}, {at.high:.{digits}f}]"
    shown = f"{100 * fit.error:.2f} ({fit.chosen:.0%}){parameter}"
    return f"**{shown}**" if fit is best else shown


def _related(summary: StudySummary) -> Iterator[str]:
    rows = [
        [
            each.relation,
            each.approach,
            f"`{each.budget}`",
            signed(each.effect.estimate),
            shown_p(each.effect.p),
            f"{each.effect.comparisons:,}",
        ]
        for each in summary.related
    ]
    if rows:
        yield table(["related by", "approach", "budget", "effect", "p", "languages in trainings"], rows)


def _added(summary: StudySummary) -> Iterator[str]:
    cells: Cells = {
        ((e.approach, f"`{e.budget}`", e.equal, str(e.pairs), f"{e.tokens:.2f}"), e.group): _difference(e.difference)
        for e in summary.added
    }
    if cells:
        yield crossed(["approach", "budget", "equal", "pairs", "tokens by the recipe's"], cells)


def _difference(difference: Difference) -> str:
    shown = f"{100 * difference.estimate.value:+.1f} ({shown_p(difference.p)})"
    return f"**{shown}**" if difference.p < SIGNIFICANT else shown


def _contrasts(contrasts: Sequence[Contrast], heading: str) -> Iterator[str]:
    """A row for what is set against what, a column a group or language; nothing where there is none."""
    cells: Cells = {((e.approach, f"`{e.budget}`", e.what), e.group): _difference(e.difference) for e in contrasts}
    if cells:
        yield crossed(["approach", "budget", f"what / {heading}"], cells)
