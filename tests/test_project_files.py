"""Files for people who carry the project on: they can be read, and they name what is there."""

import re
import tomllib
from configparser import ConfigParser
from pathlib import Path

import yaml

import optical_mteb

ROOT = Path(__file__).parents[1]
MAKE = (ROOT / "Makefile").read_text()


def test_one_version_everywhere():
    """Guards against a release whose changelog, citation or package is of another version."""
    version = optical_mteb.__version__
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: optical_mteb.__version__"
    lowest = config["options"]["python_requires"].removeprefix(">=")
    assert f"Python :: {lowest}\n" in config["metadata"]["classifiers"]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["python_version"] == lowest


def test_workflows_run_what_there_is():
    """Guards against a workflow or hook that is no YAML, or that runs a target of make that is not there."""
    workflows = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").iterdir()}
    assert set(workflows) == {"test.yml", "release.yml"}
    matrix = workflows["test.yml"]["jobs"]["test"]["strategy"]["matrix"]["python-version"]
    classifiers = re.findall(r"Python :: (3\.\d+)\n", (ROOT / "setup.cfg").read_text())
    assert matrix == classifiers
    targets = workflows["test.yml"]["jobs"]["releases"]["strategy"]["matrix"]["target"]
    for job in workflows["test.yml"]["jobs"].values():
        targets += [step["run"].removeprefix("make ") for step in job["steps"] if "run" in step]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    for tool in (hook["entry"].split()[0] for hook in hooks):
        assert tool.replace(".venv/bin", "$(BIN)") in MAKE
    for target in targets:
        assert "{" in target or re.search(rf"^([\w -]+ )?{target}( [\w -]+)?:", MAKE, re.M), target
    for form in (ROOT / ".github/ISSUE_TEMPLATE").iterdir():
        assert yaml.safe_load(form.read_text())


def test_paths_exist():
    """Guards against a guide to files that were moved."""
    named = re.findall(r"`([\w/]+(?:\.(?:py|toml|md|yml|cfg|cff)|/))`", (ROOT / "CONTRIBUTING.md").read_text())
    assert len(named) > 10
    places = [ROOT, ROOT / "optical_mteb", ROOT / "optical_mteb/training"]
    assert [name for name in named if not any((place / name).exists() for place in places)] == []
