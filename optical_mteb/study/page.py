"""The first part of a study's document: a page for readers who know nothing of the code; its numbers are the summary's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from optical_mteb.languages import find_language
from optical_mteb.study.analysis import Difference
from optical_mteb.study.contrasts import Added
from optical_mteb.study.grid import ZERO_SHOT
from optical_mteb.study.jobs import Study
from optical_mteb.study.markdown import bold_if_not_zero, listed, shown_p, signed, table
from optical_mteb.study.replicates import GROUPS, LOW, LOW_TRAINED, MEASURE, NAME
from optical_mteb.study.summary import AIM, Slope, StudySummary
from optical_mteb.study.table import language_of

SIGNIFICANT = 0.05

_QUESTION = (
    "A retrieval model finds documents for a query. One that is good in English can be taught other languages from "
    "translated sentences alone. A *language pair* is English and one other language with such sentences. Low-resource "
    "languages have few of them. Does a low-resource language gain if a training has more language pairs? Does one gain "
    "that the training does not have? And what do *hybrid* batches add, which mix English alone, translations, and pairs "
    "of two other languages?"
)


def page(study: Study, summary: StudySummary, figures: Mapping[str, str]) -> list[str]:
    """The page, in paragraphs.

    Args:
        study: The study.
        summary: What it found.
        figures: Path of each figure, from the document, by its title.
    """
    return [
        "## The question",
        _QUESTION,
        "## The design",
        "\n".join(f"- {line}" for line in _design(study, summary)),
        *([f"## {_count(len(chosen), 'figure')}", *chosen] if (chosen := _figures(study, figures)) else []),
        "## The answer",
        *(f"- {line}" if not line.startswith("|") else line for line in _answer(study, summary)),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(study, summary)),
    ]


def _design(study: Study, summary: StudySummary) -> Iterator[str]:
    settings = study.settings
    recipe = next((job.recipe for job in study.jobs.values() if job.training.languages), None)
    languages = next(iter(study.orders.values()))
    low = [name for name in languages if name not in settings.high_resource]
    asked = {language_of(subset) for task in settings.tasks for subset in task.subsets} - {"eng"}
    never = sorted(asked - set(languages))
    if recipe is not None:
        yield (
            f"All trainings start from the same model, `{recipe.student.base}`, and differ in their languages, batches, "
            "steps and seeds."
        )
    yield (
        f"Trainings have {listed([str(number) for number in settings.pairs])} of {len(languages)} language pairs. "
        f"{len(low)} of these languages are low-resource: {_named(low)}."
    )
    yield (
        f"Languages join in {_count(len(study.orders), 'order')}: {listed([f'`{name}`' for name in study.orders])}. A "
        "training with a number of pairs has the first languages of its order."
    )
    whole = len(study.orders) * len(settings.pairs) * len(settings.approaches)
    whole *= len(settings.budgets) * len(settings.seeds)
    if len(study.cells) < whole:
        yield f"{len(study.cells)} of {whole} combinations are run, those that the comparisons below need."
    for budget, steps in settings.budgets.items():
        each = " for every pair" if budget == "per_pair" else " in all, however many pairs there are"
        yield f"Budget `{budget}`: {_count(steps, 'step')}{each}."
    for name in settings.approaches:
        yield f"`{name}`: {_approach(study, name)}."
    yield (
        f"All students answer the same queries, in {_count(len(asked), 'language')} besides English. "
        f"{f'No training has {len(never)} of them' if never else 'All of them are in the orders'}. Documents are in English."
    )
    yield (
        f"The score is {NAME} x 100, called points below. It is 100 if what a query asks for always comes "
        "first. Brackets hold 95% intervals, over orders, seeds and queries. *Measurable* is a difference whose interval is "
        f"without 0, and whose p-value, over queries, is below {SIGNIFICANT}."
    )
    yield f"{summary.done} of {summary.trainings} trainings are done."


def _approach(study: Study, name: str) -> str:
    if name == ZERO_SHOT:
        return "the model as it is, nothing is trained"
    overrides = study.settings.approaches[name]
    recipe = next(
        (
            job.recipe
            for training, job in sorted(study.jobs.items(), key=lambda item: -len(item[0].languages))
            if training.approach == name
        ),
        None,
    )
    terms = [key for key, term in (recipe.objective.model_dump() if recipe else {}).items() if term]
    if recipe is None or not all(each.startswith("batches.") for each in overrides):
        return f"the objective {listed([f'`{term}`' for term in terms])}" if terms else "another training"
    shares = {
        "English alone": recipe.batches.monolingual,
        "translations": recipe.batches.cross_lingual,
        "pairs of two other languages": recipe.batches.multilingual,
    }
    whole = sum(shares.values())
    mixed = listed([f"{share / whole:.0%} {what}" for what, share in shares.items() if share])
    return f"the objective {listed([f'`{term}`' for term in terms])}; a batch is {mixed}"


def _figures(study: Study, figures: Mapping[str, str]) -> list[str]:
    """The curves, the slopes and what batches add, of the first budget; as many as were drawn."""
    budget = next(iter(study.settings.budgets))
    stems = [f"{MEASURE}-{budget}", f"slope-{budget}", f"added-{budget}"]
    return [
        f"![{title}]({path})\n\n*{title}.*"
        for stem in stems
        for title, path in figures.items()
        if path.rpartition("/")[2] == f"{stem}.svg"
    ]


def _answer(study: Study, summary: StudySummary) -> Iterator[str]:
    slopes = summary.slopes
    if not slopes:
        yield "No two numbers of pairs are done, so nothing can be said about more of them."
        return
    first, *others = [name for name in study.settings.budgets if any(each.budget == name for each in slopes)]
    yield from _more_pairs(summary, [each for each in slopes if each.budget == first], first)
    yield from _form([each for each in slopes if each.budget == first])
    yield from _related(summary, first)
    yield from _batches(summary, first)
    yield from _interference(summary, first)
    for budget in others:
        yield from _doublings([each for each in slopes if each.budget == budget], _main(summary, slopes), budget)


def _main(summary: StudySummary, slopes: Sequence[Slope]) -> list[str]:
    """Approaches of which most orders are compared."""
    names = list(dict.fromkeys(each.approach for each in slopes))
    most = max(map(summary.orders, names))
    return [name for name in names if summary.orders(name) == most]


def _more_pairs(summary: StudySummary, slopes: Sequence[Slope], budget: str) -> Iterator[str]:
    main = _main(summary, slopes)
    for approach in main:
        low = next((e for e in slopes if (e.approach, e.group) == (approach, LOW)), None)
        means = {
            each.pairs: 100 * each.estimate.value
            for each in summary.means
            if (each.approach, each.budget, each.group) == (approach, budget, LOW)
        }
        if low is None or not means:
            continue
        base = next((m for m in summary.means if (m.approach, m.group) == (ZERO_SHOT, LOW)), None)
        untrained = f"{100 * base.estimate.value:.1f} untrained, " if base else ""
        first, last = min(means), max(means)
        yield (
            f"**Low-resource languages, `{approach}`, budget `{budget}`.** They are at {untrained}"
            f"{means[first]:.1f} with {_count(first, 'pair')}, and {means[last]:.1f} with {last}. A doubling of the pairs "
            f"changes them by {signed(low.estimate)} points: {_verdict(low)}."
        )
    yield from _doublings(slopes, main, budget)


def _doublings(slopes: Sequence[Slope], main: Sequence[str], budget: str) -> Iterator[str]:
    rows = [
        [group, *(_cell(slopes, approach, group) for approach in main)]
        for group in GROUPS
        if any(_cell(slopes, approach, group) for approach in main)
    ]
    yield f"Points per doubling of the pairs by group of languages, budget `{budget}` (bold: an interval without 0):"
    yield table(["queries in", *(f"`{name}`" for name in main)], rows)


def _cell(slopes: Sequence[Slope], approach: str, group: str) -> str:
    found = next((each for each in slopes if (each.approach, each.group) == (approach, group)), None)
    return bold_if_not_zero(found.estimate) if found else ""


def _verdict(found: Slope) -> str:
    if found.estimate.low > 0:
        return "more pairs help"
    return "more pairs hurt" if found.estimate.high < 0 else "no effect of more pairs is measurable"


def _form(slopes: Sequence[Slope]) -> Iterator[str]:
    for each in slopes:
        if each.group != LOW or not each.fits:
            continue
        best = each.fits[0]
        straight = next(fit for fit in each.fits if fit.form == "straight")
        what = {
            "straight": "A straight line, the same change with every doubling, predicts left-out numbers of pairs best",
            "broken": "A line that becomes level predicts left-out numbers of pairs best",
            "power": "A power law, whose changes become smaller with every doubling, predicts left-out numbers of pairs best",
        }[best.form]
        end = ""
        if best.form == "broken" and best.parameter is not None:
            at = best.parameter
            end = f" It is level from {at.value:.0f} pairs on [{at.low:.0f}, {at.high:.0f}]."
        elif best.parameter is not None:
            end = f" Its exponent is {best.parameter.value:.2f} [{best.parameter.low:.2f}, {best.parameter.high:.2f}]."
        against = "" if best is straight else f", a straight line {100 * straight.error:.2f}"
        yield (
            f"**Does it end? `{each.approach}`, budget `{each.budget}`.** {what}: the error is {100 * best.error:.2f} "
            f"points{against}. It does so in {best.chosen:.0%} of the resamples.{end}"
        )


def _related(summary: StudySummary, budget: str) -> Iterator[str]:
    main = _main(summary, summary.slopes)
    rows = []
    for each in summary.related:
        if each.budget == budget and each.approach in main:
            effect, measurable = each.effect, "yes" if each.effect.p < SIGNIFICANT else "no"
            rows.append([each.relation, f"`{each.approach}`", signed(effect.estimate), shown_p(effect.p), measurable])
    if rows:
        yield (
            f"**Does a related language help?** Budget `{budget}`. The table has the points by which a language that is not "
            "trained on is better if the training has a related one. The number of pairs is the same on both sides."
        )
        yield table(["related by", "approach", "points", "p", "measurable"], rows)


def _batches(summary: StudySummary, budget: str) -> Iterator[str]:
    for approach in dict.fromkeys(each.approach for each in summary.added):
        own = [each for each in summary.added if (each.approach, each.budget, each.group) == (approach, budget, LOW)]
        steps, tokens = ({e.pairs: e for e in own if e.equal == equal} for equal in ("steps", "tokens"))
        if not steps:
            continue
        last = max(steps)
        at_tokens = f", and by {_shown(tokens[last])} at equal tokens" if last in tokens else ""
        slope = next(
            (e for e in summary.steeper if (e.approach, e.budget, e.group) == (approach, budget, LOW)),
            None,
        )
        trend = (
            f" With every doubling of the pairs the difference changes by {signed(slope.estimate)}." if slope else ""
        )
        yield (
            f"**Batches of `{approach}`, budget `{budget}`.** In the place of the recipe's own, they change low-resource "
            f"languages by {_shown(steps[last])} at {_count(last, 'pair')} and equal steps{at_tokens}. "
            f"{_counted(list(steps.values()))}{trend}"
        )


def _shown(found: Added) -> str:
    return f"{100 * found.difference.estimate.value:+.1f} points ({shown_p(found.difference.p)})"


def _measurable(difference: Difference) -> bool:
    """Whether a difference is more than the sentences give by chance (p), and the trainings too (interval)."""
    return difference.p < SIGNIFICANT and not difference.estimate.low <= 0 <= difference.estimate.high


def _counted(found: Sequence[Added]) -> str:
    clear = [each for each in found if _measurable(each.difference)]
    better = [str(each.pairs) for each in clear if each.difference.estimate.value > 0]
    worse = [str(each.pairs) for each in clear if each.difference.estimate.value < 0]
    if not clear:
        return f"The difference is measurable at none of {_count(len(found), 'number')} of pairs."
    parts = [f"better at {listed(better)}"] * bool(better) + [f"worse at {listed(worse)}"] * bool(worse)
    return f"At equal steps they are measurably {listed(parts)} pairs."


def _interference(summary: StudySummary, budget: str) -> Iterator[str]:
    main = _main(summary, summary.slopes)
    together = [each for each in summary.interference if each.budget == budget and each.approach in main]
    if any(each.group == LOW_TRAINED for each in together):
        together = [each for each in together if each.group == LOW_TRAINED]
    for each in together:
        who = "low-resource languages that are trained on"
        if each.group != LOW_TRAINED:
            who = find_language(each.group).name
        verdict = "not measurable"
        if _measurable(each.difference):
            verdict = "they gain" if each.difference.estimate.value > 0 else "they are hurt"
        yield (
            f"**High-resource pairs join, `{each.approach}`, budget `{each.budget}`.** Where {each.what}, queries in "
            f"{who} change by "
            f"{100 * each.difference.estimate.value:+.1f} points ({shown_p(each.difference.p)}): {verdict}."
        )


def _limits(study: Study, summary: StudySummary) -> Iterator[str]:
    settings = study.settings
    yield (
        "One model, one set of translated sentences and these steps: another model, other texts or longer trainings may "
        "behave otherwise."
    )
    chosen = len(settings.orders)
    yield (
        f"{_count(chosen, 'order')} of {len(study.orders)} {'was' if chosen == 1 else 'were'} chosen, the others are random. "
        "An interval takes all of them as drawn from the orders that there could be."
    )
    fewer = [
        name for name in settings.approaches if 0 < summary.orders(name) < max(map(summary.orders, settings.approaches))
    ]
    if fewer:
        yield (
            f"{listed([f'`{name}`' for name in fewer])} {'has' if len(fewer) == 1 else 'have'} fewer orders than the "
            "others. Their rows can be read against others only where orders are the same, as in the tables of differences."
        )
    for each in summary.slopes:
        if each.group != LOW or summary.orders(each.approach) <= 1 or each.orders <= 1:
            continue
        width = each.estimate.width
        name = (
            f"The interval of the slope of `{each.approach}`, budget `{each.budget}`, is {100 * width:.2f} points wide"
        )
        if width <= AIM:
            yield f"{name}: no more than the {100 * AIM:.1f} that were the aim."
        elif each.orders_needed is None:
            yield f"{name}. More trainings would not bring it to {100 * AIM:.1f}: the queries alone make it wider."
        else:
            needed = max(int(each.orders_needed) + 1, each.orders + 1)
            more = (needed - each.orders) * len(settings.pairs)
            yield (
                f"{name}. For {100 * AIM:.1f} it would take about {needed} orders in the place of {each.orders}, which is "
                f"about {more} more trainings."
            )
    if summary.done < summary.trainings:
        yield "Not all trainings are done. A number of pairs of which an order or a seed is missing is left out."


def _named(languages: Sequence[str]) -> str:
    return listed([find_language(name).name for name in languages]) if languages else "none"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
