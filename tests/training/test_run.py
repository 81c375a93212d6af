"""The whole path on a tiny random model: recipe, student in the store, MTEB score; and what a failed run leaves."""

import json
import shutil

import pytest
import torch
from sentence_transformers import SentenceTransformer

from optical_mteb.bases import base_revision
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.students import read_student, student_names, student_path
from optical_mteb.training.fit import batches
from optical_mteb.training.models import load_models
from optical_mteb.training.objective import build_loss
from optical_mteb.training.recipe import ObjectiveSettings, read_recipe
from optical_mteb.training.run import train
from tests.training.conftest import recipe_tables

pytestmark = pytest.mark.long


def tables(base):
    objective = {"optical": {"weight": 0.2}, "transport_contrastive": {"temperature": 0.1}}
    student, training = {"prune_vocabulary": True}, {"steps": 6, "log_every": 2}
    return recipe_tables(base, student=student, training=training, objective=objective, license="mit")


@pytest.fixture
def recipe(tiny_base):
    return tables(tiny_base)


@pytest.fixture(scope="module")
def plain(tmp_path_factory, tiny_base):
    """Record of the recipe's student, what its training said, and the home that it is in."""
    home, lines = tmp_path_factory.mktemp("plain") / "home", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTICAL_MTEB_HOME", str(home))
        return train(read_recipe(tables(tiny_base)), say=lines.append), lines, home


def test_training_leaves_a_complete_student(recipe, tiny_base, plain, monkeypatch):
    """Guards against an incomplete checkpoint: native format, sidecar, card, a revision that is the hash of its weights."""
    trained, lines, home = plain
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(home))
    folder = student_path("tiny-student")
    assert student_names() == ["tiny-student"]
    assert read_student("tiny-student") == trained
    assert trained.weights == base_revision(str(folder))
    assert trained.languages == ["eng-Latn", "som-Latn", "swh-Latn"]
    assert trained.mteb_tasks == ["CLDRNameRetrieval"]
    corpus = ParallelCorpus.load(read_recipe(recipe).bitext)
    assert {source.language: source.kept for source in trained.bitext} == corpus.counts
    assert trained.bitext_fingerprint == corpus.fingerprint
    assert 0 <= trained.metrics["marginal_error"] < 4
    assert {"loss", "optical", "transport_contrastive"} <= trained.metrics.keys()
    assert trained.recipe["training"]["weight_decay"] == 0.01
    student = SentenceTransformer(str(folder), device="cpu")
    assert student.prompts["query"] == "query: "
    base = SentenceTransformer(str(tiny_base), device="cpu")
    assert student.max_seq_length == base.max_seq_length
    assert not torch.allclose(
        student.encode_query("maji", convert_to_tensor=True), base.encode_query("maji", convert_to_tensor=True)
    )
    card = (folder / "README.md").read_text()
    assert "license: mit" in card
    assert str(tiny_base) not in card.split("## Training Details")[0]
    assert not list(folder.glob("*.bin")) + list(folder.glob("*.pt"))
    assert any("after pruning" in line for line in lines)


def test_the_same_seed_gives_the_same_weights(recipe, plain):
    """Guards against randomness that no seed controls."""
    checked = read_recipe(recipe)
    assert train(checked, say=lambda _: None).weights == plain[0].weights
    assert train(checked.model_copy(update={"seed": 14}), say=lambda _: None).weights != plain[0].weights


def test_a_diverged_run_saves_nothing(recipe, plain, own_home):
    """Guards against a NaN checkpoint, and an older student that a failed run takes away."""
    older, _, home = plain
    shutil.copytree(home, own_home)
    checked = read_recipe(recipe)
    # Beyond what a recipe may say.
    wild = checked.training.model_copy(update={"learning_rate": 1e38})
    with pytest.raises(
        InputError, match=r"diverged: .* not finite.*; nothing was saved; lower training|diverged: .* is nan at step"
    ):
        train(checked.model_copy(update={"training": wild}), say=lambda _: None)
    assert read_student("tiny-student").weights == older.weights
    assert [path.name for path in student_path("tiny-student").parent.iterdir()] == ["tiny-student"]


def test_prompts_of_the_recipe_are_kept(recipe, tiny_model, tmp_path):
    """Guards against prompts lost where the base has none: the recipe names them, and the student has them at inference."""
    bare = tiny_model()
    bare.prompts = {}
    bare.save_pretrained(str(tmp_path / "bare"), create_model_card=False)
    bases = [f"student.base={tmp_path / 'bare'}", f"teacher.base={tmp_path / 'bare'}"]
    with pytest.raises(InputError, match=r"has no recorded prompt 'query' \(it has none\); give it one as prompts ="):
        train(read_recipe(recipe, bases), say=lambda _: None)
    prompts = ["student.prompts={query='q: ', document='p: '}", "teacher.prompts={document='p: '}"]
    train(read_recipe(recipe, [*bases, *prompts]), say=lambda _: None)
    assert SentenceTransformer(str(student_path("tiny-student"))).prompts == {"query": "q: ", "document": "p: "}


