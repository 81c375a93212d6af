"""Alignments of a sentence pair: the plan, its text form, its picture, and what bad input says."""

import io
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

from optical_mteb.errors import InputError
from optical_mteb.students import student_path
from optical_mteb.training import explain as explain_module
from optical_mteb.training import explain_picture
from optical_mteb.training.explain import Alignment, align, as_text, draw, explain
from optical_mteb.training.losses.token_transport import TokenTransport
from optical_mteb.training.recipe import read_recipe
from optical_mteb.training.run import train
from tests.training.conftest import recipe_tables


@pytest.fixture
def recipe(tiny_base):
    def read(*overrides):
        training = {"steps": 2, "batch_size": 8}
        tables = recipe_tables(tiny_base, student={"max_tokens": 24}, training=training, objective={"optical": {}})
        return read_recipe(tables, overrides)

    return read


def planted(english, translation, plan=None, label="planted"):
    plan = torch.full((len(translation), len(english)), 1.0) if plan is None else torch.tensor(plan)
    return Alignment(label, english, translation, plan / plan.sum(), 0.25, 1.5, 1e-7)


def shown(alignments, width):
    console = Console(width=width, file=io.StringIO())
    console.print(as_text(alignments))
    return console.file.getvalue()


def test_equal_sentences_align_on_the_diagonal(tiny_model):
    """Guards against a plan whose rows and columns are another order than the tokens, and figures that are not the plan's."""
    model = tiny_model()
    alignment = align(model, model, "maji ya 7", "maji ya 7", transport=TokenTransport(epsilon=0.005, iterations=500))
    assert alignment.english == alignment.translation == ["m", "##a", "##j", "##i", "y", "##a", "7"]
    assert alignment.plan.shape == (7, 7)
    assert alignment.shares.argmax(-1).tolist() == list(range(7))
    assert alignment.plan.diagonal().sum() > 0.9
    plan = alignment.plan.double()
    tokens = model.encode("maji ya 7", output_value="token_embeddings")[1:-1]
    cost = 1 - torch.nn.functional.cosine_similarity(tokens.unsqueeze(1), tokens.unsqueeze(0), dim=-1)
    assert alignment.cost == pytest.approx((plan * cost).sum().item(), abs=1e-6)
    assert alignment.entropy == pytest.approx(-(plan * plan.clamp_min(1e-30).log()).sum().item(), abs=1e-5)
    by_hand = (plan.sum(0) - 1 / 7).abs().sum() + (plan.sum(1) - 1 / 7).abs().sum()
    assert alignment.marginal_error == pytest.approx(by_hand.item(), abs=1e-5)


def test_rows_are_the_translation_and_columns_the_english_sentence(tiny_model):
    """Guards against a plan that is transposed, and prompt or special tokens among the labels."""
    student, teacher = tiny_model(), tiny_model(seed=1)
    alignment = align(
        student, teacher, "ab c", "xy", student_prompt="query: ", teacher_prompt="passage: ", label="tiny"
    )
    assert (alignment.english, alignment.translation) == (["a", "##b", "c"], ["x", "##y"])
    assert alignment.plan.shape == (2, 3)
    assert alignment.label == "tiny"


def test_align_uses_the_transport_that_it_is_given(tiny_model):
    """Guards against a solver setting that is read and dropped: an exact plan has no entropy to spread."""
    student, teacher = tiny_model(), tiny_model(seed=1)
    exact, blurred = (
        align(student, teacher, "abc", "xyz", transport=transport)
        for transport in (TokenTransport(solver="exact"), TokenTransport(epsilon=10.0))
    )
    assert exact.cost < blurred.cost
    assert exact.entropy == pytest.approx(torch.tensor(3.0).log().item(), abs=1e-4)
    assert blurred.entropy == pytest.approx(torch.tensor(9.0).log().item(), abs=1e-2)


@pytest.mark.long
def test_before_and_after_training(recipe, tmp_path, tiny_base):
    """Guards against a trained student that is not shown, an explanation that writes to the store, and one that trains."""
    checked = recipe()
    assert [a.label for a in explain(checked, "water", "maji", device="cpu")] == [f"{tiny_base}, untrained"]
    assert not student_path("tiny-student").exists()
    train(checked, device="cpu", say=lambda line: None)
    store = student_path("tiny-student").parent
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    lines = []
    first, second = explain(checked, "water", "maji", device="cpu", output=tmp_path / "both.png", say=lines.append)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
    assert (first.label, second.label) == (f"{tiny_base}, untrained", "tiny-student, trained 2 steps")
    assert first.cost != second.cost
    assert lines == [f"picture: {tmp_path / 'both.png'}"]


