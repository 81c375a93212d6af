"""What a study file may say."""

import pytest

from optical_mteb.errors import InputError
from optical_mteb.study.grid import random_orders
from optical_mteb.study.jobs import load_study
from optical_mteb.study.settings import find_study, read_study, shipped_studies
from tests.study.conftest import edit

HIGH = 'high_resource = ["fra"]\n'
GIVEN = 'seeds = [1, 2]\n\n[orders]\ngiven = ["swh", "som", "fra"]'
TASK = 'CLDRNameRetrieval"\nsubsets = ["swh-eng", "som-eng", "fra-eng", "hau-eng"]'


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("pairs = [1, 2, 3]", "pair = [1]", r"study.toml:4: unknown key 'pair'; did you mean 'pairs'\?"),
        ("pairs = [1, 2, 3]", "pairs = [1, 4]", "pairs: 4 is more than the 3 languages of the orders"),
        ("pairs = [1, 2, 3]", "pairs = [2, 2]", "pairs: names one twice"),
        ('given = ["swh", "som", "fra"]', 'given = ["swh", "swh"]', "orders.given: names a language twice"),
        ('given = ["swh", "som", "fra"]', 'given = ["swh", "swaheli"]', r"study.toml:8: orders.*'swaheli'"),
        ('"fra"]\n\n[budgets]', '"fra"]\nother = ["swh"]\n\n[budgets]', "orders.other: has other languages"),
        ('high_resource = ["fra"]', 'high_resource = ["spa"]', "high_resource: 'spa' is in no order"),
        ("zero-shot = []", 'zero-shot = ["seed=1"]', "approaches.zero-shot: trains nothing"),
        ("total = 3", "per_step = 3", "budgets.per_step"),
        (
            "[[tasks]]",
            '[[cells]]\norders = ["random-7"]\n\n[[tasks]]',
            "cells.0.orders: 'random-7' is none of the study's",
        ),
        ("[[tasks]]", "[[cells]]\npairs = [4]\n\n[[tasks]]", "cells.0.pairs: 4 is none of the study's: 1, 2, 3"),
        ("queries = 15", "queries = 0", r"study.toml:21: tasks.0.queries"),
        # What a study names and nobody has.
        ('recipe = "recipe.toml"', 'recipe = "recipe"', "recipe 'recipe': not a file beside the study"),
        (f"{HIGH}{GIVEN}", GIVEN.replace("fra", "spa"), "has no bitext of spa"),
        ("contrastive = []", 'contrastive = ["objektive.optical={}"]', "unknown key 'objektive'"),
        ("CLDRNameRetrieval", "CLDRName", "'CLDRName' is unknown to mteb"),
        ("CLDRNameRetrieval", "SciFact", "SciFact has no subset 'swh-eng'; it has default"),
        ("CLDRNameRetrieval", "STSBenchmark", "'STSBenchmark' is of type STS, expected a retrieval task"),
        ("queries = 15", 'queries = 15\nsplit = "dev"', "CLDRNameRetrieval has no split 'dev'; it has test"),
        # A subset that mteb leaves out silently.
        (TASK, 'AfriQARetrieval"\nsubsets = ["hau-eng", "yor-eng"]\nsplit = "dev"', "has no split 'dev' of yor-eng"),
    ],
)
def test_bad_studies(study_file, old, new, line):
    """Guards against a study that runs for hours before it fails, or fails without saying where."""
    edit(study_file, old, new)
    with pytest.raises(InputError, match=line) as error:
        load_study(study_file)
    assert "\n" not in str(error.value)


def test_parts_of_a_grid(study_file):
    """Guards against a part that takes more or less of the grid than it says, or a cell of two parts that counts twice."""
    parts = (
        '[[cells]]\npairs = [1, 3]\nseeds = [1]\n\n[[cells]]\napproaches = ["contrastive"]\npairs = [2, 3]\n\n[[tasks]]'
    )
    edit(study_file, "[[tasks]]", parts)
    cells = [(cell.approach, cell.pairs, cell.seed) for cell in read_study(study_file).grid()]
    contrastive = {("contrastive", pairs, seed) for pairs in (2, 3) for seed in (1, 2)}
    assert set(cells) == {("zero-shot", 1, 1), ("zero-shot", 3, 1), ("contrastive", 1, 1)} | contrastive
    assert len(cells) == 7


def test_cells_that_coincide_are_one_training(study_file):
    """Guards against a zero-shot run for every cell, and the full set of languages trained once an order."""
    edit(study_file, '"fra"]\n\n[budgets]', '"fra"]\nother = ["fra", "som", "swh"]\n\n[budgets]\nper_pair = 1')
    edit(study_file, "pairs = [1, 2, 3]", "pairs = [1, 3]")
    cells = read_study(study_file).grid()
    assert len(cells) == 2 * 2 * 2 * 2 * 2
    # Zero-shot; by seed: one language of either order with 1 or 3 steps, and all three with 3.
    assert len({cell.training for cell in cells}) == 1 + 2 * (2 * 2 + 1)


def test_random_orders_are_seeded_permutations():
    """Guards against orders that change between runs, or lose a language."""
    names = ["swh", "som", "tgl", "mar", "fra", "spa", "por"]
    found = random_orders(names, 3, seed=5)
    assert found == random_orders(names, 3, seed=5)
    assert list(found) == ["random-5", "random-6", "random-7"]
    assert all(sorted(order) == sorted(names) for order in found.values())


def test_shipped_studies_are_found():
    """Guards against a study that ships and cannot be read, and a name that is misspelled."""
    assert "pairs" in shipped_studies()
    for path in shipped_studies().values():
        assert read_study(path).name == path.stem
    with pytest.raises(InputError, match="did you mean 'pairs'"):
        find_study("pair")
