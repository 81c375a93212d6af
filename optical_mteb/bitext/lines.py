"""Lines of UTF-8 text files: streamed, numbered, broken bytes reported by line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optical_mteb.bitext.records import Malformed
from optical_mteb.collection.packed import open_unpacked

_BOM = b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[tuple[int, str | Malformed]]:
    r"""Line numbers (from 1) and lines without their `\n` or `\r\n`; a byte order mark at the start of one is dropped.

    Only `\n` ends a line, as publishers count them: `str.splitlines` would also split at U+2028 and shift an alignment.
    A line that is not UTF-8 comes as a `Malformed`. Packed files are read as what they hold (`open_unpacked`).
    """
    with open_unpacked(path) as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                yield number, raw.removeprefix(_BOM).removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
            except UnicodeDecodeError as error:
                what = f"byte {error.start + 1} of the line is not UTF-8; save the file as UTF-8"
                yield number, Malformed(f"{path}:{number}", what)


def count_lines(path: Path) -> int:
    """Lines of the file as `read_lines` numbers them, without decoding them."""
    with open_unpacked(path) as stream:
        return sum(1 for _ in stream)
