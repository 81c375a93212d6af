"""Downloads that go on where they stopped, and are complete and checked or not there."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import requests
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from optical_mteb.errors import InputError
from optical_mteb.storage import not_writable

ATTEMPTS = 5
"""Times a broken transfer is taken up before it fails."""

BLOCK = 1 << 20
_COLUMNS = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE, _SERVER_ERROR = 206, 416, 500


def download(
    url: str, target: Path, *, sha256: str | None = None, timeout_s: float = 30.0, pause_s: float = 1.0
) -> Path:
    """Fetch a file into its place, with a progress bar; a file that is there already is left as it is.

    The transfer goes into `<target>.part`, which a later call goes on with, where the server still has the same file.

    Args:
        url: `https://` or `http://`.
        target: Where to put it.
        sha256: What it must hash to, in hex; None to take what comes.
        timeout_s: Seconds without a byte after which the connection counts as stalled.
        pause_s: Seconds before the second attempt; doubled each time.

    Raises:
        InputError: The server refuses, the file is not what the checksum says, the connection breaks `ATTEMPTS` times,
            or the place cannot be written to.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if not target.is_file():
                part = target.with_name(f"{target.name}.part")
                _fetch(url, part, timeout_s=timeout_s, pause_s=pause_s)
                _check(part, url, sha256)
                part.replace(target)
                _tag(part).unlink(missing_ok=True)
    except OSError as error:
        raise not_writable(target, error) from error
    return target


def _fetch(url: str, part: Path, *, timeout_s: float, pause_s: float) -> None:
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(pause_s * 2 ** (attempt - 1))
        try:
            _transfer(url, part, timeout_s)
        except _RefusedError as error:
            if error.status < _SERVER_ERROR or attempt == ATTEMPTS - 1:
                raise InputError(f"{url}: the server answers {error}") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if attempt == ATTEMPTS - 1:
                reason = str(error).strip() or type(error).__name__
                raise InputError(f"{url}: the connection broke {ATTEMPTS} times ({reason}); try again later") from error
        except requests.RequestException as error:
            raise InputError(f"{url}: {error}") from error
        else:
            return


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status


def _transfer(url: str, part: Path, timeout_s: float) -> None:
    """One attempt, from where the last one stopped."""
    done = part.stat().st_size if part.is_file() else 0
    # Offsets count the bytes of the file itself, so it must not be compressed on its way.
    headers = {"Accept-Encoding": "identity"}
    tag = _tag(part)
    if done and tag.is_file():
        headers |= {"Range": f"bytes={done}-", "If-Range": tag.read_text(encoding="utf-8")}
    with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as answer:
        if answer.status_code == _RANGE_NOT_SATISFIABLE:
            part.unlink()
            tag.unlink()
            raise requests.ConnectionError("what was there is no part of the file")
        if not answer.ok:
            raise _RefusedError(answer.status_code, answer.reason)
        if answer.status_code != _PARTIAL_CONTENT:
            done = 0
        validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        # A weak validator cannot vouch for equal bytes.
        if validator and not validator.startswith("W/"):
            tag.write_text(validator, encoding="utf-8")
        else:
            tag.unlink(missing_ok=True)
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        with (
            part.open("r+b" if done else "wb") as stream,
            Progress(*_COLUMNS, console=Console(stderr=True), transient=True) as progress,
        ):
            bar = progress.add_task(part.stem, total=total, completed=done)
            stream.seek(done)
            for block in answer.iter_content(BLOCK):
                stream.write(block)
                progress.advance(bar, len(block))
            stream.flush()
            written = stream.tell()
    if total is not None and written < total:
        raise requests.ConnectionError(f"{written:,} of {total:,} bytes came")


def _check(part: Path, url: str, sha256: str | None) -> None:
    if sha256 is None:
        return
    with part.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        _tag(part).unlink(missing_ok=True)
        raise InputError(f"{url}: has the SHA-256 {found}, expected {sha256}; what came is thrown away")


def _tag(part: Path) -> Path:
    """Where the server's name for the version of a partial file is kept."""
    return part.with_name(f"{part.name}.etag")
