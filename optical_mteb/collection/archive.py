"""Archives from outside, unpacked without trust: nothing lands outside the folder, and nothing grows without bound."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder

MOST_BYTES = 64 << 30
"""Bytes that an archive may unpack to."""

MOST_GROWTH = 200
"""Times its own size that an archive may unpack to; text compresses five- to tenfold."""

SMALL = 64 << 20
"""Bytes under which the growth is not looked at: small repetitive files compress further."""

_BLOCK = 1 << 20


def unpack(archive: Path, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Unpack the regular files of a zip or tar archive (plain, gzip, bzip2, xz) into a folder that is complete or absent.

    Sizes are counted while unpacking: what the archive says of itself is not believed.

    Args:
        archive: The archive.
        folder: Takes the place of a folder of that name.
        most_bytes: Bytes that it may unpack to.

    Raises:
        InputError: It is no archive or damaged, holds a path that leads out of the folder, a link or a device, the same
            path twice, or unpacks to more than it may.
    """
    allowed = min(most_bytes, max(SMALL, MOST_GROWTH * archive.stat().st_size))
    with atomic_folder(folder) as scratch:
        written, seen = 0, set()
        with _readable(archive):
            for name, stream in _members(archive):
                path = _safe(name, archive)
                if path in seen:
                    raise InputError(f"{archive}: holds {name!r} twice; get the archive again")
                seen.add(path)
                target = scratch / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with stream, target.open("wb") as copy:
                    while block := stream.read(_BLOCK):
                        written += len(block)
                        if written > allowed:
                            raise InputError(
                                f"{archive}: unpacks to more than {allowed:,} bytes ({name!r}); "
                                "if you trust it, unpack it yourself and put its files into the data folder"
                            )
                        copy.write(block)


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive}: cannot be unpacked ({error}); get the archive again") from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of the regular files; links and devices are refused."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if entry.is_dir():
                    continue
                if kind not in (0, stat.S_IFREG):
                    raise InputError(f"{archive}: {entry.filename!r} is no regular file; get the archive elsewhere")
                yield entry.filename, packed.open(entry)
        return
    with tarfile.open(archive, "r:*") as packed_tar:
        for member in packed_tar:
            if member.isdir():
                continue
            content = packed_tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise InputError(f"{archive}: {member.name!r} is no regular file; get the archive elsewhere")
            yield member.name, content


def _safe(name: str, archive: Path) -> Path:
    """The relative path of a member."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or not path.parts or "\0" in name:
        raise InputError(
            f"{archive}: {name!r} leads out of the folder that it is unpacked into; do not trust the archive"
        )
    return Path(*path.parts)
