"""The import hook, in fresh interpreters: what the stock `mteb` sees, and that nothing can make it raise."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name

import pytest

from optical_mteb import _autoload

pytestmark = pytest.mark.slow


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


FACTS = """
import collections, json, sys
import mteb
ours = sum(name.split(".")[0] == "optical_mteb" for name in sys.modules)
from mteb.get_tasks import _TASKS_REGISTRY as tasks
from mteb.models.model_implementations import MODEL_REGISTRY as models
print(json.dumps({
    "task": "CLDRNameRetrieval" in tasks,
    "model": "optical-mteb/optical-student" in models,
    "names": [mteb.get_model_meta(name).name for name in sys.argv[1:]],
    "benchmarks": [each.name for each in mteb.get_benchmarks(["optical-clir"])] if sys.argv[1:] else [],
    "light": ours <= 30,
    "swahili": bool(sys.argv[1:]) and "CLDRNameRetrieval" in [each.metadata.name for each in mteb.get_tasks(languages=["swa"])],
    "most": max(collections.Counter(meta.name for meta in mteb.get_model_metas()).values()),
}))
"""
"""What the stock mteb knows, as JSON."""

NAMES = ("optical-student", "optical-mteb/optical-student")


def test_importing_mteb_registers_the_plugin():
    """Guards against a hook that is not installed or runs too early, a benchmark that is there in this process alone, and a short name that warns or lists a model twice.

    And against an excepthook that swallows the traceback of programs that merely import mteb, an import of mteb that
    loads more of this package than its tasks and the metadata of models need, and MTEB's macrolanguage code for Swahili.
    """
    mine = f"{FACTS}\nfrom optical_mteb.errors import InputError; raise InputError('mine')"
    code, output, errors = run("-W", "default::DeprecationWarning", "-c", mine, *NAMES)
    assert json.loads(output) == {
        "task": True,
        "model": True,
        "names": [NAMES[1]] * 2,
        "benchmarks": ["OPTICAL-CLIR"],
        "light": True,
        "swahili": True,
        "most": 1,
    }
    assert (code, "Traceback" in errors, "renamed" in errors, "could not register" in errors) == (1, True, False, False)


FORKS = """
import os, sys
import datasets, sentence_transformers
for code in sys.argv[1:]:
    child = os.fork()
    if not child:
        exec(code)
        sys.stdout.flush()
        os._exit(0)
    print("exit code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs each argument in a fork: what mteb and this package import is imported anew, the large libraries once."""

FIRST = """
import {}
import mteb
from mteb.get_tasks import _TASKS_REGISTRY
from mteb.models.model_implementations import MODEL_REGISTRY
print('CLDRNameRetrieval' in _TASKS_REGISTRY, 'optical-mteb/optical-student' in MODEL_REGISTRY)
"""


def test_any_module_of_ours_may_come_first_and_the_hook_can_be_off(tmp_path):
    """Guards against a circle: a module that imports mteb, whose hook needs that module, half imported as it is.

    And against OPTICAL_MTEB_DISABLE=1 without effect, and an `optical-mteb run` that needs the hook: without it the
    command has the same models and tasks, and ends with code 2 for bad input.
    """
    modules = ["optical_mteb.tasks.cldr_name_retrieval", "optical_mteb.students.meta", "optical_mteb.scores.compare"]
    words = ["run", "-m", "tico19-student", "-t", "CLDRNameRetrieval", "--output-folder", str(tmp_path / "results")]
    disabled = (
        f"os.environ |= {{'OPTICAL_MTEB_HOME': {str(tmp_path)!r}, 'OPTICAL_MTEB_DISABLE': '1'}}; sys.argv = ['-']"
        f"{FACTS}\nsys.argv += {words}\nfrom optical_mteb.cli import main; main()"
    )
    code, output, errors = run("-c", FORKS, *map(FIRST.format, modules), disabled)
    *first, facts, ended = output.splitlines()
    assert first == ["True True", "exit code 0"] * 3
    facts = json.loads(facts)
    assert (code, ended, facts["task"], facts["model"]) == (0, "exit code 2", False, False)
    (line,) = errors.strip().splitlines()
    assert line.startswith("optical-mteb: error: student 'tico19-student' is not trained")


def test_a_package_of_our_name_that_is_broken_ends_nothing(tmp_path):
    """Guards against a Python that only imports mteb and is taken down by this package, or one in its place."""
    ask = ("-P", "-c", "import mteb; print(mteb.__name__)")
    # The hook cares for the name alone.
    (tmp_path / "mteb.py").touch()
    broken = "import sys; sys.modules['optical_mteb.registry'] = None; import mteb; print(mteb.__name__)"
    code, output, errors = run("-P", "-c", broken, PYTHONPATH=str(tmp_path))
    assert (code, output) == (0, "mteb\n")
    assert "optical-mteb could not register with mteb" in errors
    package = tmp_path / "optical_mteb"
    package.mkdir()
    (package / "__init__.py").write_text("raise BaseException('broken')")
    assert run(*ask, PYTHONPATH=str(tmp_path)) == (0, "mteb\n", "")
    (package / "__init__.py").write_text("")
    (package / "_autoload.py").write_text((Path(_autoload.__file__)).read_text())
    (package / "registry.py").write_text("raise SystemExit(3)")
    code, output, errors = run(*ask, PYTHONPATH=str(tmp_path))
    assert (code, output) == (0, "mteb\n")
    assert "optical-mteb could not register with mteb: SystemExit: 3" in errors


def test_the_start_file_installs_the_finder_once(monkeypatch):
    """Guards against two finders: Python 3.15 calls what a `.start` file names twice in a virtual environment."""
    lines = Path(_autoload.__file__).with_name("optical_mteb.start").read_text().splitlines()
    (entry,) = [line for line in lines if line and not line.startswith("#")]
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder not in hooks()])
    for _ in range(2):
        resolve_name(entry)()
    assert len(hooks()) == 1
    hook = Path(_autoload.__file__).with_name("optical_mteb.pth").read_text().splitlines()[-1]
    exec(hook)
    assert len(hooks()) == 1
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if finder not in hooks()])
    for _ in range(2):
        exec(hook)
    assert len(hooks()) == 1