def test_max_tokens_beyond_the_model(recipe):
    """Guards against a crash on the first long text where the recipe allows more tokens than the model has positions."""
    assert train(read_recipe(recipe, ["student.max_tokens=4096"]), say=lambda _: None).max_tokens == 128


@pytest.mark.parametrize("device", ["cuda:1", "gpu"])
def test_devices_that_cannot_be_chosen(recipe, device):
    """Guards against a device that the trainer would silently replace by another."""
    with pytest.raises(InputError, match=r"expected cpu, cuda or mps; choose a GPU with CUDA_VISIBLE_DEVICES"):
        train(read_recipe(recipe), device=device, say=lambda _: None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("student.max_tokens=7", r"\[student\] .*max_tokens = 7 leaves no room after a prompt of 8 tokens"),
        ("bitext.0.source='cldr:tgl'", r"CLDR has no names in Tagalog"),
    ],
)
def test_bad_input_leaves_nothing(recipe, own_home, override, message):
    """Guards against half-written students: the failure is one line, and the store stays as it was."""
    with pytest.raises(InputError, match=message) as error:
        train(read_recipe(recipe, [override]), say=lambda _: None)
    assert "\n" not in str(error.value)
    assert not own_home.exists() or not any((own_home / "students").iterdir())


def test_a_late_interaction_student(recipe):
    """Guards against a student that needs this package at inference: a stock MultiVectorEncoder, in MTEB's stock wrapper."""
    from mteb.models.model_meta import ScoringFunction
    from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper
    from sentence_transformers import MultiVectorEncoder

    from optical_mteb.students.meta import load_student, student_meta

    overrides = ["student.kind=late_interaction", "objective={contrastive={score='maxsim'}}"]
    trained = train(read_recipe(recipe, overrides), say=lambda _: None)
    folder = student_path("tiny-student")
    student = MultiVectorEncoder(str(folder), device="cpu")
    assert trained.kind == "late_interaction"
    assert student.prompts["query"] == "query: "
    assert not any("optical_mteb" in module["type"] for module in json.loads((folder / "modules.json").read_text()))
    query, document = student.encode_query("maji"), student.encode_document("water")
    assert query.dim() == 2
    assert student.similarity([query], [document]).shape == (1, 1)
    assert isinstance(load_student("optical-mteb/tiny-student", trained.weights, "cpu"), MultiVectorWrapper)
    meta = student_meta("tiny-student")
    assert meta.model_type == ["late-interaction"]
    assert meta.similarity_fn_name == ScoringFunction.MAX_SIM
    card = (folder / "README.md").read_text()
    assert "MultiVectorEncoder" in card
    assert "## Training Details" in card
    assert "per_device_train_batch_size" in card


def test_a_late_interaction_model_is_a_base(recipe, tmp_path):
    """Guards against a ColBERT, as teacher or base, read with other tokens than its own or trained unlike the rest."""
    from optical_mteb.bases import load_base

    train(read_recipe(recipe, ["student.kind=late_interaction"]), say=lambda _: None)
    base = load_base(str(student_path("tiny-student")), device="cpu")
    assert base.prompts["document"] == "passage: "
    path = f"teacher.base={student_path('tiny-student')}"
    assert train(read_recipe(recipe, [path, "name=second"]), say=lambda _: None).kind == "dense"


def test_the_cache_of_the_teacher_changes_nothing(recipe):
    """Guards against cached outputs that are not those of the teacher, and a teacher that reads again, or too much.

    Too much is all of a corpus of which a short training sees a part.
    """
    mixture = "batches={monolingual=1, cross_lingual=1, multilingual=1}"
    overrides = [mixture, "training.log_every=1", "objective.optical.layers=[-1,-2]", "objective.anchor={}"]
    plain = train(read_recipe(recipe, overrides), say=lambda _: None)
    lines, again, cache = [], [], [*overrides, "teacher.cache=true"]
    checked = read_recipe(recipe, cache)
    cached = train(checked, say=lines.append)
    for name in ("optical", "transport_contrastive", "anchor", "loss"):
        assert cached.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-2, abs=1e-3)
    train(read_recipe(recipe, [*cache, "training.learning_rate=1e-4"]), say=again.append)
    assert any(line.startswith("teacher: read 0 texts") for line in again)
    corpus = ParallelCorpus.load(checked.bitext)
    _, _, sampler = batches(checked, load_models(checked, corpus, say=lambda _: None), corpus)
    seen = {corpus[example.pair].english for batch in sampler for example in batch if example.kind != "multilingual"}
    assert len(seen) < len({pair.english for pair in corpus}) / 2
    assert any(line.startswith(f"teacher: read {len(seen)} texts") for line in lines)


