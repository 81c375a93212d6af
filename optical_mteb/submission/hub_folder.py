"""The folder to upload to the Hub: the checkpoint as sentence-transformers wrote it, and a card that discloses the data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from optical_mteb.bases import base_revision
from optical_mteb.students.sidecar import SIDECAR_NAME
from optical_mteb.submission.checks import SubmissionCheck

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta
    from mteb.models.models_protocols import MTEBModels

    from optical_mteb.submission.published import Published

CARD = "README.md"
DISCLOSURE = "## Data disclosure"

_PLAIN_FILES = {".json", ".md", ".safetensors", ".txt", ".model"}
"""Weights, settings, tokenizers and the card; neither code nor pickles."""


def write_hub_folder(student: Published, meta: ModelMeta, folder: Path) -> None:
    """Copy a student's checkpoint, less this package's record of it, with its card under the published name."""
    shutil.copytree(student.folder, folder, ignore=shutil.ignore_patterns(SIDECAR_NAME))
    card = folder / CARD
    text = card.read_text(encoding="utf-8").replace(student.local_name, student.name)
    card.write_text(f"{text.rstrip()}\n\n{disclosure(student, meta)}", encoding="utf-8")


def disclosure(student: Published, meta: ModelMeta) -> str:
    """The part of the card that says what the student was trained on."""
    sidecar = student.sidecar
    seen, own = meta.training_datasets, ", ".join(sidecar.mteb_tasks) or "none"
    inherited = "unknown, since what the base or the teacher was trained on is unknown"
    if seen is not None:
        inherited = ", ".join(sorted(seen)) or "none"
    sources = "\n".join(f"| {record.source} | {record.language} | {record.kept:,} |" for record in sidecar.bitext)
    return (
        f"{DISCLOSURE}\n\n"
        f"- License: {meta.license or 'not stated'}\n"
        f"- Languages: {', '.join(meta.languages or ())}\n"
        f"- Base: {sidecar.base_origin or sidecar.base}; teacher: {sidecar.teacher_origin or sidecar.teacher}\n"
        f"- MTEB tasks whose data this training read: {own}\n"
        f"- MTEB tasks whose data this training, its base or its teacher read: {inherited}\n\n"
        f"| training data | language | pairs |\n|---|---|---|\n{sources}\n"
    )


def check_hub_folder(folder: Path, student: Published) -> list[SubmissionCheck]:
    """Check that a folder holds the evaluated weights and nothing but data, and that its card has what the Hub reads."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    problems = [
        f"{path.relative_to(folder)} is neither weights nor settings"
        for path in files
        if path.suffix not in _PLAIN_FILES
    ]
    if not any(path.suffix == ".safetensors" for path in files):
        problems.append("there are no weights as safetensors")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    problems += [
        f"modules.json names {module['type']}, expected classes of sentence-transformers"
        for module in modules
        if not module["type"].startswith("sentence_transformers.")
    ]
    found = base_revision(str(folder))
    if found != student.sidecar.weights:
        problems.append(f"the weights hash to {found[:12]}, evaluated were {student.sidecar.weights[:12]}")
    return [
        SubmissionCheck.of("hub/ holds the evaluated weights, and no code", problems),
        SubmissionCheck.of("the model card has its data", _card_problems(folder / CARD)),
    ]


def _card_problems(path: Path) -> list[str]:
    from huggingface_hub import ModelCard

    card = ModelCard(path.read_text(encoding="utf-8"))
    problems = [f"{CARD} has no {name}" for name in ("language", "library_name", "tags") if not card.data.get(name)]
    if DISCLOSURE not in card.text:
        problems.append(f"{CARD} does not disclose the training data")
    return problems


def load_hub_folder(folder: Path, meta: ModelMeta) -> MTEBModels:
    """The model of a folder in MTEB's wrapper, as MTEB loads it from the Hub."""
    if meta.loader is None:
        raise ValueError(f"{meta.name} has no loader")
    # Offline, a wrapper that is given a folder looks up nothing.
    model = meta.loader(str(folder), device=None, **meta.loader_kwargs)
    model.mteb_model_meta = meta  # type: ignore[misc]
    return model