def test_start_up_imports_nothing():
    """Guards against a start-up cost: without mteb the hook loads no module at all, not even of ours."""
    ask = "import sys; print(*sorted(n for n in sys.modules if n.split('.')[0] in sys.argv[1:]))"
    _, output, _ = run("-c", ask, "optical_mteb", "mteb", "torch", "numpy", "pydantic", "platformdirs")
    assert output.split() == []


def hooks():
    """The finders of this package on the meta path."""
    return [finder for finder in sys.meta_path if getattr(finder, "__name__", "") == "OpticalMtebHook"]


def test_the_finder_cares_for_nothing_else():
    """Guards against a finder in the way of other imports, submodules of mteb and modules of similar names included."""
    names = ["mteb.tasks", "mtebx", "os", "optical_mteb"]
    assert len(hooks()) >= 1
    assert [hook.find_spec(name) for hook in hooks() for name in names] == [None] * len(names) * len(hooks())


def test_a_search_within_the_search_ends(monkeypatch):
    """Guards against endless recursion: while the other finders are asked for mteb, the hook has no answer."""
    asked = []
    monkeypatch.setattr(_autoload, "find_spec", lambda name: asked.append(_autoload.find_mteb()))
    assert _autoload.find_mteb() is None
    assert asked == [None]


def test_the_loader_stays_the_stock_one():
    """Guards against a wrapped loader that inspect, pickle or importlib.resources would stumble over."""
    spec = importlib.util.find_spec("mteb")
    assert type(spec.loader).__name__ == "SourceFileLoader"
    assert spec.loader.get_source("mteb")


def test_a_missing_student_is_one_line(tmp_path):
    """Guards against a traceback where a sentence does: what is missing, and the command that trains it."""
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