def test_a_collapsed_student_is_refused():
    """Guards against a student that gives all sentences one embedding, trained to the end and saved."""
    from optical_mteb.training.trainer import check_health

    start = {"first_cosine": 0.7, "teacher_cosine": 0.75}
    check_health({"loss": 1.0, "student_cosine": 0.8, **start}, 3)
    check_health({"loss": 1.0, "student_cosine": 0.9991, "teacher_cosine": 0.75, "first_cosine": 0.999}, 3)
    check_health({"loss": 1.0, "teacher_cosine": 0.75, "first_cosine": 0.7}, 3)
    with pytest.raises(
        InputError, match=r"collapsed: at step 3 .* 0.9990 \(0.7500 in the teacher\); nothing was saved"
    ):
        check_health({"loss": 1.0, "student_cosine": 0.999, **start}, 3)
    with pytest.raises(InputError, match=r"diverged: loss is nan at step 3; nothing was saved; lower"):
        check_health({"loss": float("nan")}, 3)


def test_broken_weights_are_refused(recipe, tiny_model, tmp_path):
    """Guards against NaN in a base, which would end as NaN in a student."""
    broken = tiny_model()
    next(broken.parameters()).data[3, 0] = float("nan")
    broken.save_pretrained(str(tmp_path / "broken"), create_model_card=False)
    for table in ("student", "teacher"):
        with pytest.raises(InputError, match=r"broken: weight '.*' is not finite everywhere; get the model again"):
            train(read_recipe(recipe, [f"{table}.base={tmp_path / 'broken'}"]), say=lambda _: None)
    assert student_names() == []


def test_hostile_sentences_of_an_unknown_language(recipe, tmp_path):
    """Guards against a run that hostile text breaks, and a finished one that is lost because its language is just a tag.

    Hostile are one token, none that the model knows, 10,000 tokens, and another script.
    """
    texts = ["a", "水水水", "[SEP][SEP] [CLS]", "neno " * 10_000, "नमस्ते दुनिया", "!"]
    rows = "".join(f"sentence number {i}\t{text} {i}\n" for i, text in enumerate(texts * 4))
    (tmp_path / "pairs.tsv").write_text(rows)
    bitext = "bitext=[{source='pairs.tsv', language='kik-Latn', max_length_ratio=1e6}]"
    anchored = ["objective.anchor={}", "objective.contrastive={score='maxsim'}", "objective.sentence={}"]
    trained = train(read_recipe(recipe, [bitext, *anchored]), recipe_folder=tmp_path, say=lambda _: None)
    assert trained.languages == ["eng-Latn", "kik-Latn"]
    assert {"loss", "optical", "marginal_error"} <= trained.metrics.keys()
    assert all(torch.isfinite(torch.tensor(value)) for value in trained.metrics.values())


def test_the_contrast_scores_as_the_student_does(tiny_model):
    """Guards against a late-interaction student trained by the pooling that it does not have."""
    models = tiny_model(), tiny_model()
    plain, named = (ObjectiveSettings.model_validate({"contrastive": keys}) for keys in ({}, {"score": "cosine"}))
    scores = [build_loss(plain, *models, kind=kind).losses[0].score for kind in ("dense", "late_interaction")]
    assert scores == ["cosine", "maxsim"]
    assert build_loss(named, *models, kind="late_interaction").losses[0].score == "cosine"


@pytest.mark.parametrize("override", ["objective.optical.solver=unbalanced", "objective.optical.marginals=idf"])
def test_transport_settings_reach_the_training(recipe, plain, override):
    """Guards against a key of the recipe that changes nothing."""
    trained = train(read_recipe(recipe, [override]), say=lambda _: None)
    assert trained.metrics["optical"] != plain[0].metrics["optical"]


def test_dropout_is_the_recipes(recipe, tiny_base, tiny_model, tmp_path):
    """Guards against a base's own dropout that stays on, and a student whose saved configuration has lost it."""
    base = tiny_model()
    config = base.transformers_model.config
    config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.3
    base.save_pretrained(str(tmp_path / "base"), create_model_card=False)
    for share in (0.0, 0.2):
        settings = [f"student.base={tmp_path / 'base'}", f"teacher.base={tiny_base}", f"student.dropout={share}"]
        checked = read_recipe(recipe, settings)
        student = load_models(checked, ParallelCorpus.load(checked.bitext), say=lambda _: None).student
        assert {module.p for module in student.modules() if isinstance(module, torch.nn.Dropout)} == {share}
    train(checked, say=lambda _: None)
    saved = SentenceTransformer(str(student_path("tiny-student")), device="cpu").transformers_model.config
    assert saved.hidden_dropout_prob == 0.3