@pytest.mark.parametrize("objective", ["marginals='idf'", "solver='ipot'", "layers=[-1, -2]"])
def test_the_recipe_decides_on_the_transport(recipe, objective):
    """Guards against an explanation with another cost, marginal or solver than training has."""
    recipes = recipe(), recipe(f"objective.optical.{objective}")
    plain, other = (explain(checked, "water is", "maji ya", device="cpu")[0] for checked in recipes)
    assert not torch.allclose(plain.plan, other.plan, atol=1e-6)
    assert other.marginal_error < 0.05


def test_the_bitext_stays_unread(recipe, monkeypatch):
    """Guards against a look at one pair that reads a corpus of millions first."""
    monkeypatch.setattr(explain_module.ParallelCorpus, "load", lambda *_, **__: pytest.fail("read the bitext"))
    assert explain(recipe(), "water", "maji", device="cpu")


@pytest.mark.long
def test_a_base_of_another_width_waits_for_its_training(recipe, tmp_path, tiny_base, tiny_model):
    """Guards against a matrix product of unequal widths: the untrained base has no projection yet."""
    folder = tmp_path / "narrow"
    tiny_model(hidden=16).save_pretrained(str(folder), create_model_card=False)
    checked = recipe(f"student.base={folder}")
    lines = []
    with pytest.raises(InputError, match="train it first"):
        explain(checked, "water", "maji", device="cpu", say=lines.append)
    assert len(lines) == 1
    assert "16 dimensions, the teacher's 32" in lines[0]
    train(checked, device="cpu", say=lambda line: None)
    (only,) = explain(checked, "water", "maji", device="cpu", say=lambda line: None)
    assert only.label == "tiny-student, trained 2 steps"


@pytest.mark.parametrize(("english", "translation"), [("", "maji"), ("water", " \n"), ("[PAD]", "maji")])
def test_a_sentence_without_tokens_is_named(recipe, english, translation):
    """Guards against a plan of nothing, which draws as a picture of nothing."""
    with pytest.raises(InputError, match=r"(is empty|holds no token).*expected a sentence"):
        explain(recipe(), english, translation, device="cpu")


def test_one_token_takes_all(tiny_model):
    """Guards against tables that need more than one token."""
    model = tiny_model()
    alignment = align(model, model, "a", "b")
    assert alignment.plan.tolist() == [[pytest.approx(1.0)]]
    assert "100%" in shown([alignment], 80)


def test_a_long_sentence_is_cut_and_says_so(recipe):
    """Guards against a cut that nobody notices, and one at another place than training's."""
    lines = []
    (alignment,) = explain(recipe(), "short", "neno " * 30, device="cpu", say=lines.append)
    assert lines == ["translation: cut to 24 of 128 tokens, prompt and special tokens included (student.max_tokens)"]
    assert len(alignment.translation) == 24 - 2 - len("query:")
    assert len(alignment.english) == 5


TWO = [planted(["$a$", "b_"], ["c", "[d]"]), planted(["a"], ["c"])]
HUNDRED = [f"token{number}" for number in range(100)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("suffix", "start", "alignments", "bounds"),
    [
        (".png", b"\x89PNG", [planted(["a"], ["b"])], (200, 6000)),
        (".PNG", b"\x89PNG", [planted(HUNDRED, HUNDRED, torch.eye(100).tolist())], (1500, 6000)),
        (".pdf", b"%PDF", TWO, None),
        (".svg", b"<?xml", TWO, None),
    ],
)
def test_the_picture_is_what_its_name_says(tmp_path, suffix, start, alignments, bounds):
    """Guards against a PNG under another suffix, and a picture that is empty or that no viewer opens."""
    path = tmp_path / f"picture{suffix}"
    draw(alignments, path)
    assert path.read_bytes().startswith(start)
    if bounds is not None:
        with Image.open(path) as image:
            image.verify()
            assert bounds[0] < min(image.size) <= max(image.size) < bounds[1]


