"""`vectors.npy`: the float16 vectors that the best are scored again with, by position."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError


class VectorsWriter:
    """Writes the file shard by shard.

    Appending beats a writable memory map, which ends the process where the disk is full.
    """

    def __init__(self, path: Path, count: int, width: int) -> None:
        """Begin the file.

        Args:
            path: The file.
            count: Vectors that will be appended in all.
            width: Components of a vector.

        Raises:
            OSError: It cannot be written.
        """
        self._file = path.open("wb")
        header = {"descr": "<f2", "fortran_order": False, "shape": (count, width)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, vectors: NDArray[Any]) -> None:
        """Write vectors, [n, width].

        Raises:
            OSError: They cannot be written.
        """
        self._file.write(np.ascontiguousarray(vectors, "<f2").tobytes())


def mapped_vectors(path: Path, count: int, width: int) -> NDArray[np.float16]:
    """The vectors, [count, width], as a memory map.

    Raises:
        InputError: The file cannot be read, or has another form.
    """
    try:
        vectors: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); copy or build the index again") from error
    if vectors.shape != (count, width) or vectors.dtype != np.float16:
        raise InputError(
            f"{path}: holds {vectors.dtype} of shape {vectors.shape}, expected float16 of {(count, width)}; "
            "copy or build the index again"
        )
    return vectors
