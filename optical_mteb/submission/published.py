"""A student as it will be known once it is published: name, revision, and metadata, with its source, without a trace of this package."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from optical_mteb.errors import InputError
from optical_mteb.students.meta import student_meta
from optical_mteb.students.store import NAME_PATTERN, ORGANISATION, checked_folder, read_student

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

    from optical_mteb.students.sidecar import Sidecar

COMMIT = r"[0-9a-f]{40}"
"""A commit on the Hub."""

REQUIRED = (
    "name",
    "loader",
    "languages",
    "open_weights",
    "revision",
    "release_date",
    "n_parameters",
    "n_embedding_parameters",
    "memory_usage_mb",
    "embed_dim",
    "license",
    "max_tokens",
    "reference",
    "similarity_fn_name",
    "framework",
    "training_datasets",
)
"""Fields of `ModelMeta` that reviewers or tests of mteb ask for."""


@dataclass(frozen=True)
class Published:
    """A student under the name that it is published by.

    Attributes:
        sidecar: What is on record about the student.
        folder: Its checkpoint in the store.
        hub_id: `owner/name` of its repository on the Hub; None where none is chosen yet.
        commit: Commit of the weights on the Hub; None where they are not uploaded yet.
    """

    sidecar: Sidecar
    folder: Path
    hub_id: str | None = None
    commit: str | None = None

    @property
    def local_name(self) -> str:
        """MTEB's name of the student on this machine."""
        return f"{ORGANISATION}/{self.sidecar.name}"

    @property
    def name(self) -> str:
        """The name that it is published by: the local one until there is a repository."""
        return self.hub_id or self.local_name

    @property
    def revision(self) -> str:
        """The commit, or the hash of the weights in its place."""
        return self.commit or self.sidecar.weights


def as_published(model: str, *, hub_id: str | None = None, revision: str | None = None) -> Published:
    """The student of the store, under the name that it is published by.

    Args:
        model: Name of a student, `optical-mteb/` before it or not.
        hub_id: `owner/name` of its repository on the Hub; the local name by default.
        revision: Commit of its weights in that repository.

    Raises:
        InputError: It is not a student of the store, or its weights are not those on record; or the repository or the
            commit is none.
    """
    name = model.removeprefix(f"{ORGANISATION}/")
    if "/" in name or ":" in name:
        raise InputError(
            f"{model}: expected a student of the store (optical-mteb models lists them); results of a model that MTEB "
            f"knows need no package: mteb submit-results -m {model}"
        )
    sidecar = read_student(name)
    folder = checked_folder(sidecar.name)
    if hub_id is not None and not re.fullmatch(f"{NAME_PATTERN}/{NAME_PATTERN}", hub_id):
        raise InputError(f"--hub-id {hub_id}: expected OWNER/NAME, a repository on the Hub")
    if revision is not None:
        if hub_id is None:
            raise InputError("--revision is a commit in the repository that --hub-id names; give both")
        if not re.fullmatch(COMMIT, revision):
            raise InputError(f"--revision {revision}: expected a commit on the Hub, 40 digits of 0-9 and a-f")
        if revision == sidecar.weights:
            raise InputError(
                f"--revision {revision}: is the hash of the weights on this machine; expected the commit that the Hub "
                "shows for the uploaded folder"
            )
    return Published(sidecar, folder, hub_id, revision)


def published_meta(student: Published) -> ModelMeta:
    """MTEB's metadata of a student as published, loaded by MTEB's own wrapper of its kind."""
    from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper, SentenceTransformerEncoderWrapper

    late = student.sidecar.kind == "late_interaction"
    return student_meta(student.sidecar.name).model_copy(
        update={
            "loader": MultiVectorWrapper if late else SentenceTransformerEncoderWrapper,
            "name": student.name,
            "revision": student.revision,
            "reference": f"https://huggingface.co/{student.hub_id}" if student.hub_id else None,
        }
    )


def local_paths(sidecar: Sidecar) -> list[str]:
    """What the record of a student, and with it its card, names by a path on this machine."""
    named = (sidecar.base, sidecar.teacher, *(record.source for record in sidecar.bitext))
    return sorted({each for each in named if re.search(r"(^|:)(/|~|[A-Za-z]:\\)", each)})


def missing_fields(meta: ModelMeta) -> list[str]:
    """Fields that mteb asks for and that are not known."""
    return [name for name in REQUIRED if getattr(meta, name) is None]


def source_name(meta: ModelMeta) -> str:
    """File name, after the owner of the model: `<owner>_models.py`."""
    return f"{_identifier(str(meta.name).partition('/')[0])}_models.py"


def model_source(meta: ModelMeta) -> str:
    """A module that defines the model: mteb's own `to_python`, with what it needs imported, in ruff's format if there."""
    loader = getattr(meta.loader, "__name__", "None")
    return _formatted(
        f"from mteb.models.model_meta import ModelMeta, ScoringFunction\n"
        f"from mteb.models.sentence_transformer_wrapper import {loader}\n\n"
        f"{_identifier(str(meta.name).partition('/')[2])} = {meta.to_python()}\n"
    )


def _identifier(name: str) -> str:
    word = re.sub(r"\W+", "_", name.lower()).strip("_")
    return word if word.isidentifier() else f"model_{word}"


def _formatted(source: str) -> str:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        return source
    made = subprocess.run(  # noqa: S603 - ruff, on text of mteb
        [ruff, "format", "--isolated", "-"], input=source, capture_output=True, text=True, check=False
    )
    return made.stdout if made.returncode == 0 else source
