"""The import hook, in fresh interpreters: what the stock `mteb` sees, and that nothing can make it raise."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from optical_mteb import _autoload


def run(*arguments, **environment):
    """Runs Python in an environment of its own; returns exit code, output and errors."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200", **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


ASK = (
    "import mteb; from mteb.get_tasks import _TASKS_REGISTRY as t; from mteb.models.model_implementations import "
    "MODEL_REGISTRY as m; print('CLDRNameRetrieval' in t, 'optical-mteb/optical-student' in m)"
)


def test_importing_mteb_registers_the_plugin():
    """Pins a hook that is not installed, or that runs before mteb's registries are there."""
    assert run("-c", ASK) == (0, "True True\n", "")


@pytest.mark.parametrize(
    "module",
    ["optical_mteb.tasks.cldr_name_retrieval", "optical_mteb.students.meta", "optical_mteb.scores.results"],
)
def test_any_module_of_ours_may_come_first(module):
    """Pins a circle: a module that imports mteb, whose hook needs that module, half imported as it is."""
    assert run("-c", f"import {module}; {ASK}") == (0, "True True\n", "")


def test_it_can_be_turned_off():
    """Pins OPTICAL_MTEB_DISABLE=1: mteb as if this package were not installed."""
    assert run("-c", ASK, OPTICAL_MTEB_DISABLE="1") == (0, "False False\n", "")


def test_python_m_mteb_lists_the_tasks_of_swahili():
    """Pins runpy, which asks for the spec twice, and MTEB's macrolanguage code for Swahili."""
    code, output, errors = run("-m", "mteb", "available-tasks", "-l", "swa")
    assert (code, "CLDRNameRetrieval" in output, errors) == (0, True, "")


def test_a_broken_plugin_costs_one_warning():
    """Pins a hook that takes mteb down with it."""
    broken = "import sys; sys.modules['optical_mteb.registry'] = None; import mteb; print(mteb.__name__)"
    code, output, errors = run("-c", broken)
    assert (code, output) == (0, "mteb\n")
    assert "optical-mteb could not register with mteb" in errors


def test_a_package_of_our_name_that_is_in_the_way_ends_nothing(tmp_path):
    """Guards against a Python that only imports mteb and is ended by a broken package called optical_mteb."""
    package = tmp_path / "optical_mteb"
    package.mkdir()
    ask = ("-P", "-c", "import mteb; print(mteb.__name__)")
    (package / "__init__.py").write_text("raise BaseException('broken')")
    assert run(*ask, PYTHONPATH=str(tmp_path)) == (0, "mteb\n", "")
    (package / "__init__.py").write_text("")
    (package / "_autoload.py").write_text((Path(_autoload.__file__)).read_text())
    (package / "registry.py").write_text("raise SystemExit(3)")
    code, output, errors = run(*ask, PYTHONPATH=str(tmp_path))
    assert (code, output) == (0, "mteb\n")
    assert "optical-mteb could not register with mteb: SystemExit: 3" in errors


def test_start_up_imports_nothing():
    """Pins a start-up cost: without mteb the hook loads no module at all, not even of ours."""
    ask = "import sys; print(*sorted(n for n in sys.modules if n.split('.')[0] in sys.argv[1:]))"
    _, output, _ = run("-c", ask, "optical_mteb", "mteb", "torch", "numpy", "pydantic", "platformdirs")
    assert output.split() == []


def hooks():
    """The finders of this package on the meta path."""
    return [finder for finder in sys.meta_path if getattr(finder, "__name__", "") == "OpticalMtebHook"]


def test_the_finder_cares_for_nothing_else():
    """Pins a finder in the way of other imports, submodules of mteb and modules of similar names included."""
    names = ["mteb.tasks", "mtebx", "os", "optical_mteb"]
    assert len(hooks()) >= 1
    assert [hook.find_spec(name) for hook in hooks() for name in names] == [None] * len(names) * len(hooks())


def test_the_finder_never_raises(monkeypatch):
    """Pins an import of mteb that fails because this package is damaged."""
    monkeypatch.setitem(sys.modules, "optical_mteb._autoload", None)
    assert [hook.find_spec("mteb") for hook in hooks()] == [None] * len(hooks())


def test_a_search_within_the_search_ends(monkeypatch):
    """Pins endless recursion: while the other finders are asked for mteb, the hook has no answer."""
    asked = []
    monkeypatch.setattr(_autoload, "find_spec", lambda name: asked.append(_autoload.find_mteb()))
    assert _autoload.find_mteb() is None
    assert asked == [None]


def test_the_loader_stays_the_stock_one():
    """Pins a wrapped loader that inspect, pickle or importlib.resources would stumble over."""
    spec = importlib.util.find_spec("mteb")
    assert type(spec.loader).__name__ == "SourceFileLoader"
    assert spec.loader.get_source("mteb")


def test_a_missing_student_is_one_line(tmp_path):
    """Pins a traceback where a sentence does: what is missing, and the command that trains it."""
    code, _, errors = run(
        *("-m", "mteb", "run", "-m", "tico19-student", "-t", "CLDRNameRetrieval"),
        *("--output-folder", str(tmp_path / "results")),
        OPTICAL_MTEB_HOME=str(tmp_path),
    )
    last = errors.strip().splitlines()[-1]
    assert code == 1
    assert last.startswith("mteb: error: student 'tico19-student' is not trained yet: no checkpoint in ")
    assert last.endswith("run: optical-mteb train tico19")
    assert "Traceback" not in errors


def test_the_command_needs_no_hook(tmp_path):
    """Pins `optical-mteb run` where the hook is off: the same models and tasks, and exit code 2 for bad input."""
    code, _, errors = run(
        *("-m", "optical_mteb", "run", "-m", "tico19-student", "-t", "CLDRNameRetrieval"),
        *("--output-folder", str(tmp_path / "results")),
        OPTICAL_MTEB_HOME=str(tmp_path),
        OPTICAL_MTEB_DISABLE="1",
    )
    assert code == 2
    assert errors.strip().splitlines()[-1].startswith("optical-mteb: error: student 'tico19-student' is not trained")


def test_other_errors_keep_their_traceback():
    """Pins an excepthook that swallows the traceback of programs that merely import mteb."""
    code, _, errors = run("-c", "import mteb; from optical_mteb.errors import InputError; raise InputError('mine')")
    assert code == 1
    assert "Traceback" in errors


@pytest.mark.parametrize("name", ["optical-student", "optical-mteb/optical-student"])
def test_both_names_resolve_without_a_warning(name):
    """Pins the bare name, which mteb calls renamed, and the full one: one model, listed once."""
    ask = (
        f"import mteb, collections; print(mteb.get_model_meta({name!r}).name);"
        "print(max(collections.Counter(m.name for m in mteb.get_model_metas()).values()))"
    )
    assert run("-W", "default", "-c", ask)[:2] == (0, "optical-mteb/optical-student\n1\n")
    assert "renamed" not in run("-W", "default", "-c", ask)[2]
