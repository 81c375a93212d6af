"""Recipes: what a mistake in one says, and where."""

import pytest

from optical_mteb.errors import InputError
from optical_mteb.recipes import shipped_recipes, shipped_students
from optical_mteb.training.recipe import find_recipe, read_recipe

RECIPE = """name = "mine"

[student]
base = "tiny"

[teacher]
base = "tiny"

[[bitext]]
source = "cldr:swh"

[[bitext]]
source = "cldr:som"

[objective.optical]
weight = 0.5

[training]
steps = 3
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return path


def test_every_shipped_recipe_is_valid():
    """Pins a recipe that ships broken, and a student that no recipe trains."""
    for path in shipped_recipes().values():
        assert shipped_students()[read_recipe(path).name] in shipped_recipes()


def test_overrides_reach_every_kind_of_key(recipe):
    """Pins overrides of numbers, strings, new tables and items of an array."""
    settings = [
        "training.steps=7",
        "name=other",
        "objective.contrastive.weight=2",
        "bitext.1.limit=5",
        "student.prompt='query'",
    ]
    read = read_recipe(recipe, settings)
    assert (read.training.steps, read.name, read.bitext[1].limit, read.student.prompt) == (7, "other", 5, "query")
    assert list(read.objective.terms) == ["optical", "contrastive"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 3", "stepps = 3", r"mine.toml:19: unknown key 'training.stepps'; did you mean 'steps'\?"),
        ("weight = 0.5", "wight = 0.5", r"mine.toml:16: unknown key 'objective.optical.wight'; did you mean 'weight'"),
        ("[training]", "[trainig]", r"mine.toml:18: unknown key 'trainig'; did you mean 'training'\?"),
        ('source = "cldr:som"', 'sorce = "cldr:som"', r"mine.toml:13: unknown key 'bitext.1.sorce'; .*'source'"),
        ("steps = 3", "", r"mine.toml:18: key 'training.steps' is missing"),
        ("steps = 3", "steps = -3", r"mine.toml:19: training.steps: .*greater than or equal to 1 \(it is -3\)"),
        ("steps = 3", "steps = ", r"mine.toml: not a readable TOML file: .*line 19"),
        ("cldr:som", "cldr:xyz", r"mine.toml:12: bitext.1: language 'xyz' is unknown"),
        ('name = "mine"', 'name = "../mine"', r"mine.toml:1: name: "),
        ("[objective.optical]\nweight = 0.5", "[objective]", r"mine.toml:15: objective: no loss term; add a table"),
    ],
)
def test_a_mistake_is_named_with_its_line(recipe, old, new, message):
    """Pins messages without the place or the mend; keys that nothing reads must not pass."""
    recipe.write_text(RECIPE.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        read_recipe(recipe)
    assert "\n" not in str(error.value) or "TOML" in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.steps", "expected key=value"),
        ("bitext.9.limit=1", "there is no '9'"),
        ("name.x=1", "name is a value, not a table"),
        ("training.stps=1", "did you mean 'steps'"),
    ],
)
def test_a_wrong_override_is_refused(recipe, override, message):
    """Pins overrides that set nothing."""
    with pytest.raises(InputError, match=message):
        read_recipe(recipe, [override])


def test_an_unknown_recipe_names_the_nearest():
    """Pins a typo in the recipe's name."""
    with pytest.raises(InputError, match=r"'quickstrt': no such file.*did you mean 'quickstart'\?"):
        find_recipe("quickstrt")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective.optical.beta=0.3", r"beta is read by solver ipot only, and solver is sinkhorn"),
        ("objective.optical.relaxation=0.3", r"relaxation is read by solver unbalanced only"),
        ("objective.optical={solver='ipot', epsilon=0.1}", r"epsilon is read by solver sinkhorn and unbalanced only"),
    ],
)
def test_a_key_that_the_solver_does_not_read(override, message):
    """Pins a sweep over a key that changes nothing."""
    with pytest.raises(InputError, match=message):
        read_recipe(find_recipe("quickstart"), [override])
