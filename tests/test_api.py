"""The public names of `optical_mteb`: what they cost to import, what help shows, and that they do what the commands do."""

import json
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import optical_mteb
from tests.conftest import tiny_recipe

ROOT = Path(__file__).parents[1]


def test_importing_the_package_loads_nothing_heavy():
    """Guards against an `import optical_mteb` that waits for torch or mteb, or names that need them to be looked at.

    And against heavy imports at the top of the modules of bitext and bases, which `optical-mteb --help` would wait for.
    """
    code = (
        "import sys, optical_mteb; before = set(sys.modules);"
        "import optical_mteb.bitext.held_out; bitext = set(sys.modules); import optical_mteb.bases; bases = set(sys.modules);"
        "dir(optical_mteb); [getattr(optical_mteb, name) for name in optical_mteb.__all__ if name != 'tasks'];"
        "optical_mteb.models();"
        "print([name for name in before if name.startswith('optical_mteb.')],"
        "sorted({'torch', 'mteb', 'transformers', 'datasets', 'babel'} & bitext),"
        "sorted({'torch', 'transformers', 'tokenizers'} & bases),"
        "sorted({'torch', 'mteb', 'faiss', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] [] [] []"


def test_help_shows_the_public_names_on_one_screen():
    """Guards against a public name that help does not show at once, or that has no documentation and example."""
    screen = pydoc.render_doc(optical_mteb, renderer=pydoc.plaintext).splitlines()[:24]
    shown = "\n".join(screen)
    for name in optical_mteb.__all__:
        assert f"optical_mteb.{name}" in shown
        if name not in ("InputError", "register"):
            assert "Examples:" in getattr(optical_mteb, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = optical_mteb.trian


@pytest.mark.long
def test_a_student_is_trained_loaded_and_searched_with(monkeypatch, tmp_path, tiny_base):
    """Guards against Python functions that do other things than the commands: a dict, overrides, an index with texts."""
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    recipe = tiny_recipe(tiny_base, training={"steps": 500, "batch_size": 8})
    said = []
    record = optical_mteb.train(recipe, say=said.append, seed=5, objective={"contrastive": {}}, **{"training.steps": 2})
    assert (record.name, record.seed, record.steps) == ("tiny-student", 5, 2)
    assert record.objective == "1 x contrastive"
    assert recipe["training"]["steps"] == 500
    assert "tiny-student" in optical_mteb.models()
    with pytest.raises(optical_mteb.InputError, match=r"recipe: unknown key 'training\.stps'; did you mean 'steps'"):
        optical_mteb.train(recipe, **{"training.stps": 1})

    student = optical_mteb.load_student("optical-mteb/tiny-student", device="cpu")
    assert student.encode_query("afya").shape == (32,)
    with pytest.raises(optical_mteb.InputError, match="run: optical-mteb train tico19"):
        optical_mteb.load_student("tico19-student")

    corpus = tmp_path / "corpus.jsonl"
    texts = {"d1": "maternal health", "d2": "road traffic", "d3": "a third document"}
    corpus.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()))
    built = optical_mteb.Index.build(tmp_path / "index", corpus, "tiny-student", device="cpu", say=said.append)
    index = optical_mteb.Index.open(tmp_path / "index", device="cpu")
    assert len(built) == len(index) == 3
    first, second = index.search(["road traffic", "health"], k=2)
    assert [hit.text for hit in first] == [texts[hit.id] for hit in first]
    assert [hit.score for hit in second] == sorted((hit.score for hit in second), reverse=True)
    query, document = student.encode_query(["road traffic"]), student.encode_document([first[0].text])
    assert first[0].score == pytest.approx(float(student.similarity(query, document)), abs=1e-4)


def test_tasks_and_comparisons(capsys):
    """Guards against a list of tasks without the package's, and a comparison that cannot be printed."""
    import optical_mteb.tasks as modules

    assert optical_mteb.tasks() == modules() == [*modules.__all__]
    compared = optical_mteb.compare(
        "pypi:multilingual-e5-small",
        "optical-mteb/quickstart-student",
        tasks=["CLDRNameRetrieval"],
        results=ROOT / "results",
        metrics=["ndcg_at_10"],
    )
    row = next(row for row in compared.rows if row.name == "som-eng")
    assert 100 * row.difference == pytest.approx(19.2, abs=0.1)
    assert "| som-eng | 63.4 | 82.7 | +19.2\\* |" in str(compared)
    with pytest.raises(optical_mteb.InputError, match=r"write tasks=\['CLDRNameRetrieval'\]"):
        optical_mteb.compare("a/b", "c/d", tasks="CLDRNameRetrieval")
