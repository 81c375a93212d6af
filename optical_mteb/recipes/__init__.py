"""Training recipes that ship with the package, one TOML file each."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path


@cache
def shipped_recipes() -> dict[str, Path]:
    """Recipes of the package by file name without `.toml`, in alphabetical order."""
    folder = Path(str(files(__package__)))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


@cache
def shipped_students() -> dict[str, str]:
    """Students that the shipped recipes train, each with its recipe; one named after the student comes first."""
    students: dict[str, str] = {}
    for recipe, path in shipped_recipes().items():
        student = tomllib.loads(path.read_text(encoding="utf-8"))["name"]
        if recipe == student or student not in students:
            students[student] = recipe
    return students
