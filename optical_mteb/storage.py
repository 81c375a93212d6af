"""Where the package keeps things, and how it writes them: complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import platformdirs

from optical_mteb.errors import InputError


def home() -> Path:
    """Folder of the student store and the caches: `OPTICAL_MTEB_HOME`, or the platform's user data folder."""
    configured = os.environ.get("OPTICAL_MTEB_HOME")
    return Path(configured).expanduser() if configured else Path(platformdirs.user_data_dir("optical-mteb"))


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
    folder = Path(configured).expanduser()
    if not folder.is_dir():
        raise InputError(f"OPTICAL_MTEB_DATA={configured}: no such folder; set it to your data folder or unset it")
    return folder


@contextmanager
def atomic_folder(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """A scratch folder beside `target` that takes its place when the block ends without an exception.

    Args:
        target: The folder to write.
        replace: Put it in the place of a folder that stands at `target` by then; if not, that folder stays.

    Raises:
        InputError: The place cannot be written to; whatever stood at `target` still does.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise not_writable(target, error) from error
    try:
        yield scratch
        scratch.chmod(0o755)
        if replace or not target.exists():
            _take_place(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def clear_scratch(target: Path) -> None:
    """Remove what writers of a folder left beside it when they were killed; only under a lock that all of them hold."""
    for left in target.parent.glob(f".{escape(target.name)}.*"):
        shutil.rmtree(left, ignore_errors=True)


def _take_place(scratch: Path, target: Path) -> None:
    retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        if target.exists():
            target.rename(retired / target.name)
        scratch.rename(target)
    except OSError as error:
        if not target.exists() and (retired / target.name).exists():
            (retired / target.name).rename(target)
        raise not_writable(target, error) from error
    finally:
        shutil.rmtree(retired, ignore_errors=True)


def not_writable(target: Path, error: Exception) -> InputError:
    """The error line for a place of the store that cannot be written to."""
    return InputError(
        f"{target}: cannot write there ({getattr(error, 'strerror', None) or error}); free the place or set OPTICAL_MTEB_HOME to another folder"
    )
