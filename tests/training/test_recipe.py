"""Recipes: what a mistake in one says, and where."""

import pytest

from optical_mteb.errors import InputError
from optical_mteb.recipes import shipped_recipes, shipped_students
from optical_mteb.training.recipe import BatchSettings, find_recipe, read_recipe

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
    """Guards against a recipe that ships broken, and a student that no recipe trains."""
    for path in shipped_recipes().values():
        assert shipped_students()[read_recipe(path).name] in shipped_recipes()


def test_overrides_reach_every_kind_of_key(recipe):
    """Guards against overrides of numbers, strings, new tables or items of an array that do not arrive."""
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
        ('name = "mine"', '\ufeffname = "mine"\nstepps = 1', r"mine.toml:2: unknown key 'stepps'"),
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
        ("[training]", "[batches]\nalpa = 0.5\n[training]", r"mine.toml:19: unknown key 'batches.alpa'; .* 'alpha'\?"),
        ("[training]", "[batches]\nzzz = 1\n[training]", r"mine.toml:19: unknown key 'batches.zzz'; known keys: mono"),
    ],
)
def test_a_mistake_is_named_with_its_line(recipe, old, new, message):
    """Guards against messages without the place or the fix, also behind a byte order mark, and keys that nothing reads."""
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
    """Guards against overrides that set nothing and pass."""
    with pytest.raises(InputError, match=message):
        read_recipe(recipe, [override])


def test_a_base_beside_the_recipe(recipe, tmp_path, monkeypatch):
    """Guards against a folder that is found from one working folder only; other specs stay as they are written."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    read = read_recipe(recipe, ["teacher.base=intfloat/e5"])
    assert (read.student.base, read.teacher.base) == (str(tmp_path / "tiny"), "intfloat/e5")
    (tmp_path / "link").symlink_to(tmp_path / "tiny")
    for base in (str(tmp_path / "link"), "pypi:multilingual-e5-small", ""):
        assert read_recipe(recipe, [f"student.base={base}"]).student.base == base


def test_an_unknown_recipe_names_the_nearest():
    """Guards against a traceback for a typo in the recipe's name."""
    with pytest.raises(InputError, match=r"'quickstrt': no such file.*did you mean 'quickstart'\?"):
        find_recipe("quickstrt")


def test_a_record_from_before_a_key_existed(recipe):
    """Guards against students of an older release that look as if another recipe had trained them."""
    checked = read_recipe(recipe)
    recorded = checked.model_dump(mode="json", exclude_none=True)
    del recorded["batches"], recorded["student"]["layer_selection"], recorded["training"]["checkpoint_every"]
    assert checked.is_recorded_as(recorded)
    assert not checked.is_recorded_as({**recorded, "seed": checked.seed + 1})
    assert not checked.is_recorded_as({**recorded, "unheard": 1})


MULTILINGUAL = "batches.multilingual=1"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batches.monolingual=-1"], r"batches.monolingual: .*equal to 0 \(it is -1\)"),
        (["batches.cross_lingual=0"], r"batches: the shares monolingual, .* are all 0; make one positive"),
        (["evaluation.pairs=1"], r"evaluation.pairs: .*equal to 2"),
        (["objective.optical.beta=0.3"], r"beta is read by solver ipot only, and solver is sinkhorn"),
        (["objective.optical.relaxation=0.3"], r"relaxation is read by solver unbalanced only"),
        (["objective.optical={solver='ipot', epsilon=0.1}"], r"epsilon is read by solver sinkhorn and unbalanced only"),
        (["training={steps=200, average=3}"], r"average = 3: 200 steps write 2 checkpoints \(checkpoint_every = 100\)"),
        (
            ["training={steps=200, average=2}", "evaluation={}"],
            r"training.average: \[evaluation\] keeps the best student",
        ),
        (["training.embedding_rate=1e-4"], r"embedding_rate is read with student.freeze_embeddings = 'unused' only"),
        (["batches.caps.tgl=5"], r"batches.caps: there is no bitext of 'tgl'; there is of som, swh$"),
        (["batches.caps.xyz=5"], r"batches.caps: there is no bitext of 'xyz'; there is of som, swh$"),
        (
            [MULTILINGUAL, "bitext=[{source='cldr:swh'}]"],
            r"swh is the only language; add .*, or leave multilingual out$",
        ),
        ([MULTILINGUAL, "bitext=[{source='cldr:swh'}, {source='a.tsv', language='sw'}]"], r"swh is the only language"),
        ([MULTILINGUAL, "objective.optical.marginals=idf"], r"marginals = 'idf' counts English.*; use uniform or norm"),
    ],
)
def test_keys_that_contradict_each_other(recipe, overrides, message):
    """Guards against a sweep over a key that changes nothing, and a crash after the models are loaded."""
    with pytest.raises(InputError, match=message) as error:
        read_recipe(recipe, overrides)
    assert "\n" not in str(error.value)


def test_batches_reach_the_sampler(recipe):
    """Guards against a key of [batches] that changes nothing, and caps under another spelling of the language."""
    keys = {"monolingual": 1.0, "cross_lingual": 2.0, "multilingual": 3.0, "alpha": 0.5, "window": 4}
    overrides = [f"batches.{key}={value}" for key, value in keys.items()]
    mixture = read_recipe(recipe, [*overrides, "batches.caps={sw=7, 'som-Latn'=9}"]).mixture
    assert mixture == BatchSettings(**keys, caps={"swh": 7, "som": 9})
    plain = read_recipe(recipe, ["objective.optical.marginals=idf"]).mixture
    assert plain == BatchSettings(caps={})
    assert read_recipe(recipe, ["evaluation={}"]).evaluation.pairs == 100
    assert read_recipe(recipe, ["student.freeze_embeddings=unused", "training.embedding_rate=1e-4"])
    assert read_recipe(recipe).evaluation is None
