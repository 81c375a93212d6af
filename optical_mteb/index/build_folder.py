"""Where an index is made: a folder beside it, held by one process at a time, from which it takes its place whole."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from optical_mteb.errors import InputError
from optical_mteb.index.manifest import MANIFEST
from optical_mteb.storage import atomic_folder, collect

_CHANGES = "changes"
"""File of the folder in which an index is made: the hash of the manifest that the finished work is to be put to."""


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """The folder in which an index is made, for this process alone as long as the block runs.

    It is beside the index, `NAME.build`, and outlives a process that is killed; where `target` is a symbolic link, it
    is beside the folder that the link names. What is left there of a change that was completed is removed.

    Args:
        target: Folder of the index.

    Raises:
        InputError: Another process has it, or it cannot be written to.
    """
    place = Path(os.path.realpath(target))
    site, lock_file = place.with_name(f"{place.name}.build"), place.with_name(f".{place.name}.lock")
    with storing(target):
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_file, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"{target}: another process builds or changes this index; wait for it, or choose another folder"
            ) from error
    try:
        with storing(target):
            collect(place.parent)
            state = _state(place)
            if (_read(site / _CHANGES) or state) != state:
                _clear(site)
            site.mkdir(exist_ok=True)
            if not _read(site / _CHANGES):
                (site / _CHANGES).write_text(state, encoding="utf-8")
        yield site
    finally:
        if site.exists() and [each.name for each in site.iterdir()] == [_CHANGES]:
            shutil.rmtree(site, ignore_errors=True)
        # The next build makes a lock file of its own.
        if not site.exists():
            with suppress(OSError):
                lock_file.unlink()
        lock.release()


@contextmanager
def new_version(site: Path, target: Path) -> Iterator[Path]:
    """An empty folder that takes the index's place when the block ends without an exception; `site` is removed then.

    Raises:
        InputError: It cannot be written to; what was at `target` still is.
    """
    with atomic_folder(target) as new, storing(target):
        yield new
    with suppress(OSError):
        _clear(site)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """A block that writes; its errors become one line.

    Raises:
        InputError: Something could not be written.
    """
    try:
        yield
    except OSError as error:
        fix = "fix its permissions" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "make room there"
        raise InputError(
            f"{error.filename or path}: cannot be written ({error.strerror or error}); "
            f"{fix}, then run the same command again: what is finished is kept"
        ) from error


def keep(file: Path, new: Path) -> None:
    """Have a file of the index in its new version, too, without a copy where the disk allows it.

    Raises:
        OSError: It cannot be written.
    """
    try:
        (new / file.name).hardlink_to(file)
    except OSError:
        shutil.copyfile(file, new / file.name)


def _state(place: Path) -> str:
    """What an index is known again by after a change, or that there is none."""
    manifest = place / MANIFEST
    return hashlib.sha256(manifest.read_bytes()).hexdigest() if manifest.is_file() else "no index"


def _clear(site: Path) -> None:
    """Remove what an index was made from; last the file by which a half-removed folder is known to be of no use."""
    for each in site.iterdir():
        if each.is_dir():
            shutil.rmtree(each, ignore_errors=True)
        elif each.name != _CHANGES:
            each.unlink()
    shutil.rmtree(site)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.is_file() else ""
