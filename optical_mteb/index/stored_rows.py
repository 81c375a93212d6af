"""`vectors.npy` and `offsets.npy`: the rows that the best documents are scored again with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.manifest import OFFSETS_FILE, VECTORS_FILE
from optical_mteb.index.rows import Integers, Rows


def write_rows(
    folder: Path, parts: Iterable[NDArray[Any]], lengths: Integers | None, shape: tuple[int, int], dtype: DTypeLike
) -> None:
    """Write the rows of all documents, part by part.

    Appending beats a writable memory map, which ends the process where the disk is full.

    Args:
        folder: The new index.
        parts: The rows, in order.
        lengths: Rows of each document; None where each has one, which needs no file.
        shape: Of all rows.
        dtype: float16 or float32.

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


def stored_rows(folder: Path, count: int, width: int, tokens: int | None) -> Rows:
    """The rows as a memory map.

    Args:
        folder: The index.
        count: Documents.
        width: Components of a row.
        tokens: Rows of all documents; None where each has one.

    Raises:
        InputError: A file cannot be read, or is not what is expected.
    """
    path, shape = folder / VECTORS_FILE, (count if tokens is None else tokens, width)
    vectors = loaded(path, mmap_mode="r")
    if vectors.shape != shape or vectors.dtype not in (np.float16, np.float32):
        raise InputError(
            f"{path}: holds {vectors.dtype} of shape {vectors.shape}, expected float16 of {shape}; "
            "copy or build the index again"
        )
    if tokens is None:
        return Rows.single(vectors)
    path = folder / OFFSETS_FILE
    offsets = loaded(path)
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


def loaded(path: Path, **how: Any) -> NDArray[Any]:  # noqa: ANN401 - as numpy's
    """An array of an index.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        found: NDArray[Any] = np.load(path, allow_pickle=False, **how)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); copy or build the index again") from error
    return found
