"""The student store: one folder per student under `OPTICAL_MTEB_HOME`, complete when its `optical.json` is there."""

from __future__ import annotations

import re
from pathlib import Path

from optical_mteb.errors import InputError
from optical_mteb.recipes import shipped_students
from optical_mteb.storage import students_folder
from optical_mteb.students.sidecar import SIDECAR_NAME, Sidecar

ORGANISATION = "optical-mteb"
"""The part before the slash in the names under which MTEB knows the students."""

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
"""What a student may be called: a single path component that the Hub accepts, too."""


def student_path(name: str) -> Path:
    """Folder of a student in the store, whether it is there or not.

    Raises:
        InputError: The name is none that the store takes.
    """
    if not re.fullmatch(NAME_PATTERN, name):
        raise InputError(
            f"student name {name!r}: expected letters, digits, '.', '_' and '-', at most 96, the first a letter or digit"
        )
    return students_folder() / name


def student_names() -> list[str]:
    """Names of the students in the store, in alphabetical order."""
    folder = students_folder()
    if not folder.is_dir():
        return []
    names = (path.parent.name for path in folder.glob(f"*/{SIDECAR_NAME}"))
    return sorted(name for name in names if re.fullmatch(NAME_PATTERN, name))


def read_student(name: str) -> Sidecar:
    """What is on record about a student of the store.

    Raises:
        InputError: It is not there; the message says how to train it.
    """
    name = name.removeprefix(f"{ORGANISATION}/")
    folder = student_path(name)
    if not (folder / SIDECAR_NAME).is_file():
        recipe = shipped_students().get(name, "RECIPE.toml")
        raise InputError(
            f"student {name!r} is not trained yet: no checkpoint in {folder}; run: optical-mteb train {recipe}"
        )
    # The folder names the student, so that a copy is a student of its own.
    return Sidecar.read(folder).model_copy(update={"name": name})
