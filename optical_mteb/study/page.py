"""The first part of a study's document: a page for readers who know nothing of the code; its numbers are the summary's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from optical_mteb.languages import find_language
from optical_mteb.study.analysis import Difference
from optical_mteb.study.contrasts import Added
from optical_mteb.study.grid import ZERO_SHOT
from optical_mteb.study.jobs import Study
from optical_mteb.study.markdown import Cells, bold_if_not_zero, crossed, interval, listed, shown_p, signed, table
from optical_mteb.study.replicates import CHANGING, GROUPS, LOW, LOW_TRAINED, MEASURE, NAME, NEVER
from optical_mteb.study.summary import AIM, Slope, StudySummary
from optical_mteb.study.table import language_of

SIGNIFICANT = 0.05

_BEGINNING = (
    "A retrieval model finds documents for a query. One that is good in English can be taught other languages from "
    "translated sentences alone: a *student* learns to answer a translation as a frozen *teacher* answers the English "
    "sentence. "
)
_PAIRS = (
    "A *language pair* is English and one other language with such sentences. Low-resource languages have few of them. "
    "Does a low-resource language gain if a training has more language pairs? Does a language gain that is not in the "
    "training? A training reads the sentences in batches. What do *hybrid* batches add, which mix English alone, "
    "translations, and pairs of two other languages?"
)
_APPROACHES = "Which objective teaches most, on the same examples?"

_TERMS = {
    "sentence": "a translation gets the teacher's vector of the English sentence",
    "contrastive": "what must stay apart",
    "optical": "which tokens belong together",
    "transport_contrastive": "what must stay apart, by its tokens",
    "rank": "what the teacher ranks above what",
    "rank_documents": "the same for translated documents",
    "anchor": "the student's English stays",
}
"""What each term of an objective says."""

_FORMS = {
    "straight": "a straight line (the same change with every doubling)",
    "broken": "a line that becomes level",
    "power": "a power law (smaller and smaller changes)",
}


def page(study: Study, summary: StudySummary, figures: Mapping[str, str]) -> list[str]:
    """The page, in paragraphs; `figures` has the path of each figure, from the document, by its title."""
    return [
        "## The question",
        _BEGINNING + (_PAIRS if len(study.settings.pairs) > 1 else _APPROACHES),
        "## The design",
        "\n".join(f"- {line}" for line in _design(study, summary)),
        *(["## The figures", *chosen] if (chosen := _figures(study, figures)) else []),
        "## The answer",
        *(f"- {line}" if not line.startswith("|") else line for line in _answer(study, summary)),
        "## Limits",
        "\n".join(f"- {line}" for line in _limits(study, summary)),
    ]


def _design(study: Study, summary: StudySummary) -> Iterator[str]:
    settings = study.settings
    several = len(settings.pairs) > 1
    recipe = next((job.recipe for job in study.jobs.values() if job.training.languages), None)
    languages = next(iter(study.orders.values()))
    low = [name for name in languages if name not in settings.high_resource]
    asked = {language_of(subset) for task in settings.tasks for subset in task.subsets} - {"eng"}
    never = sorted(asked - set(languages))
    if recipe is not None:
        yield (
            f"All students start from the same model, `{recipe.student.base}`; the teacher is `{recipe.teacher.base}`. "
            f"Trainings differ in {'languages, ' * several}objective (what is learned), batches, steps (batches that are read) and "
            "seeds (random draws)."
        )
    yield (
        f"Trainings have {listed([str(number) for number in settings.pairs])} of {len(languages)} language pairs. "
        f"{len(low)} of these languages are low-resource: {_named(low)}."
    )
    shown = min(settings.pairs, key=lambda number: abs(number - 4))
    if several:
        yield (
            f"Languages join in {_count(len(study.orders), 'order')}: {listed([f'`{name}`' for name in study.orders])}. A "
            f"training with {_count(shown, 'pair')} has the first {shown} of its order."
        )
    whole = len(study.orders) * len(settings.pairs) * len(settings.approaches)
    whole *= len(settings.budgets) * len(settings.seeds)
    if len(study.cells) < whole:
        yield (
            f"Of {whole:,} combinations of order, number of pairs, approach, budget and seed, the {len(study.cells)} that "
            "the comparisons below need are run. Some of them are the same training."
        )
    trained = sum(bool(job.training.languages) for job in study.jobs.values())
    untrained = " and the model as it is" if trained < len(study.jobs) else ""
    scored = "All are scored" if summary.done == summary.trainings else f"{summary.done} are scored so far"
    yield f"These are {_count(trained, 'training')}{untrained}. {scored}."
    for budget, steps in settings.budgets.items():
        each = " for every pair" if budget == "per_pair" else " in all, however many pairs there are" * several
        yield f"Budget `{budget}`: {_count(steps, 'step')}{each}."
    for name in settings.approaches:
        yield f"`{name}`: {_approach(study, name)}."
    yield (
        f"All models answer the same queries, in {_count(len(asked), 'language')} besides English. "
        f"{f'No training has {len(never)} of them' if never else 'All of them are in the orders'}. Documents are in English."
    )
    yield (
        f"The score is {NAME} x 100, called points below: the mean average precision of the first 100 documents. It is 100 "
        "if what a query asks for always comes first. Brackets hold 95% intervals. "
        f"{'A change per doubling of the pairs is *measurable* if its interval is without 0. ' * several}A difference is "
        f"*measurable* if its interval is without 0 and its p-value below {SIGNIFICANT}. p-values are corrected for the number of comparisons (Holm), which makes many of them 1."
    )


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
    if recipe is None:
        return "another training"
    terms = [key for key, term in recipe.objective.model_dump().items() if term]
    learned = f"the objective {listed([f'`{term}` ({_TERMS[term]})' for term in terms])}"
    mixes = any(each.startswith("batches.") for own in study.settings.approaches.values() for each in own)
    if not mixes or not all(each.startswith("batches.") for each in overrides):
        return learned
    shares = {
        "English alone": recipe.batches.monolingual,
        "translations": recipe.batches.cross_lingual,
        "pairs of two other languages": recipe.batches.multilingual,
    }
    whole = sum(shares.values())
    mixed = listed([f"{share / whole:.0%} {what}" for what, share in shares.items() if share])
    alone = ", without the last at 1 pair" if recipe.batches.multilingual and 1 in study.settings.pairs else ""
    plain = study.settings.plain_approach
    return f"{f'as `{plain}`' if overrides and plain else learned}; a batch is {mixed}{alone}"


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
        yield from _scores(study, summary)
        return
    first, *others = [name for name in study.settings.budgets if any(each.budget == name for each in slopes)]
    for budget in (first, *others):
        yield from _more_pairs(summary, [each for each in slopes if each.budget == budget], budget)
    yield from _form([each for each in slopes if each.budget == first])
    yield from _related(summary, first)
    yield from _batches(study, summary, first)
    yield from _interference(summary, first)


def _scores(study: Study, summary: StudySummary) -> Iterator[str]:
    """The scores of a study that has one number of pairs."""
    if not summary.means:
        yield "No number of pairs is done, so nothing can be said yet."
    for budget in study.settings.budgets:
        means = {(each.approach, each.group): each.estimate for each in summary.means if each.budget == budget}
        if not means:
            continue
        cells: Cells = {
            ((f"`{name}`",), group): interval(means[name, group])
            for name in study.settings.approaches
            for group in GROUPS
            if (name, group) in means
        }
        yield (
            f"Scores with {_count(max(study.settings.pairs), 'pair')}, budget `{budget}`; the last table says which "
            "differences are measurable:"
        )
        columns: dict[str, list[str | None]] = {}
        for group in GROUPS:
            column = [cells.get(((f"`{name}`",), group)) for name in study.settings.approaches]
            # Where every low-resource language is trained on, two groups are the same one.
            if any(column) and column not in columns.values():
                columns[group] = column
        yield crossed(["approach"], cells, list(columns))


def _main(summary: StudySummary) -> list[str]:
    """Approaches of which most orders are compared."""
    names = list(dict.fromkeys(each.approach for each in summary.slopes))
    most = max(map(summary.orders, names))
    return [name for name in names if summary.orders(name) == most]


def _more_pairs(summary: StudySummary, slopes: Sequence[Slope], budget: str) -> Iterator[str]:
    main = _main(summary)
    for approach in main:
        low = next((e for e in slopes if (e.approach, e.group) == (approach, LOW)), None)
        scores = _from_to(summary, approach, budget, LOW)
        if low is None or not scores:
            continue
        never = _from_to(summary, approach, budget, NEVER)
        others = f" In the languages that no training has, it is {never}." if never else ""
        yield (
            f"**Low-resource languages, `{approach}`, budget `{budget}`.** Their score is {scores}. A doubling of the pairs "
            f"changes it by {signed(low.estimate)} points: {_verdict(low)}.{others}"
        )
    yield from _doublings(slopes, main, budget)


def _from_to(summary: StudySummary, approach: str, budget: str, group: str) -> str:
    """The scores of a group: untrained, with the fewest pairs, and with the most."""
    means = {
        each.pairs: 100 * each.estimate.value
        for each in summary.means
        if (each.approach, each.budget, each.group) == (approach, budget, group)
    }
    if not means:
        return ""
    base = next((m for m in summary.means if (m.approach, m.group) == (ZERO_SHOT, group)), None)
    untrained = f"{100 * base.estimate.value:.1f} untrained, " if base else ""
    first, last = min(means), max(means)
    return f"{untrained}{means[first]:.1f} with {_count(first, 'pair')}, and {means[last]:.1f} with {last}"


def _doublings(slopes: Sequence[Slope], main: Sequence[str], budget: str) -> Iterator[str]:
    found = {(each.approach, each.group): bold_if_not_zero(each.estimate) for each in slopes}
    cells: Cells = {
        ((group,), f"`{name}`"): found[name, group] for group in GROUPS for name in main if (name, group) in found
    }
    gains = ""
    if any(group in CHANGING for (group,), _ in cells):
        gains = f" The languages of {listed([f'*{group}*' for group in CHANGING])} change with the pairs; their rows are of the gain on the untrained model."
    yield f"Points per doubling of the pairs, budget `{budget}`. Bold: measurable.{gains}"
    yield crossed(["queries in"], cells, [f"`{name}`" for name in main])


def _verdict(found: Slope) -> str:
    if found.estimate.low > 0:
        return "more pairs help"
    return "more pairs hurt" if found.estimate.high < 0 else "no effect of more pairs is measurable"


def _form(slopes: Sequence[Slope]) -> Iterator[str]:
    for each in slopes:
        if each.group != LOW or not each.fits:
            continue
        best = each.fits[0]
        end = ""
        if best.form == "broken" and best.parameter is not None:
            at = best.parameter
            end = f" It is level from {at.value:.0f} pairs on [{at.low:.0f}, {at.high:.0f}]."
        elif best.parameter is not None:
            end = f" Its exponent is {best.parameter.value:.2f} [{best.parameter.low:.2f}, {best.parameter.high:.2f}]."
        others = [f"{_FORMS[fit.form]} has {100 * fit.error:.2f}" for fit in each.fits[1:]]
        first, second = _FORMS[best.form], "; ".join(others)
        yield (
            f"**Does the gain become smaller? `{each.approach}`, budget `{each.budget}`.** {first[0].upper()}{first[1:]} "
            f"predicts the score at one number of pairs from the others best, with an error of {100 * best.error:.2f} points. "
            f"{second[:1].upper()}{second[1:]}. The first stays the best in {best.chosen:.0%} of the draws of queries and "
            f"trainings.{end}"
        )


def _related(summary: StudySummary, budget: str) -> Iterator[str]:
    main = _main(summary)
    rows = []
    for each in summary.related:
        if each.budget == budget and each.approach in main:
            effect, measurable = each.effect, "yes" if each.effect.p < SIGNIFICANT else "no"
            rows.append([each.relation, f"`{each.approach}`", signed(effect.estimate), shown_p(effect.p), measurable])
    if rows:
        yield (
            f"**Does a related language help?** Budget `{budget}`. How many points a language outside the training gains if "
            "a related one is in it, at the same number of pairs. These p-values are not corrected; measurable is p below "
            f"{SIGNIFICANT}."
        )
        yield table(["related by", "approach", "points", "p", "measurable"], rows)


def _batches(study: Study, summary: StudySummary, budget: str) -> Iterator[str]:
    for approach in dict.fromkeys(each.approach for each in summary.added):
        own = [each for each in summary.added if (each.approach, each.budget, each.group) == (approach, budget, LOW)]
        steps, tokens = ({e.pairs: e for e in own if e.equal == equal} for equal in ("steps", "tokens"))
        if not steps:
            continue
        last = max(steps)
        at_tokens = f", and by {_shown(tokens[last])} after as much text" if last in tokens else ""
        slope = next(
            (e for e in summary.steeper if (e.approach, e.budget, e.group) == (approach, budget, LOW)),
            None,
        )
        trend = (
            f" With every doubling of the pairs the difference changes by {signed(slope.estimate)}." if slope else ""
        )
        yield (
            f"**Batches of `{approach}`, budget `{budget}`.** Compared with `{study.settings.plain_approach}`, they change low-resource "
            f"languages by {_shown(steps[last])} with {_count(last, 'pair')} after as many steps{at_tokens}. "
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
    return f"After as many steps they are measurably {listed(parts)} pairs."


def _interference(summary: StudySummary, budget: str) -> Iterator[str]:
    main = _main(summary)
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
    if len(study.orders) > 1:
        yield (
            f"{_count(chosen, 'order')} of {len(study.orders)} {'was' if chosen == 1 else 'were'} chosen, the others are "
            "random. An interval treats them all as if they were drawn at random."
        )
    fewer = [
        name for name in settings.approaches if 0 < summary.orders(name) < max(map(summary.orders, settings.approaches))
    ]
    if fewer:
        yield (
            f"{listed([f'`{name}`' for name in fewer])} {'has' if len(fewer) == 1 else 'have'} fewer orders than the "
            "others. Compare them in the tables of differences, whose two sides have the same orders."
        )
    for each in summary.slopes:
        if each.group != LOW or summary.orders(each.approach) <= 1 or each.orders <= 1:
            continue
        width = each.estimate.width
        name = (
            f"The interval of the change per doubling, `{each.approach}`, budget `{each.budget}`, is {100 * width:.2f} points "
            "wide"
        )
        if width <= AIM:
            yield f"{name}: no more than the {100 * AIM:.1f} that were the aim."
        elif each.orders_needed is None:
            yield f"{name}. More trainings would not bring it to {100 * AIM:.1f}: there are too few queries."
        else:
            needed = max(int(each.orders_needed) + 1, each.orders + 1)
            more = (needed - each.orders) * len(settings.pairs)
            yield (
                f"{name}. For {100 * AIM:.1f} it would take about {needed} orders instead of {each.orders}, which is "
                f"about {more} more trainings."
            )
    if summary.done < summary.trainings:
        yield "Not all trainings are done. A number of pairs of which an order or a seed is missing is left out."


def _named(languages: Sequence[str]) -> str:
    return listed([find_language(name).name for name in languages]) if languages else "none"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
