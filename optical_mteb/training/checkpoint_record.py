"""What a checkpoint records beside its tensors: what its run was started with, and the hashes of its files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from optical_mteb.students.sidecar import RecordedRecipe

CHECKSUMS = "checksums.json"
_CHECKSUMS = TypeAdapter(dict[str, str])


class RunRecord(BaseModel):
    """What a run was started with; another start goes on with it only if all of it is the same.

    Attributes:
        recipe: The validated recipe, defaults filled in.
        bitext_fingerprint: SHA-256 over the training pairs.
        base_revision: Revision of the student's base.
        teacher_revision: Revision of the teacher.
    """

    model_config = ConfigDict(extra="forbid")

    recipe: RecordedRecipe
    bitext_fingerprint: str
    base_revision: str
    teacher_revision: str

    def difference(self, other: RunRecord) -> str | None:
        """What another start has otherwise, in words; None where nothing is."""
        if self.recipe != other.recipe:
            key, own, theirs = next(_differences(self.recipe, other.recipe))
            return f"with {key} = {_shown(own)}, now {_shown(theirs)}"
        if self.bitext_fingerprint != other.bitext_fingerprint:
            return "on other bitext: the files of the recipe have changed since"
        for name in ("base_revision", "teacher_revision"):
            if getattr(self, name) != getattr(other, name):
                return f"from another {name.replace('_', ' ')} ({getattr(self, name)}, now {getattr(other, name)})"
        return None


class DamagedError(Exception):
    """What is wrong with a checkpoint, in words."""


def write_checksums(folder: Path) -> None:
    """Record the hashes of a folder's files, once all of them are there."""
    checksums = {path.name: _sha256(path) for path in folder.iterdir()}
    (folder / CHECKSUMS).write_text(json.dumps(checksums, indent=2) + "\n", encoding="utf-8")


def check(folder: Path) -> None:
    """Find out whether the files of a folder are those that were written.

    Raises:
        DamagedError: They are not, or not recorded.
    """
    try:
        checksums = _CHECKSUMS.validate_json((folder / CHECKSUMS).read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedError(f"{CHECKSUMS} cannot be read") from error
    for name, written in checksums.items():
        try:
            found = _sha256(folder / name)
        except (OSError, ValueError) as error:
            raise DamagedError(f"{name} cannot be read") from error
        if found != written:
            raise DamagedError(f"{name} has changed since it was written")


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _differences(own: dict[str, Any], other: dict[str, Any], path: str = "") -> Any:  # noqa: ANN401
    for key in [*own, *(key for key in other if key not in own)]:
        left, right = own.get(key), other.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differences(left, right, f"{path}{key}.")
        elif left != right:
            yield f"{path}{key}", left, right


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
