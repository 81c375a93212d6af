"""Where an index is made: a folder beside it, held by one process at a time, from which it takes its place whole."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from optical_mteb.errors import InputError
from optical_mteb.index.manifest import MANIFEST

_NEW, _OLD = "new", "old"


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """The folder in which an index is made, for this process alone as long as the block runs.

    It stands beside the index, `NAME.build`, and outlives a process that is killed. An index that was complete but not
    yet in its place when that happened is put there first.

    Args:
        target: Folder of the index.

    Raises:
        InputError: Another process has it, or it cannot be written to.
    """
    site, lock_file = target.with_name(f"{target.name}.build"), target.with_name(f".{target.name}.lock")
    with storing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_file, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise InputError(
                f"{target}: another process builds or changes this index; wait for it, or choose another folder"
            ) from error
    try:
        with storing(target):
            site.mkdir(exist_ok=True)
            if _take_place(site, target):
                shutil.rmtree(site)
                site.mkdir()
        yield site
    finally:
        with suppress(OSError):
            site.rmdir()
        # The next build makes a lock file of its own.
        if not site.exists():
            with suppress(OSError):
                lock_file.unlink()
        lock.release()


@contextmanager
def new_version(site: Path, target: Path) -> Iterator[Path]:
    """An empty folder that takes the index's place when the block ends without an exception, with its manifest in it.

    The rest of `site` is removed then.

    Raises:
        InputError: It cannot be written to; what stood at `target` still does.
    """
    new = site / _NEW
    with storing(target):
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        try:
            yield new
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        _take_place(site, target)
        shutil.rmtree(site, ignore_errors=True)


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """A block that writes; its errors become one line.

    Raises:
        InputError: Something could not be written.
    """
    try:
        yield
    except OSError as error:
        mend = "mend its permissions" if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else "make room there"
        raise InputError(
            f"{error.filename or path}: cannot be written ({error.strerror or error}); "
            f"{mend}, then run the same command again: what is finished is kept"
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


def _take_place(site: Path, target: Path) -> bool:
    """Put a complete new version, if there is one, in the place of the index; a kill in between leaves both whole."""
    new, old = site / _NEW, site / _OLD
    complete = (new / MANIFEST).is_file()
    if complete:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        new.rename(target)
    elif old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return complete