@pytest.mark.parametrize("width", [200, 30])
def test_the_text_names_every_token(width):
    """Guards against tokens that a narrow terminal swallows, and brackets that are read as markup."""
    english, translation = ["·Wash", "[bold]", "·hands", "."], ["·osha", "[/]", "·mikono", "."]
    plan = [[0.9, 0.1, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    text = shown([planted(english, translation, plan)], width)
    assert all(token in text for token in english + translation)
    assert "·Wash 90%" in text
    assert max(map(len, text.splitlines())) <= width
    assert ("█████" in text) == (width == 200)


def test_marks_of_tokenizers_are_readable():
    """Guards against byte-level tokens that show as mojibake, and combining marks that sit on the wrong letter."""
    assert explain_module._from_bytes("Ġhello") == "·hello"
    assert explain_module._from_bytes("à¤ª") == "प"
    assert explain_module._from_bytes("à¤") == "<E0 A4>"
    assert explain_module._visible("ा") == "◌ा"
    assert explain_module._visible("\u200c") == "U+200C"


@pytest.fixture
def ethiopic_font(tmp_path):
    """A font of one empty glyph for the letters of ሰላም, known to matplotlib for this test."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib.font_manager import fontManager

    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "letter"])
    builder.setupCharacterMap({ord(letter): "letter" for letter in "ሰላም"})
    pen = TTGlyphPen(None)
    for move, point in ((pen.moveTo, (0, 0)), (pen.lineTo, (0, 700)), (pen.lineTo, (500, 0))):
        move(point)
    pen.closePath()
    builder.setupGlyf({".notdef": pen.glyph(), "letter": pen.glyph()})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "letter"), (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Test Ethiopic", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWeightClass=400)
    builder.setupPost()
    path = tmp_path / "ethiopic.ttf"
    builder.save(path)
    known = list(fontManager.ttflist)
    # Fonts of this machine must not decide the test.
    fontManager.ttflist = [entry for entry in known if entry.name.startswith("DejaVu")]
    yield lambda: fontManager.addfont(path)
    fontManager.ttflist = known
    fontManager._findfont_cached.cache_clear()


def test_a_script_without_a_font_takes_one_line(ethiopic_font, tmp_path, caplog):
    """Guards against a warning per glyph, and labels of boxes."""
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw([planted(["peace"], ["·ሰላም"])], tmp_path / "none.png", say=lines.append)
    assert len(lines) == 1
    assert "Ethiopic" in lines[0]
    assert explain_picture._labels(["a", "·ሰላም"], set("ሰላም")) == ["a", "2"]
    assert not caplog.records


def test_a_font_of_the_machine_is_found(ethiopic_font, tmp_path, caplog):
    """Guards against labels in the default font alone."""
    ethiopic_font()
    assert explain_picture._fonts(set("abሰላም")) == (["DejaVu Sans", "Test Ethiopic"], set())
    caplog.clear()
    lines = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw([planted(["peace"], ["·ሰላም"])], tmp_path / "some.png", say=lines.append)
    assert lines == []
    assert not caplog.records


@pytest.mark.parametrize("text", ["हाथ धोएं", "ሰላም ለዓለም"])
def test_other_scripts_align(tiny_model, text):
    """Guards against words unknown to the tokenizer that leave the problem: they stand for text."""
    model = tiny_model()
    alignment = align(model, model, "peace", text)
    assert alignment.translation == ["[UNK]", "[UNK]"]
    assert alignment.plan.sum() == pytest.approx(1.0, abs=1e-4)
    assert all(word in shown([planted(["peace"], text.split())], 60) for word in text.split())


@pytest.mark.parametrize(
    ("name", "says"), [("plan.gif", "use one of"), ("plan", "use one of"), ("nowhere/plan.png", "no such folder")]
)
def test_the_output_is_checked_before_a_model_is_loaded(recipe, tmp_path, monkeypatch, name, says):
    """Guards against minutes of loading ahead of a typing error."""
    monkeypatch.setattr(explain_module, "load_base", lambda *_, **__: pytest.fail("loaded a model"))
    with pytest.raises(InputError, match=says):
        explain(recipe(), "water", "maji", device="cpu", output=tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        explain(recipe(), "water", "maji", device="cpu", output=tmp_path / "folder.png")


def test_text_needs_no_matplotlib(recipe, tmp_path, monkeypatch):
    """Guards against an optional library that the text form imports."""
    monkeypatch.setattr(explain_picture, "find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    assert "m" in shown(explain(recipe(), "water", "maji", device="cpu"), 80)
    with pytest.raises(InputError, match=r"pip install 'optical-mteb\[plot\]'"):
        explain(recipe(), "water", "maji", device="cpu", output=Path(tmp_path / "plan.png"))
