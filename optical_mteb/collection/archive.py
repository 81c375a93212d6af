"""Archives from outside, unpacked without trust: nothing lands outside the folder, and nothing grows without bound.

pooch and `shutil.unpack_archive` have no bound on what an archive unpacks to, and leave half a folder where they fail.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from rich.progress import DownloadColumn, SpinnerColumn, TextColumn

from optical_mteb.collection.download import progress_bar
from optical_mteb.errors import InputError, reason_of
from optical_mteb.storage import atomic_folder, writing

MOST_BYTES = 64 << 30
"""Bytes that an archive may unpack to."""

MOST_GROWTH = 200
"""Times its own size that an archive may unpack to; text compresses five- to tenfold."""

SMALL = 64 << 20
"""Bytes under which the growth is not looked at: small repetitive files compress further."""

_BLOCK, _LONGEST_HEADER = 1 << 20, 1 << 22
_TAR_BLOCK = 512
_ZIP_STARTS = (b"PK\3\4", b"PK\5\6")
_COLUMNS = (SpinnerColumn(), TextColumn("unpacking {task.description}", markup=False), DownloadColumn())
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
)
"""What the standard library's readers raise on damaged archives; bzip2's and gzip's errors are OSErrors."""


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the files of a zip or tar archive (plain, gzip, bzip2, xz) into a folder that is complete or absent.

    Sizes are counted while unpacking: what the archive says of itself is not believed. A file counts for 512 bytes more
    than it holds, as in a tar archive.

    Raises:
        InputError: It is no archive, encrypted or damaged, holds a path that leads out of the folder, a link or a
            device, the same path twice, or unpacks to more than it may; or the folder cannot be written to.
    """
    with _readable(archive):
        allowed = min(MOST_BYTES, max(SMALL, MOST_GROWTH * archive.stat().st_size))
    with writing(folder), atomic_folder(folder) as scratch, progress_bar(*_COLUMNS) as progress:
        bar, written = progress.add_task(archive.name, total=None), 0
        for name, size, content in _members(archive, allowed):
            written += _TAR_BLOCK
            if written + size > allowed:
                raise _too_large(archive, name, allowed)
            with _create(scratch, name, archive) as copy:
                for block in _blocks(content, archive):
                    written += len(block)
                    if written > allowed:
                        raise _too_large(archive, name, allowed)
                    copy.write(block)
                    progress.update(bar, completed=written)


def relative_path(name: str) -> Path | None:
    """Somebody's path as one inside a folder, or None where it would lead out of it, on this system or another."""
    path = PurePosixPath(name.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or "\0" in name
    return None if outside or not path.parts else Path(*path.parts)


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{archive}: cannot be unpacked ({reason_of(error)}); delete it and get it again") from error


def _create(scratch: Path, name: str, archive: Path) -> IO[bytes]:
    path = relative_path(name)
    if path is None:
        raise InputError(
            f"{archive}: {name!r} leads out of the folder that it is unpacked into; do not trust the archive"
        )
    try:
        (scratch / path).parent.mkdir(parents=True, exist_ok=True)
        return (scratch / path).open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(
            f"{archive}: holds {name!r} twice, or as file and folder; delete it and get it again"
        ) from error


def _blocks(content: IO[bytes], archive: Path) -> Iterator[bytes]:
    with _readable(archive):
        while block := content.read(_BLOCK):
            yield block


def _members(archive: Path, allowed: int) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Name, size as declared, and content of the regular files; links and devices are refused."""
    with _readable(archive):
        with archive.open("rb") as stream:
            start = stream.read(len(_ZIP_STARTS[0]))
        yield from _zip_members(archive) if start in _ZIP_STARTS else _tar_members(archive, start, allowed)


def _zip_members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    if not zipfile.is_zipfile(archive):
        raise InputError(f"{archive}: is a zip archive that is cut off; delete it and get it again")
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            if entry.filename.endswith(("/", "\\")):
                continue
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                raise _not_regular(archive, entry.filename)
            if entry.flag_bits & 1:
                raise InputError(
                    f"{archive}: {entry.filename!r} is encrypted; "
                    "unpack it yourself and put its files into the data folder"
                )
            with packed.open(entry) as content:
                yield entry.filename, entry.file_size, content


def _tar_members(archive: Path, start: bytes, allowed: int) -> Iterator[tuple[str, int, IO[bytes]]]:
    with _decompressed(archive, start) as stream:
        bounded = _Bounded(stream, archive, allowed)
        try:
            packed = tarfile.TarFile(fileobj=cast(IO[bytes], bounded))
        except tarfile.ReadError as error:
            raise InputError(
                f"{archive}: is not a zip or tar archive (plain, gzip, bzip2, xz); delete it and get it again"
            ) from error
        for member in packed:
            if member.isdir():
                continue
            content = packed.extractfile(member) if member.isreg() else None
            if content is None:
                raise _not_regular(archive, member.name)
            yield member.name, member.size, content
        # A damaged header ends a tar archive without a word, and checksums come at a stream's very end.
        if bounded.last != bytes(_TAR_BLOCK):
            raise InputError(f"{archive}: is a tar archive that is cut off or damaged; delete it and get it again")
        while bounded.read(_BLOCK):
            pass


def _decompressed(archive: Path, start: bytes) -> IO[bytes]:
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(archive))
    if start.startswith(b"BZh"):
        return cast(IO[bytes], bz2.open(archive))
    if start == b"\xfd7zX":
        return cast(IO[bytes], lzma.open(archive))
    return archive.open("rb")


class _Bounded:
    """A tar stream that refuses to grow out of bounds in what lies between its files: headers, gaps, padding."""

    def __init__(self, stream: IO[bytes], archive: Path, allowed: int) -> None:
        self.last = b""
        self._stream, self._archive, self._allowed = stream, archive, allowed

    def read(self, size: int) -> bytes:
        if size > _LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        self.last = self._stream.read(size)
        self._check(self._stream.tell())
        return self.last

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        # Headers and padding of small files are counted twice at most.
        if position > 2 * self._allowed + _LONGEST_HEADER:
            raise _too_large(self._archive, "between its files", self._allowed)


def _not_regular(archive: Path, name: str) -> InputError:
    return InputError(f"{archive}: {name!r} is not a regular file; get the archive elsewhere")


def _too_large(archive: Path, name: str, allowed: int) -> InputError:
    return InputError(
        f"{archive}: unpacks to more than {allowed:,} bytes ({name!r}); "
        "if you trust it, unpack it yourself and put its files into the data folder"
    )
