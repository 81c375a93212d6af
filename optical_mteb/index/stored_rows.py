"""An index's arrays: `vectors.npy` and `offsets.npy`, the rows to score the best again with, and `removed.npy`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.manifest import OFFSETS_FILE, REMOVED_FILE, VECTORS_FILE, IndexManifest
from optical_mteb.index.rows import Integers, Rows


def write_rows(
    folder: Path, parts: Iterable[NDArray[Any]], lengths: Integers | None, shape: tuple[int, int], dtype: DTypeLike
) -> None:
    """Write the rows of all documents, part by part, as float16 or float32; `lengths` is None where each has one.

    Appending beats a writable memory map, which ends the process where the disk is full.

    Raises:
        OSError: A file cannot be written.
    """
    kept = np.dtype(dtype).newbyteorder("<")
    with (folder / VECTORS_FILE).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": kept.str, "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(np.ascontiguousarray(part, kept).tobytes())
    if lengths is not None:
        np.save(folder / OFFSETS_FILE, Rows(np.empty((0, 0)), lengths).offsets, allow_pickle=False)


def stored_rows(folder: Path, manifest: IndexManifest) -> Rows:
    """The rows of an index as a memory map.

    Raises:
        InputError: A file cannot be read, or is not what is expected.
    """
    count, tokens = manifest.count, manifest.tokens
    path, shape = folder / VECTORS_FILE, (tokens or count, manifest.width)
    vectors = _loaded(path, mmap_mode="r")
    if vectors.shape != shape or vectors.dtype not in (np.float16, np.float32):
        raise InputError(
            f"{path}: holds {vectors.dtype} of shape {vectors.shape}, expected float16 of {shape}; "
            "copy or build the index again"
        )
    if tokens is None:
        return Rows.single(vectors)
    path = folder / OFFSETS_FILE
    offsets = _loaded(path)
    if (
        offsets.shape != (count + 1,)
        or offsets.dtype != np.int64
        or (offsets[0], offsets[-1]) != (0, tokens)
        or (np.diff(offsets) < 0).any()
    ):
        raise InputError(
            f"{path}: does not say where the {tokens:,} tokens of {count:,} documents begin; "
            "copy or build the index again"
        )
    return Rows(vectors, np.diff(offsets))


def removed_documents(folder: Path, manifest: IndexManifest) -> Integers:
    """Positions of the documents that are not to be found.

    Raises:
        InputError: The file cannot be read, or is not what is expected.
    """
    if REMOVED_FILE not in manifest.files:
        return np.empty(0, np.int64)
    path, count = folder / REMOVED_FILE, manifest.count
    removed = _loaded(path)
    whole = removed.shape == (manifest.removed,) and removed.dtype == np.int64
    if not whole or not ((removed >= 0) & (removed < count)).all():
        raise InputError(
            f"{path}: does not name {manifest.removed:,} of {count:,} documents; copy or build the index again"
        )
    return removed


def _loaded(path: Path, **how: Any) -> NDArray[Any]:  # noqa: ANN401 - as numpy's
    """An array of an index."""
    try:
        found: NDArray[Any] = np.load(path, allow_pickle=False, **how)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); copy or build the index again") from error
    return found
