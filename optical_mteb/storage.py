"""Where the package keeps things, and how it writes them: complete or not at all, also when the power goes.

What is to take a place is made in a scratch folder beside it, `.NAME.XXXXXXXX.scratch`, together with a lock file that
its process holds. The next writer in the same folder removes scratch that no living process holds, and so does the next
reader of what has the name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from optical_mteb.errors import InputError

_SCRATCH = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.scratch", re.DOTALL)
_NEW, _OLD, _LOCK = "new", "old", "lock"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV, errno.EPERM)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_CANNOT_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EISDIR, errno.EACCES, errno.EPERM)


def home() -> Path:
    """Folder of the student store and the caches: `OPTICAL_MTEB_HOME`, or the platform's user data folder."""
    configured = os.environ.get("OPTICAL_MTEB_HOME")
    return expanded(configured) if configured else Path(platformdirs.user_data_dir("optical-mteb"))


def expanded(path: str | Path) -> Path:
    """A path with `~` and `~user` replaced by home folders; left as it is where the system knows no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises RuntimeError there


def students_folder() -> Path:
    """Folder that holds one folder per trained student."""
    return home() / "students"


def runs_folder() -> Path:
    """Folder that holds one folder per training that has not ended."""
    return home() / "runs"


def logs_folder() -> Path:
    """Folder that holds one folder per student, of TensorBoard logs."""
    return home() / "logs"


def bases_folder() -> Path:
    """Folder that caches converted base models."""
    return home() / "bases"


def indexes_folder() -> Path:
    """Folder that holds one folder per model, of documents as vectors and the indexes over them."""
    return home() / "indexes"


def data_folder() -> Path:
    """Folder that caches downloaded data sets."""
    return home() / "data"


def local_data() -> Path | None:
    """Folder with the user's own copies of data sets (`OPTICAL_MTEB_DATA`), or None where it is not set.

    Raises:
        InputError: The variable names something that is not a folder.
    """
    configured = os.environ.get("OPTICAL_MTEB_DATA")
    if not configured:
        return None
    folder = expanded(configured)
    if not folder.is_dir():
        raise InputError(f"OPTICAL_MTEB_DATA={configured}: no such folder; set it to your data folder or unset it")
    return folder


def added_tasks_file() -> Path:
    """File that names the user's own collections that were added as tasks."""
    return home() / "tasks.json"


def may_have_own_tasks() -> bool:
    """Whether there is anything that could be a task of the user's own, or a setting that is wrong about them."""
    configured = os.environ.get("OPTICAL_MTEB_DATA")
    data = expanded(configured) if configured else None
    return added_tasks_file().exists() or (data is not None and (not data.is_dir() or (data / "tasks").exists()))


