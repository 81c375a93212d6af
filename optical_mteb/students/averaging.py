"""Students as weighted means of others, or of a student and its base (model soups, Wortsman et al., ICML 2022, section 2).

sentence-transformers merges models through mergekit, whose dependencies are heavier than the arithmetic: hence this module.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optical_mteb.bases import base_folder, base_revision, is_hub_id
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, writing
from optical_mteb.students.sidecar import AveragedRecord, Sidecar
from optical_mteb.students.store import ORGANISATION, checked_folder, read_student, student_path
from optical_mteb.students.tensors import mean_file, tensors_of

_SHAPE = ("layers", "layer_selection", "feed_forward", "width")
_TOKENIZER = "tokenizer.json"
_LEFT_BY_USE = ("truncation", "padding")


@dataclass(frozen=True)
class _Side:
    spec: str
    folder: Path
    record: Sidecar | None


def average(specs: Sequence[str], name: str, *, weights: Sequence[float] | None = None) -> Sidecar:
    """Put the weighted mean of students into the store, in the place of an older student of that name.

    Its record is that of the first student, with the languages and tasks of all, and says what was averaged.

    Args:
        specs: Names of students, of the store or the package; one may be the base that they started from.
        name: Name of the mean.
        weights: Weights of the sides, which sum to 1; all alike by default. A negative one goes away from its side.

    Returns:
        What the store has on record about the mean.

    Raises:
        InputError: A side is not there, is of another base, kind, tokenizer or shape than the first student, or the
            weights do not fit; the store then is as it was.
    """
    target = student_path(name)
    shares = _shares(specs, weights)
    sides = _sides(specs)
    first, lead = next((side, side.record) for side in sides if side.record is not None)
    files = {path.relative_to(first.folder): tensors_of(path) for path in sorted(first.folder.rglob("*.safetensors"))}
    for side in sides:
        _check_fits(side, first, lead, files)
    with writing(target), atomic_folder(target) as folder:
        shutil.copytree(
            first.folder, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors", "README.md")
        )
        for path in files:
            mean_file([side.folder / path for side in sides], shares, folder / path)
        _write_card(folder, name, sides, shares)
        record = _record(name, sides, shares, lead, base_revision(str(folder)))
        record.write(folder)
    return record


def _shares(specs: Sequence[str], weights: Sequence[float] | None) -> list[float]:
    if len(specs) < 2:
        raise InputError(f"an average of {len(specs)}: name two or more students, or a student and its base")
    if weights is None:
        return [1 / len(specs)] * len(specs)
    if len(weights) != len(specs):
        raise InputError(f"{len(weights)} weights for {len(specs)} sides ({', '.join(specs)}); give one for each")
    if not math.isclose(math.fsum(weights), 1, abs_tol=1e-6):
        raise InputError(f"the weights {' '.join(map(str, weights))} sum to {math.fsum(weights):g}; expected 1")
    return list(weights)


def _sides(specs: Sequence[str]) -> list[_Side]:
    records: dict[str, Sidecar] = {}
    missing: dict[str, InputError] = {}
    for spec in specs:
        try:
            records[spec] = read_student(spec)
        except InputError as error:
            missing[spec] = error
    first = next(iter(records.values()), None)
    for spec, problem in missing.items():
        if first is None or spec != first.base:
            raise problem
    if first is None:
        raise InputError("an average of bases alone: name at least one student")
    return [
        _Side(spec, checked_folder(records[spec].name), records[spec])
        if spec in records
        else _Side(spec, _base_folder(first), None)
        for spec in specs
    ]


def _base_folder(student: Sidecar) -> Path:
    """Folder of the base that a student started from."""
    if is_hub_id(student.base):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        patterns = ["*.json", "*.safetensors"]
        try:
            return Path(snapshot_download(student.base, revision=student.base_revision, allow_patterns=patterns))
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise InputError(
                f"{student.base}: the Hub does not give revision {student.base_revision} ({type(error).__name__}); "
                "check the connection, or average students alone"
            ) from error
    folder, found = base_folder(student.base), base_revision(student.base)
    if found != student.base_revision:
        raise InputError(
            f"{student.base}: has revision {found[:12]}, and {student.name} started from {student.base_revision[:12]}; "
            "average students alone, or bring that base back"
        )
    return folder


def _check_fits(side: _Side, first: _Side, lead: Sidecar, files: dict[Path, dict[str, tuple[int, ...]]]) -> None:
    """Refuse a side whose weights do not mean the same as those of the first student."""
    for what, own, wanted in _traits(side, lead):
        if own != wanted:
            raise _refusal(side, first, what, own, wanted)
    if _tokenizer(side.folder) != _tokenizer(first.folder):
        raise InputError(
            f"{side.spec} has another tokenizer or vocabulary than {first.spec}; average students that share theirs"
        )
    found = {path.relative_to(side.folder) for path in side.folder.rglob("*.safetensors")}
    if side.record is not None and found != set(files):
        raise _refusal(side, first, "files", _listed(found), _listed(set(files)))
    for path, shapes in files.items():
        own = tensors_of(side.folder / path) if path in found else {}
        for name, shape in shapes.items():
            if own.get(name) != shape:
                raise _refusal(side, first, f"the shape of tensor {name}", own.get(name), shape)


def _traits(side: _Side, lead: Sidecar) -> list[tuple[str, Any, Any]]:
    record = side.record
    if record is None:
        return []
    own, wanted = (each.recipe.get("student", {}) for each in (record, lead))
    traits = [(name, getattr(record, name), getattr(lead, name)) for name in ("kind", "base", "base_revision")]
    traits += [(name, own.get(name), wanted.get(name)) for name in _SHAPE]
    if wanted.get("width") is not None:
        # The map to fewer dimensions starts at directions that the bitext decides.
        traits.append(("bitext_fingerprint", record.bitext_fingerprint, lead.bitext_fingerprint))
    return traits


def _refusal(side: _Side, first: _Side, what: str, own: object, wanted: object) -> InputError:
    return InputError(
        f"{side.spec} and {first.spec} cannot be averaged: {what} is {own} there and {wanted} here; "
        "average students of one base, kind, shape and vocabulary"
    )


def _tokenizer(folder: Path) -> dict[str, Any]:
    """The tokenizer's settings, less what its last use left in them."""
    path = folder / _TOKENIZER
    try:
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); average models whose tokenizer is in this file") from error
    return {key: value for key, value in settings.items() if key not in _LEFT_BY_USE}


