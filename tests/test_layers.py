"""The order of the layers: imports point down, and evaluation never needs training."""

import ast
from pathlib import Path

import pytest

import optical_mteb
import optical_mteb.tasks

LAYERS = [
    {"__main__"},
    {"cli"},
    {"study", "baselines", "submission", "report"},
    {"_autoload"},
    {"scores", "registry"},
    {"benchmark"},
    {"training", "students", "index", "tasks"},
    {"bases", "bitext", "transport", "recipes"},
    {"collection"},
    {"storage", "languages", "toml_file", "ray_cluster", "hardware", "progress"},
    {"errors", "citation", "_build", "__init__"},
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


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] if node.module != "optical_mteb" else [f"optical_mteb.{a.name}" for a in node.names]
        for name in names:
            if name.startswith("optical_mteb."):
                yield name.split(".")[1]


@pytest.mark.parametrize(("room", "path"), list(modules()), ids=lambda value: str(getattr(value, "name", value)))
def test_imports_point_down(room, path):
    """Pins a layer that reaches up, or sideways: only training may, into the store that it fills."""
    assert room in RANK, f"{room} has no layer"
    for imported in imported_rooms(path):
        if imported == "__version__" or imported == room:
            continue
        sideways = (room, imported) == ("training", "students")
        assert RANK[imported] > RANK[room] or sideways, f"{path} imports optical_mteb.{imported}"


def test_nothing_but_the_commands_imports_training():
    """Pins an evaluation that needs the trainer."""
    for room, path in modules():
        if room not in {"training", "cli", "study", "baselines"}:
            assert "training" not in set(imported_rooms(path)), path
