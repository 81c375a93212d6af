"""What a study says of records whose truth is known: planted slopes, bends, relatives and batches, and none."""

import re
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from optical_mteb.languages import family_of
from optical_mteb.study.document import document
from optical_mteb.study.jobs import Job, Study
from optical_mteb.study.page import page
from optical_mteb.study.settings import StudySettings
from optical_mteb.study.summary import summarise
from optical_mteb.training.recipe import Recipe
from tests.conftest import tiny_recipe
from tests.study.conftest import record

LOW = ["swh", "zul", "som", "hau", "tgl", "ind", "mar", "ben", "khm", "tam"]
NEVER = ["xho", "sna", "amh", "ceb", "jav", "guj", "deu", "bam", "luo"]
ORDER = [*LOW[:4], "fra", "spa", *LOW[4:]]
ORDERS = ["given", "random-0", "random-1", "random-2", "random-3"]
SETTINGS = {
    "name": "known",
    "recipe": "none",
    "pairs": [1, 2, 4, 6, 8, 12],
    "high_resource": ["fra", "spa"],
    "seeds": [1, 2],
    "random_orders": 4,
    "orders": {"given": ORDER},
    "budgets": {"total": 48, "per_pair": 6},
    "approaches": {
        "zero-shot": [],
        "contrastive": ["objective={contrastive={}}"],
        "plain": [],
        "hybrid": ["batches.monolingual=0.5", "batches.cross_lingual=0.5"],
    },
    "cells": [
        {"approaches": ["zero-shot", "plain", "hybrid"], "seeds": [1]},
        {"approaches": ["plain", "hybrid"], "orders": ["given"], "seeds": [2]},
        {"approaches": ["contrastive"], "orders": ["given"], "seeds": [1]},
    ],
    "tasks": [{"name": "T", "subsets": [f"{name}-eng" for name in [*ORDER, *NEVER, "eng"]], "parallel": True}],
}


TOKENS = {"plain": 1000, "contrastive": 1000, "hybrid": 1500}


def known(gain, *, noise=0.002):
    """A study and its records: the score of a query is its own, and the language's, and `gain(training, language)`."""
    settings = StudySettings.model_validate(SETTINGS)
    recipe = tiny_recipe("pypi:base", objective={"contrastive": {}})
    mixed = {"batches": {"monolingual": 0.5, "cross_lingual": 0.5}}
    cells = settings.grid()
    jobs, records = {}, {}
    hard = np.random.default_rng(0).uniform(0.2, 0.6, 30)
    for number, training in enumerate(dict.fromkeys(cell.training for cell in cells)):
        rng = np.random.default_rng([7, number])
        own = Recipe.model_validate(recipe | (mixed if training.approach == "hybrid" else {}))
        jobs[training] = Job(training, own, str(number), {})
        scores = {}
        for place, subset in enumerate(settings.tasks[0].subsets):
            language = subset[:3]
            added = gain(training, language) + rng.normal(0, noise) if training.steps else 0
            scores[subset] = (hard + 0.01 * (place % 5) + added).round(6).tolist()
        tokens = TOKENS.get(training.approach, 0) * training.steps
        figures = {"pairs": 8.0 * training.steps, "tokens": float(tokens), "seconds": 1.0} if tokens else {}
        records[str(number)] = record(jobs[training], {"T": scores}, **figures)
    return Study(settings, Path("known.toml"), settings.nested, cells, jobs), records


def found(items, **wanted):
    return next(each for each in items if all(getattr(each, k) == v for k, v in wanted.items()))


def doublings(training):
    return float(np.log2(len(training.languages)))