def _record(name: str, sides: Sequence[_Side], shares: Sequence[float], lead: Sidecar, weights: str) -> Sidecar:
    records = [side.record for side in sides if side.record is not None]
    prints = list(dict.fromkeys(record.bitext_fingerprint for record in records))
    licenses = {record.license for record in records}
    return lead.model_copy(
        update={
            "name": name,
            "weights": weights,
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "steps": max(record.steps for record in records),
            "bitext": [
                source
                for n, record in enumerate(records)
                for source in record.bitext
                if not any(source in other.bitext for other in records[:n])
            ],
            "bitext_fingerprint": prints[0]
            if len(prints) == 1
            else hashlib.sha256("".join(prints).encode()).hexdigest(),
            "languages": sorted({tag for record in records for tag in record.languages}),
            "mteb_tasks": sorted({task for record in records for task in record.mteb_tasks}),
            "license": licenses.pop() if len(licenses) == 1 else None,
            "metrics": {},
            "average": [
                AveragedRecord(
                    of=side.spec if side.record is None else side.record.name,
                    revision=lead.base_revision if side.record is None else side.record.weights,
                    weight=share,
                )
                for side, share in zip(sides, shares, strict=True)
            ],
        }
    )


def _write_card(folder: Path, name: str, sides: Sequence[_Side], shares: Sequence[float]) -> None:
    rows = "\n".join(f"| {side.spec} | {share:g} |" for side, share in zip(sides, shares, strict=True))
    text = (
        f"---\nlibrary_name: sentence-transformers\ntags:\n- mteb\n- cross-lingual\n- optical-mteb\n---\n\n"
        f"# {ORGANISATION}/{name}\n\nThe weighted mean of these models' weights:\n\n| model | weight |\n|---|---|\n{rows}\n"
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _listed(paths: set[Path]) -> str:
    return ", ".join(sorted(path.as_posix() for path in paths))
