"""Wheel and editable install, each in a fresh environment: the stock `mteb` must know the plugin."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ["optical_mteb", "tasks", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
ASK = (
    "import mteb, optical_mteb.tasks; print(mteb.get_task('CLDRNameRetrieval').metadata.name, "
    "mteb.get_model_meta('optical-student').name, optical_mteb.__file__);"
    "from importlib.metadata import entry_points as e;"
    "print([len(e(group=g)) for g in ('mteb.models', 'mteb.tasks')])"
)

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path):
    """A copy of the sources, so that building leaves nothing in the tree."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)
    return folder


@pytest.fixture
def environment(tmp_path):
    """A fresh virtual environment that sees the current packages but none of their start-up files."""
    folder = tmp_path / "environment"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    Path(site, "current.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def call(*command, **options):
    """Runs a command away from the checkout; its output, or a failure with all that it printed."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PIP_CONSTRAINT")}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env=variables, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def install(environment, *arguments):
    call(sys.executable, "-m", "pip", "--python", environment, "install", "--quiet", "--no-deps", *arguments)


def test_the_wheel(checkout, environment, tmp_path):
    """Guards against `pip install .` without the hook, the tasks, a recipe, weights, the command or the entry points.

    And against a wheel that carries tests, or whose hook does not work.
    """
    pytest.importorskip("build", reason="the package `build` is not installed (pip install 'optical-mteb[dev]')")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, checkout, cwd=tmp_path)
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    packages = {path.relative_to(ROOT).as_posix() for path in (ROOT / "optical_mteb").rglob("*.py")}
    tasks = {f"optical_mteb/tasks/{path.name}" for path in (ROOT / "tasks").glob("*.py")}
    recipes = {path.relative_to(ROOT).as_posix() for path in (ROOT / "optical_mteb" / "recipes").glob("*.toml")}
    weights = {path.relative_to(ROOT).as_posix() for path in (ROOT / "optical_mteb/students/weights").iterdir()}
    assert any(name.endswith("/optical-student.safetensors") for name in weights)
    hooks = {"optical_mteb.pth", "optical_mteb.start", "optical_mteb/py.typed"}
    assert packages | tasks | recipes | weights | hooks <= names
    assert not any(name.startswith(("tests/", "tasks/", "build/")) for name in names)
    install(environment, wheel)
    printed = call(environment, "-c", ASK, cwd=tmp_path)
    assert printed.startswith("CLDRNameRetrieval optical-mteb/optical-student")
    assert str(tmp_path / "environment") in printed
    assert printed.splitlines()[-1] == "[1, 1]"
    stock = Path(sysconfig.get_path("scripts"), "mteb")
    assert "CLDRNameRetrieval" in call(environment, stock, "available-tasks", "-l", "som", cwd=tmp_path)
    script = environment.with_name("optical-mteb")
    assert call(script, "--version", cwd=tmp_path).startswith("optical-mteb ")


def test_the_editable_install(checkout, environment, tmp_path):
    """Guards against an editable install without the hook, or without the tasks that live beside the package."""
    install(environment, "--no-build-isolation", "--editable", checkout)
    printed = call(environment, "-c", ASK, cwd=tmp_path)
    assert printed.splitlines()[0].split() == [
        "CLDRNameRetrieval",
        "optical-mteb/optical-student",
        str(checkout / "optical_mteb" / "__init__.py"),
    ]
