"""Downloads that continue where they stopped, and are complete and checked or not there.

pooch begins a download again where it broke, and bounds neither its size nor its time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread

import requests
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TextColumn, TransferSpeedColumn

from optical_mteb.errors import InputError, reason_of
from optical_mteb.storage import writing

ATTEMPTS = 5
"""Times a transfer that breaks is begun before it fails."""

BLOCK = 1 << 16
"""Bytes that are read at once, and lost where the connection breaks."""


TIMEOUT_S = 30.0
"""Seconds without a byte after which the connection counts as stalled."""

PAUSE_S = 1.0
"""Seconds before the second attempt; doubled each time."""

# What a download may take: a server is not trusted to come to an end.
ANNOUNCED = 64 << 30
"""Most bytes of a file whose length the server says beforehand."""

UNANNOUNCED = 1 << 30
"""Most bytes of one whose length it does not say."""

BLOCK_S = 120.0
"""Seconds in which the head of an answer has to come, and each `BLOCK` of bytes."""

TOTAL_S = 24 * 3600.0
"""Seconds in all."""

_COLUMNS = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
_OK, _PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE, _SERVER_ERROR = 200, 206, 416, 500
_TRY_AGAIN = (408, 429)


def download(url: str, target: Path, *, sha256: str | None = None) -> Path:
    """Fetch a file into its place, with a progress bar; a file that is there already is left as it is.

    The transfer goes into `<target>.part`, which a later call goes on with, where the server still has the same file.

    Args:
        url: `https://` or `http://`.
        target: Where to put it.
        sha256: What it must hash to, in hex; None to take what comes.

    Raises:
        InputError: The server refuses, the file is not what the checksum says, it is too large or comes too slowly, the
            connection breaks `ATTEMPTS` times, or the place cannot be written to.
    """
    if target.is_file():
        return target
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_file():
                part = target.with_name(f"{target.name}.part")
                _fetch(url, part)
                _check(part, url, sha256)
                part.replace(target)
                _tag(part).unlink(missing_ok=True)
    return target


def _fetch(url: str, part: Path) -> None:
    end = time.monotonic() + TOTAL_S
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            _watched(url, part, end)
        except _RefusedError as error:
            passing = error.status >= _SERVER_ERROR or error.status in _TRY_AGAIN
            if not passing or attempt == ATTEMPTS - 1:
                raise InputError(f"{url}: the server answers {error}") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if attempt == ATTEMPTS - 1:
                raise InputError(
                    f"{url}: the connection broke {ATTEMPTS} times ({reason_of(error)}); try again later"
                ) from error
        except requests.RequestException as error:
            raise InputError(f"{url}: {reason_of(error)}") from error
        else:
            return


class _RefusedError(Exception):
    def __init__(self, answer: requests.Response) -> None:
        super().__init__(f"{answer.status_code} {answer.reason}".strip())
        self.status = answer.status_code


def _watched(url: str, part: Path, end: float) -> None:
    """One attempt, by a thread that is left behind where it takes too long: nothing else ends a wait for single bytes."""
    came: SimpleQueue[BaseException | bool] = SimpleQueue()
    stopped = Event()

    def advance() -> None:
        if stopped.is_set():
            raise requests.ConnectionError("was given up")
        came.put(False)

    def work(progress: Progress) -> None:
        try:
            _transfer(url, part, progress, advance)
        # Raised by the thread that waits for this one.
        except BaseException as error:
            came.put(error)
        else:
            came.put(True)

    with progress_bar(*_COLUMNS) as progress:
        Thread(target=work, args=(progress,), daemon=True).start()
        while True:
            try:
                ended = came.get(timeout=max(0.0, min(BLOCK_S, end - time.monotonic())))
            except Empty:
                stopped.set()
                slow = f"{BLOCK:,} bytes did not come within {BLOCK_S:g} s"
                reason = slow if time.monotonic() < end else f"is not done after {TOTAL_S / 3600:g} hours"
                raise InputError(
                    f"{url}: {reason}; try again later: what came is kept, or get the file elsewhere"
                ) from None
            if isinstance(ended, BaseException):
                raise ended
            if ended:
                return


def _transfer(url: str, part: Path, progress: Progress, advance: Callable[[], None]) -> None:
    """One attempt, from where the last one stopped; `advance` is called when something came, and may raise."""
    done = part.stat().st_size if part.is_file() else 0
    version = _tag(part).read_text(encoding="utf-8") if done and _tag(part).is_file() else ""
    # Offsets count the bytes of the file itself, so it must not be compressed on its way.
    headers = {"Accept-Encoding": "identity"}
    if version:
        headers |= {"Range": f"bytes={done}-", "If-Range": version}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
        advance()
        # First and last byte and the file's length, `bytes 5-9/10`; `bytes */10` where there is no such byte.
        span = answer.headers.get("Content-Range", "")
        if answer.status_code == _OK:
            _receive(answer, part, 0, progress, advance)
        elif version and answer.status_code == _RANGE_NOT_SATISFIABLE and span == f"bytes */{done}":
            # Every byte is there: the last call was stopped before it put the file in its place.
            return
        elif answer.status_code == _PARTIAL_CONTENT and span.startswith(f"bytes {done}-") and _is_of(version, answer):
            _receive(answer, part, done, progress, advance)
        elif answer.status_code in (_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE) and version:
            _forget(part)
            raise requests.ConnectionError(f"the server has no version {version} to go on with after {done:,} bytes")
        else:
            raise _RefusedError(answer)


def _is_of(version: str, answer: requests.Response) -> bool:
    """Whether an answer is of a version: a server may not know `If-Range`, and send another file's bytes."""
    names = {answer.headers[name] for name in ("ETag", "Last-Modified") if name in answer.headers}
    return bool(version) and (not names or version in names)


