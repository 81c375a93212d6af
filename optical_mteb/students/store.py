"""The student store: one folder per student under `OPTICAL_MTEB_HOME`, complete when its `optical.json` is there."""

from __future__ import annotations

import re
from pathlib import Path

from optical_mteb.errors import InputError
from optical_mteb.recipes import shipped_students
from optical_mteb.storage import collect, recover, students_folder
from optical_mteb.students.sidecar import SIDECAR_NAME, Sidecar, shipped_packs

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
    collect(folder)
    names = (path.parent.name for path in folder.glob(f"*/{SIDECAR_NAME}"))
    return sorted(name for name in names if re.fullmatch(NAME_PATTERN, name))


def student_folder(name: str) -> Path:
    """Checkpoint of a student: the one in the store, else the one that the package brings, which is unpacked first.

    Args:
        name: As for `read_student`, which says whether there is one.

    Raises:
        InputError: The name is none that the store takes, or the base of the package's student is not installed.
    """
    folder = student_path(name)
    recover(folder)
    if (folder / SIDECAR_NAME).is_file() or name not in shipped_packs():
        return folder
    from optical_mteb.students.packed import shipped_folder

    return shipped_folder(name)


def checked_folder(name: str) -> Path:
    """`student_folder`, once its files are found to be those on record.

    Raises:
        InputError: As `student_folder`; or the files are others.
    """
    from optical_mteb.bases import base_revision

    folder = student_folder(name)
    found, recorded = base_revision(str(folder)), Sidecar.read(folder).weights
    if found != recorded:
        raise InputError(
            f"{folder}: the weights hash to {found[:12]}, expected {recorded[:12]}; "
            "they changed since they were registered: restart, or train the student again"
        )
    return folder


def read_student(name: str) -> Sidecar:
    """What is on record about a student of the store, or else of the package.

    Raises:
        InputError: It is not there; the message says how to train it.
    """
    name = name.removeprefix(f"{ORGANISATION}/")
    folder = student_path(name)
    recover(folder)
    if not (folder / SIDECAR_NAME).is_file():
        if record := shipped_packs().get(name):
            return Sidecar.model_validate_json(record.read_text(encoding="utf-8"))
        recipe = shipped_students().get(name, "RECIPE.toml")
        raise InputError(
            f"student {name!r} is not trained yet: no checkpoint in {folder}; run: optical-mteb train {recipe}"
        )
    # The folder names the student, so that a copy is a student of its own.
    return Sidecar.read(folder).model_copy(update={"name": name})