def test_a_slope_without_end_or_relatives():
    """Guards against a slope that is off, an end or a relative that is not there, and orders that weigh by their seeds."""
    study, records = known(lambda training, language: 0.02 + 0.01 * doublings(training))
    summary = summarise(study, records)
    for group in ("low-resource", "never trained on", "trained on", "never trained on, family Austronesian"):
        each = found(summary.slopes, approach="plain", budget="total", group=group)
        assert each.estimate.value == pytest.approx(0.01, abs=0.0007), group
        assert each.estimate.low > 0.008
        assert each.estimate.high < 0.012
        assert each.orders == 5
    assert found(summary.slopes, approach="contrastive", budget="total", group="low-resource").orders == 1
    straight = found(summary.slopes, approach="plain", budget="total", group="low-resource").fits
    assert {fit.form: fit.error for fit in straight}["straight"] < 0.002
    effect = found(summary.related, approach="plain", budget="total", relation="family").effect
    assert abs(effect.estimate.value) < 0.001
    assert effect.p > 0.05
    for each in (each for each in summary.added if each.group == "low-resource"):
        assert abs(each.difference.estimate.value) < 0.003
    assert {each.group for each in summary.breakdown} >= {
        "never trained on, script Gujr",
        "never trained on, family Mande",
    }
    text = " ".join(page(study, summary, {}))
    assert "more pairs help" in text
    assert "`contrastive` has fewer orders" in text
    assert re.search(r"\| family \| `plain` \|[^\n]*\| no \|", text)


def test_a_bend_a_relative_and_batches():
    """Guards against a bend, a relative's help or that of batches that is not found, or credited to steps for tokens."""

    def gain(training, language):
        relative = any(family_of(each) == family_of(language) for each in training.languages if each != language)
        read = np.log(TOKENS[training.approach] * training.steps / 48_000)
        return 0.02 * min(doublings(training), 2) + 0.015 * (relative and language in NEVER) + 0.03 * read

    study, records = known(gain)
    summary = summarise(study, records)
    [best, *_] = found(summary.slopes, approach="plain", budget="total", group="low-resource").fits
    assert best.form == "broken"
    assert best.chosen > 0.5
    assert best.parameter.value == pytest.approx(4, abs=0.5)
    related = found(summary.related, approach="plain", budget="total", relation="family").effect
    assert related.estimate.low > 0
    assert related.p < 0.05
    for pairs in (1, 8, 12):
        steps, tokens = (
            found(summary.added, approach="hybrid", budget="total", pairs=pairs, equal=equal, group="low-resource")
            for equal in ("steps", "tokens")
        )
        assert steps.tokens == pytest.approx(1.5)
        assert steps.difference.estimate.value == pytest.approx(0.03 * np.log(1.5), abs=0.002)
        assert steps.difference.p < 0.05
        assert abs(tokens.difference.estimate.value) < 0.002
    steeper = found(summary.steeper, approach="hybrid", budget="total", group="low-resource")
    assert abs(steeper.estimate.value) < 0.001
    joined = [each for each in summary.interference if each.group == "low-resource, trained on"]
    assert "fra spa join swh zul som hau" in {each.what for each in joined}
    text = document(study, summary, records, figures={}, command="make it")
    assert "It is level from" in text
    assert re.search(r"\| family \| `plain` \|[^\n]*\| yes \|", text)
    assert "After as many steps they are measurably better at 1, 2, 4, 6, 8 and 12 pairs." in text
    assert "make it" in text
    known_numbers = shown(asdict(summary)) | {"0.5", "0.05", "0.001"}
    answer, tables = text.partition("## The answer")[2].split("## All settings")
    for part, most in ((answer, 30), (tables.partition("## Scores")[2], 300)):
        numbers = set(re.findall(r"(?<![\w.])[+-]?\d+\.\d+(?![\w.])", part))
        assert len(numbers) > most
        assert {each.lstrip("+-") for each in numbers} <= known_numbers


def shown(value):
    """A number of a summary in the ways that a document may write it."""
    if isinstance(value, dict):
        ends = [{"width": value["high"] - value["low"]}] if "low" in value else []
        return set().union(*map(shown, [*value.values(), *ends]))
    if isinstance(value, list):
        return set().union(*map(shown, value))
    if isinstance(value, float):
        scaled = [f"{abs(100 * value):.{digits}f}" for digits in (1, 2)]
        return {*scaled, f"{abs(value):.2f}", f"{value:.3f}"}
    return set()