@contextmanager
def atomic_folder(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """An empty folder that takes the place of `target` when the block ends without an exception.

    At every moment the old folder or the new one is at `target`, also after a power cut. A symbolic link stays one: the
    folder that it names is replaced.

    Args:
        target: The folder to write.
        replace: Replace a folder that is at `target` by then; if not, that folder stays.

    Raises:
        InputError: The place cannot be written to; `target` is as it was.
    """
    place = Path(os.path.realpath(target))
    with _scratch(target, place) as scratch:
        try:
            (scratch / _NEW).mkdir()
        except OSError as error:
            raise not_writable(target, error) from error
        yield scratch / _NEW
        if replace or not place.exists():
            try:
                take_place(scratch / _NEW, place)
            except OSError as error:
                raise not_writable(target, error) from error


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """A path to write a file at, which takes the place of `target` when the block ends without an exception.

    As `atomic_folder` does it.

    Raises:
        InputError: The place cannot be written to; `target` is as it was.
    """
    place = Path(os.path.realpath(target))
    with _scratch(target, place) as scratch:
        yield scratch / _NEW
        with writing(target):
            take_place(scratch / _NEW, place)


def write_text(target: Path, text: str) -> None:
    """Write a text as `atomic_file` does, its folder with it.

    Raises:
        InputError: The place cannot be written to; `target` is as it was.
    """
    with atomic_file(target) as scratch:
        scratch.write_text(text, encoding="utf-8")


def take_place(new: Path, target: Path) -> None:
    """Put a file or folder at `target`, on the disk before it is there; what was at `target` is at `new` afterwards.

    Two folders exchange their names at once. Where the system cannot do that, the old one is `old` beside `new` for a
    moment.

    Args:
        new: The file or folder, on the same file system, and none that another process writes.
        target: Where to put it; not a symbolic link.

    Raises:
        OSError: The place cannot be written to; what was at `target` still is.
    """
    write_through(new)
    if not new.is_dir():
        new.replace(target)
    elif not os.path.lexists(target):
        try:
            new.rename(target)
        except OSError as error:
            # Another process was quicker.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _swap(new, target)
    else:
        _swap(new, target)
    _flush(target.parent)
    _flush(new.parent)


def write_through(path: Path) -> None:
    """Have a file, or a folder and all that is in it, on the disk.

    What is in a folder can be read by all who can read the folder: some libraries write for their own user alone.

    Raises:
        OSError: It cannot be read or written.
    """
    inside = [each for each in path.rglob("*") if not each.is_symlink()] if path.is_dir() else []
    allowed = path.stat().st_mode
    for each in inside:
        mode = each.stat().st_mode
        wanted = mode | allowed & (0o777 if each.is_dir() else 0o666)
        if wanted != mode:
            # A file of somebody else, linked to.
            with suppress(PermissionError):
                each.chmod(wanted)
        _flush(each)
    _flush(path)


def remove(folder: Path) -> None:
    """Remove a folder under another name: a kill leaves all of it, or scratch that the next writer removes.

    Raises:
        InputError: It cannot be removed.
    """
    with _scratch(folder, folder) as scratch, writing(folder), suppress(FileNotFoundError):
        folder.rename(scratch / _NEW)


def check_writable(target: Path) -> None:
    """Find out before long work that a place can be written to.

    Raises:
        InputError: It cannot.
    """
    with _scratch(target, Path(os.path.realpath(target))):
        pass


def recover(target: Path) -> None:
    """Before a folder is read: remove what killed writers left of it, and put it back where one had moved it aside."""
    place = Path(os.path.realpath(target))
    collect(place.parent, place.name)


def collect(folder: Path, name: str | None = None) -> None:
    """Remove dead scratch in a folder, all or that of `name`; put a folder back that was moved aside."""
    for scratch in folder.glob(".*.scratch"):
        named = _SCRATCH.fullmatch(scratch.name)
        if named is None or name not in (None, named[1]) or scratch.is_symlink() or not scratch.is_dir():
            continue
        with suppress(OSError), FileLock(scratch / _LOCK, timeout=0):
            if (scratch / _OLD).exists() and not os.path.lexists(folder / named[1]):
                # It was moved aside for one that is complete.
                moved = scratch / (_NEW if (scratch / _NEW).exists() else _OLD)
                moved.rename(folder / named[1])
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def held(lock_file: Path, taken: str | None = None) -> Iterator[None]:
    """Hold a lock for this process alone as long as the block runs; a process that dies does not keep it.

    Args:
        lock_file: The file that is locked. It stays: removing it would give two processes the lock.
        taken: The error line where another process holds it; without one, that process is waited for.

    Raises:
        InputError: Another process holds it and `taken` is given, or the file cannot be written.
    """
    lock = FileLock(lock_file, timeout=-1 if taken is None else 0)
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise InputError(taken) from error
    except OSError as error:
        raise not_writable(lock_file, error) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _scratch(target: Path, place: Path) -> Iterator[Path]:
    """A folder beside a place, removed afterwards; other dead scratch is removed before."""
    with writing(target):
        place.parent.mkdir(parents=True, exist_ok=True)
        collect(place.parent)
        scratch, lock = _locked_scratch(place)
    try:
        yield scratch
    except OSError as error:
        # What is read to be written may fail, too, and is none of this place's.
        if error.errno in _FULL or isinstance(error, shutil.Error):
            raise not_writable(target, error) from error
        raise
    finally:
        lock.release()
        shutil.rmtree(scratch, ignore_errors=True)


def _locked_scratch(place: Path) -> tuple[Path, FileLock]:
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".scratch", dir=place.parent))
        lock = FileLock(scratch / _LOCK, timeout=0)
        try:
            lock.acquire()
        except (Timeout, FileNotFoundError, FileExistsError):
            # Another process took it for dead before it was locked, and removes it: the last of the three comes from
            # a lock that found the folder there and, a moment later, gone.
            continue
        if (scratch / _LOCK).exists():
            return scratch, lock
        lock.release()


def _swap(new: Path, target: Path) -> None:
    """Exchange the names of two folders: at once where the system and the file system can do that."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if renameat2 is not None:
        if not renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE):
            return
        if (number := ctypes.get_errno()) not in _CANNOT_EXCHANGE:
            raise OSError(number, os.strerror(number), str(target))
    old = new.with_name(_OLD)
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    old.rename(new)


def _flush(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        # Some file systems, and Windows, do not do that for folders or for what is only to be read.
        if error.errno not in _CANNOT_FLUSH:
            raise


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """A block that writes a place.

    Raises:
        InputError: The block raised an error of the file system: the place cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise not_writable(target, error) from error


def not_writable(target: Path, error: Exception) -> InputError:
    """The error line for a place that cannot be written to."""
    elsewhere = "set OPTICAL_MTEB_HOME to another folder" if home() in target.parents else "choose another place"
    if isinstance(error, shutil.Error) and error.args and isinstance(error.args[0], list):
        # From the copying of many files: source, target and reason of each that failed.
        reason = str(error.args[0][0][-1]).partition("] ")[2] or str(error.args[0][0][-1])
    else:
        reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"{target}: cannot write there ({reason}); free the place or {elsewhere}")
