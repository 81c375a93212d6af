"""Every script in examples/ runs, with tiny models; and the list of them is complete."""

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from optical_mteb.registry import register
from optical_mteb.students import read_student, student_path

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def example(monkeypatch, tmp_path, capsys):
    """Runs an example in a folder of its own; gives what it printed."""
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    yield run
    monkeypatch.setenv("OPTICAL_MTEB_HOME", str(tmp_path / "none"))
    register()


def test_the_list_names_every_example():
    """Guards against an example that nobody finds, or a list of files that are gone."""
    scripts = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    text = (EXAMPLES / "README.md").read_text()
    assert {name for name in scripts if f"]({name})" in text and f"examples/{name}`" in text} == scripts
    assert text.count("](") == len(scripts) == 5


@pytest.mark.long
def test_python_examples_run(example, tiny_base, tmp_path):
    """Guards against an example that no longer runs: own TSV, own trainer, own collection, a large corpus."""
    printed = example("train_on_your_tsv.py", EXAMPLES / "data/bitext.tsv", "sw", tiny_base, 2)
    assert "my-student: 2 steps on 24 pairs" in printed
    assert read_student("my-student").bitext[0].language == "swh"
    trained = student_path("my-student")

    assert "saved to" in example("sentence_transformers_trainer.py", tiny_base, tmp_path / "out", 2)
    assert (tmp_path / "out" / "modules.json").is_file()

    register()
    shutil.copytree(trained, student_path("other-student"))
    register()
    printed = example(
        "evaluate_your_collection.py", EXAMPLES / "data/collection", tmp_path / "results", "my-student", "other-student"
    )
    assert "**ExampleNewsRetrieval" in printed
    assert "| swh-eng |" in printed

    printed = example("search_in_swahili.py", "my-student", 40, tmp_path / "index")
    assert printed.count("Bei ya chakula") >= 1
    assert len([line for line in printed.splitlines() if line.startswith(("  0.", "  1."))]) == 9


@pytest.mark.long
def test_the_ci_job_fails_where_a_model_is_worse(tmp_path):
    """Guards against a job that passes when the scores fall, or fails when they rise."""
    stub = tmp_path / "optical-mteb"
    stub.write_text(f'#!/bin/sh\n[ "$1" = run ] && exit 0\nexec "{sys.executable}" -m optical_mteb "$@"\n')
    stub.chmod(0o755)
    variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    models = ["pypi:multilingual-e5-small", "optical-mteb/quickstart-student"]
    codes = [
        subprocess.run(
            ["bash", EXAMPLES / "compare_in_ci.sh", *order, "CLDRNameRetrieval", ROOT / "results"],
            env=variables,
            capture_output=True,
            check=False,
        ).returncode
        for order in (models, models[::-1])
    ]
    assert codes == [0, 1]