def _version(answer: requests.Response) -> str:
    """The server's name for these bytes; none where it has only a weak one, which does not vouch for equal bytes."""
    version = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    return "" if version.startswith("W/") else version


def _receive(answer: requests.Response, part: Path, done: int, progress: Progress, advance: Callable[[], None]) -> None:
    """Write what comes to a partial file, after the bytes that are done."""
    length, version = answer.headers.get("Content-Length", ""), _version(answer)
    total = done + int(length) if length.isdigit() else None
    if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
        if Path(part.stem).suffix in (".gz", ".tgz"):
            # The server names the file's own compression, which would be undone here.
            answer.raw.headers.pop("Content-Encoding", None)
        else:
            total, version = None, ""
    most = UNANNOUNCED if total is None else ANNOUNCED
    if total is not None and total > most:
        raise _too_large(answer.url, f"{total:,} bytes", most)
    if not done:
        _tag(part).unlink(missing_ok=True)
    with part.open("r+b" if done else "wb") as stream:
        # Only now: bytes of an older version must never stand beside the name of a newer one.
        if not done and version:
            _tag(part).write_text(version, encoding="utf-8")
        bar = progress.add_task(part.stem, total=total, completed=done)
        stream.seek(done)
        for block in answer.iter_content(BLOCK):
            advance()
            if stream.tell() + len(block) > most:
                _forget(part)
                raise _too_large(answer.url, "no end", most)
            stream.write(block)
            progress.advance(bar, len(block))
        written = stream.tell()
    if total is not None and written < total:
        raise requests.ConnectionError(f"{written:,} of {total:,} bytes came")


def _too_large(url: str, found: str, most: int) -> InputError:
    return InputError(f"{url}: has {found}, expected {most:,} bytes at most; if you trust it, get it by other means")


@contextmanager
def progress_bar(*columns: ProgressColumn) -> Iterator[Progress]:
    """A bar on standard error that leaves no trace; none where that is no terminal."""
    console = Console(stderr=True)
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    # Releases of rich before 14.3 print an empty line for a bar that is disabled.
    with progress if console.is_terminal else nullcontext():
        yield progress


def _check(part: Path, url: str, sha256: str | None) -> None:
    if sha256 is None:
        return
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        _forget(part)
        raise InputError(f"{url}: has the SHA-256 {found}, expected {sha256}; what came is thrown away")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)


def _tag(part: Path) -> Path:
    """Where the server's name for the version of a partial file is kept."""
    return part.with_name(f"{part.name}.etag")
