"""Text files packed by gzip, bzip2, xz or zstd, opened as what they hold."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from optical_mteb.errors import InputError

SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
"""Endings of the names of packed files."""


def unpacked_suffix(path: PurePath) -> str:
    """Suffix of what a file holds, lower case: `.tsv` of `a.tsv` and of `a.tsv.gz`."""
    suffix = path.suffix.lower()
    return path.with_suffix("").suffix.lower() if suffix in SUFFIXES else suffix


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """The bytes that a file holds, streamed; its name tells how it is packed.

    Raises:
        InputError: The file cannot be read or unpacked, also later, while it is read inside the block.
    """
    try:
        with _stream(path) as stream:
            yield stream
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        # The system's errors have a number, those of gzip, bzip2 and zstd have none.
        if error.errno is None:
            raise _damaged(path, error) from error
        raise InputError(f"{path}: cannot be read ({error.strerror}); fix its permissions or path") from error


def _stream(path: Path) -> BinaryIO:
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return cast("BinaryIO", gzip.open(path))
    if suffix == ".bz2":
        return cast("BinaryIO", bz2.open(path))
    if suffix == ".xz":
        return cast("BinaryIO", lzma.open(path))
    if suffix == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(path.open("rb"), "zstd"))
    return path.open("rb")


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be unpacked ({' '.join(str(error).split())}); get the file again")
