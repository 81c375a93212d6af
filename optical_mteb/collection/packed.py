"""Text files packed by gzip, bzip2, xz or zstd, opened as what they hold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from optical_mteb.errors import InputError, reason_of


def _open_zstd(path: Path) -> io.BufferedReader:
    import pyarrow

    return io.BufferedReader(pyarrow.CompressedInputStream(path.open("rb"), "zstd"))


def _open_plain(path: Path) -> BinaryIO:
    return path.open("rb")


_OPENERS: Mapping[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstd,
}
"""By the end of a packed file's name."""


def unpacked_suffix(path: PurePath) -> str:
    """Suffix of what a file holds, lower case: `.tsv` of `a.tsv` and of `a.tsv.gz`."""
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if suffix in _OPENERS else suffix


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """The bytes that a file holds, streamed; its name tells how it is packed.

    Raises:
        InputError: The file cannot be read or unpacked, also later, while it is read inside the block.
    """
    try:
        with _OPENERS.get(path.suffix.lower(), _open_plain)(path) as stream:
            yield stream
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        # The system's errors have a number, those of gzip, bzip2 and zstd have none.
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"{path}: cannot be read ({error.strerror}); fix its permissions or path") from error
        raise InputError(f"{path}: cannot be unpacked ({reason_of(error)}); get the file again") from error
