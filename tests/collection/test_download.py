"""Downloads, from a web server on this machine that breaks as web servers do: complete and right, or not there."""

from __future__ import annotations

import gzip
import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from optical_mteb.collection import download as module
from optical_mteb.collection.download import ATTEMPTS, BLOCK, download
from tests.collection.conftest import refused

CONTENT = random.Random(1).randbytes(5 * BLOCK + 123)
OTHER = random.Random(2).randbytes(4 * BLOCK + 77)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time between attempts, and for a byte."""
    monkeypatch.setattr(module, "PAUSE_S", 0)
    monkeypatch.setattr(module, "TIMEOUT_S", 5)


@pytest.fixture
def target(publisher, tmp_path: Path) -> Path:
    """Where the file goes that the publisher offers at `/file.bin`."""
    publisher.files["/file.bin"] = CONTENT
    return tmp_path / "cache" / "file.bin"


@pytest.fixture
def fetch(publisher, target: Path) -> Callable[[], bytes]:
    """Downloads that file; gives what is in its place then."""
    return lambda: download(f"{publisher.url}/file.bin", target).read_bytes()


@pytest.fixture
def begun(publisher, fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks of it are there from a call that failed; a call is a single attempt."""
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    publisher.cuts = [2 * BLOCK]
    with refused():
        fetch()


def left(target: Path) -> set[str]:
    """What lies around a target, without the lock."""
    return {path.name for path in target.parent.iterdir()} - {f"{target.name}.lock"}


def test_a_file_is_fetched_byte_for_byte(publisher, target: Path, capfd: pytest.CaptureFixture[str]):
    """Guards against a file that differs, leftovers beside it, compression on the way, a progress bar in a log file."""
    assert download(f"{publisher.url}/file.bin", target) == target
    assert target.read_bytes() == CONTENT
    assert left(target) == {"file.bin"}
    assert publisher.served[0].headers["Accept-Encoding"] == "identity"
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_there_is_not_asked_for(publisher, fetch, target: Path):
    """Guards against a request, a lock or a folder where nothing is to be done."""
    target.parent.mkdir()
    target.write_bytes(b"mine")
    assert fetch() == b"mine"
    assert publisher.served == []
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_broken_transfer_goes_on_where_it_stopped(publisher, fetch, target: Path):
    """Guards against bytes that are fetched again, lost or doubled after the connection broke, and a request without If-Range."""
    publisher.cuts = [2 * BLOCK + 5, BLOCK + 9]
    assert fetch() == CONTENT
    assert left(target) == {"file.bin"}
    assert publisher.answers == [200, 206, 206]
    assert publisher.ranges_asked == [None, f"bytes={2 * BLOCK}-", f"bytes={3 * BLOCK}-"]
    assert [request.headers.get("If-Range") for request in publisher.served] == [None, '"v1"', '"v1"']
    # The server counts a block after it was received.
    until = time.monotonic() + 5
    while (sent := sum(request.sent for request in publisher.served)) < len(CONTENT) and time.monotonic() < until:
        time.sleep(0.01)
    assert sent == len(CONTENT) + 5 + 9


def test_a_line_that_breaks_often_gets_there(publisher, fetch):
    """Guards against a megabyte lost at every break, so that a bad line never gets further."""
    publisher.files["/file.bin"] = (CONTENT + OTHER)[:500_000]
    publisher.cuts = [150_000] * (ATTEMPTS - 1)
    assert fetch() == (CONTENT + OTHER)[:500_000]


def test_the_next_call_goes_on_after_the_last_attempt(publisher, fetch, target: Path):
    """Guards against a partial file that is thrown away, or put in its place, when a call fails."""
    publisher.cuts = [3 * BLOCK] + [0] * (ATTEMPTS - 1)
    with refused(rf"file\.bin: the connection broke {ATTEMPTS} times .*; try again later"):
        fetch()
    assert left(target) == {"file.bin.part", "file.bin.part.etag"}
    assert len(publisher.served) == ATTEMPTS
    download(f"{publisher.url}/file.bin", target, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert target.read_bytes() == CONTENT
    assert publisher.served[-1].headers["Range"] == f"bytes={3 * BLOCK}-"
    assert left(target) == {"file.bin"}


@pytest.mark.parametrize(
    ("server", "answers"),
    [
        ({"etag": None, "last_modified": "Mon, 04 Mar 2024 10:00:00 GMT"}, [200, 206]),
        ({"etag": 'W/"v1"'}, [200, 200]),
        ({"etag": None}, [200, 200]),
        ({"ranges": False}, [200, 200]),
        ({"shift": -7}, [200, 206, 200]),
    ],
    ids=["a date", "a weak name", "no name", "no ranges", "a part from elsewhere"],
)
def test_other_servers_go_on_or_start_over(publisher, fetch, server: dict[str, object], answers: list[int]):
    """Guards against a part that is joined to other bytes, and a download from the start where it need not be.

    A date vouches for bytes where there is no ETag; a weak name does not. A part may begin elsewhere than was asked for.
    """
    publisher.cuts = [2 * BLOCK]
    for name, value in server.items():
        setattr(publisher, name, value)
    assert fetch() == CONTENT
    assert publisher.answers == answers


@pytest.mark.parametrize(("content", "length"), [(CONTENT, False), (b"", True)], ids=["no length", "an empty file"])
def test_whatever_comes_is_the_file(publisher, fetch, content: bytes, length: bool):
    """Guards against a file without a length, or an empty one, that counts as a broken transfer."""
    publisher.files["/file.bin"], publisher.length = content, length
    assert fetch() == content


@pytest.mark.parametrize(
    ("part", "tag", "answers"),
    [
        (CONTENT, '"v1"', [416]),
        (CONTENT + b"more", '"v1"', [416, 200]),
        (b"something else", "", [200]),
        (b"something else", None, [200]),
    ],
    ids=["the whole", "longer", "an empty name", "no name"],
)
def test_a_part_that_was_left(publisher, target: Path, part: bytes, tag: str | None, answers: list[int]):
    """Guards against a whole part that is fetched again, one that no range satisfies, and one of unknown origin."""
    target.parent.mkdir()
    target.with_name("file.bin.part").write_bytes(part)
    if tag is not None:
        target.with_name("file.bin.part.etag").write_text(tag)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert download(f"{publisher.url}/file.bin", target, sha256=sha256).read_bytes() == CONTENT
    assert publisher.answers == answers


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (410, 1), (206, 1), (416, 1), (503, ATTEMPTS)])
def test_a_refusal_is_one_line(publisher, fetch, target: Path, status: int, asked: int):
    """Guards against attempts on what will never be there, or without end, and an answer that is taken for the file."""
    publisher.statuses = [status] * 50
    with refused(rf"/file\.bin: the server answers {status} "):
        fetch()
    assert publisher.answers == [status] * asked
    assert left(target) == set()


@pytest.mark.parametrize("careless", [False, True], ids=["heeds If-Range", "sends a part whatever If-Range says"])
def test_another_version_between_attempts_starts_over(
    publisher, begun, fetch, target: Path, careless: bool, monkeypatch: pytest.MonkeyPatch
):
    """Guards against the beginning of one version before the end of another."""
    publisher.files["/file.bin"], publisher.etag, publisher.careless = OTHER, '"v2"', careless
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    assert fetch() == OTHER
    assert publisher.answers == ([200, 206, 200] if careless else [200, 200])
    assert left(target) == {"file.bin"}


def test_an_older_part_never_gets_the_newer_name(publisher, begun, fetch, monkeypatch: pytest.MonkeyPatch):
    """Guards against mixed content after a crash: the new version's name was kept before the old version's bytes were gone."""
    publisher.files["/file.bin"], publisher.etag = OTHER, '"v2"'
    opened = Path.open

    def fails(path: Path, mode: str = "r", *arguments, **options):
        if path.suffix == ".part" and mode == "wb":
            raise OSError(28, "No space left on device")
        return opened(path, mode, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fails)
        with refused(r"cannot write there \(No space left on device\)"):
            fetch()
    assert fetch() == OTHER


def test_a_wrong_checksum_leaves_nothing(publisher, target: Path):
    """Guards against a wrong file that is put in its place, or a part of it that the next call goes on with."""
    expected = hashlib.sha256(OTHER).hexdigest()
    with refused(f"has the SHA-256 {hashlib.sha256(CONTENT).hexdigest()}, expected {expected}; what came is"):
        download(f"{publisher.url}/file.bin", target, sha256=expected)
    assert left(target) == set()
    assert len(publisher.served) == 1


def test_a_stalled_connection_is_taken_up_again(publisher, fetch, monkeypatch: pytest.MonkeyPatch):
    """Guards against a download that hangs for ever."""
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    publisher.cuts, publisher.stall = [2 * BLOCK], True
    assert fetch() == CONTENT
    assert publisher.ranges_asked == [None, f"bytes={2 * BLOCK}-"]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x", "nonsense", "http://"])
def test_a_url_that_is_none_is_one_line(url: str, tmp_path: Path):
    """Guards against a traceback for a scheme that is not offered, and attempts that cannot help."""
    with refused(f"^{url}: "):
        download(url, tmp_path / "x")


@pytest.mark.parametrize("status", [503, 500, 429, 408])
def test_a_passing_trouble_is_asked_again(publisher, fetch, status: int):
    """Guards against a busy server that ends a long download."""
    publisher.statuses = [status, status]
    assert fetch() == CONTENT
    assert publisher.answers == [status, status, 200]


def test_trouble_between_two_calls_keeps_the_part(publisher, begun, fetch):
    """Guards against a part that is lost when a server is busy or refuses in between."""
    for status in (503, 404):
        publisher.statuses = [status]
        with refused():
            fetch()
    assert fetch() == CONTENT
    assert publisher.answers == [200, 503, 404, 206]


def test_pauses_double(publisher, fetch, monkeypatch: pytest.MonkeyPatch):
    """Guards against attempts in quick succession against a busy server."""
    pauses: list[float] = []
    monkeypatch.setattr(module, "PAUSE_S", 1)
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    publisher.statuses = [503] * 50
    with refused():
        fetch()
    assert pauses == [1, 2, 4, 8]


def test_a_place_under_a_file_is_one_line(publisher, fetch, target: Path):
    """Guards against a traceback for a cache that cannot be written to, and a request before that is known."""
    target.parent.write_text("no folder")
    with refused(r"cannot write there \((Not a directory|File exists)\)"):
        fetch()
    assert publisher.served == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_disk_is_one_line(publisher, fetch, target: Path):
    """Guards against a traceback, attempts that cannot help, or a file without its end."""
    target.parent.mkdir()
    target.with_name("file.bin.part").symlink_to("/dev/full")
    with refused(r"cannot write there \(No space left on device\); free the place"):
        fetch()
    assert len(publisher.served) == 1
    assert not target.exists()


def test_two_at_once_download_once(publisher, target: Path):
    """Guards against two writers of one part."""
    publisher.cuts, publisher.stall = [BLOCK], True
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(download, f"{publisher.url}/file.bin", target) for _ in range(4)]
        while not publisher.served:
            assert not running[0].done()
        time.sleep(0.1)
        publisher.go_on.set()
        assert [each.result().read_bytes() for each in running] == [CONTENT] * 4
    assert len(publisher.served) == 1


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz"])
def test_the_compression_of_the_file_itself_is_kept(publisher, tmp_path: Path, name: str):
    """Guards against an archive that comes unpacked, against its checksum, since the server calls gzip its encoding."""
    packed = gzip.compress(CONTENT, mtime=0)
    publisher.files[f"/{name}"], publisher.coding, publisher.cuts = packed, "x-gzip", [2 * BLOCK]
    assert download(f"{publisher.url}/{name}", tmp_path / name).read_bytes() == packed
    assert publisher.answers == [200, 206]


def test_compression_on_the_way_is_undone(publisher, fetch):
    """Guards against packed bytes in the place of a text, from a server that packs although it was told not to."""
    publisher.files["/file.bin"], publisher.coding, publisher.cuts = gzip.compress(CONTENT), "gzip", [2 * BLOCK]
    assert fetch() == CONTENT
    assert publisher.ranges_asked == [None, None]


def test_a_name_in_brackets_is_shown_as_it_is(
    publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Guards against a file name that the progress bar reads as markup, and no progress bar on a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    publisher.files["/x"] = CONTENT
    assert download(f"{publisher.url}/x", tmp_path / "a [bold].bin").read_bytes() == CONTENT
    assert "a [bold].bin" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("sent", "limit", "expected", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", ("BLOCK_S", 0.5), "65,536 bytes did not come within 0.5 s; try again", []),
        (b'HTTP/1.1 200 OK\r\nETag: "a"\r\n\r\n', ("BLOCK_S", 0.5), "65,536 bytes did not come", ["etag", "part"]),
        (b"HTTP/1.1 200 OK\r\n\r\n", ("TOTAL_S", 0.5), "is not done after 0.000138889 hours; try", ["part"]),
        (b"HTTP/1.1 200 OK\r\n\r\n", ("UNANNOUNCED", BLOCK), "has no end, expected 65,536 bytes at most", []),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", ("ANNOUNCED", 9), "has 999 bytes, expected 9 bytes", []),
    ],
    ids=["head byte by byte", "body byte by byte", "too long", "without end", "too large"],
)
def test_a_server_that_never_ends_is_one_line(
    tmp_path: Path,
    sent: bytes,
    limit: tuple[str, float],
    expected: str,
    kept: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    """Guards against a command that a server holds for ever, byte by byte, and against a disk that it fills."""
    monkeypatch.setattr(module, *limit)
    stop = threading.Event()

    def answer(server: socket.socket):
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(sent)
            while not stop.wait(0.01):
                connection.sendall(b"x" * (BLOCK if limit[0] == "UNANNOUNCED" else 1))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/file.bin"
        with refused(expected):
            download(url, tmp_path / "file.bin")
        stop.set()
        thread.join()
    assert sorted(path.suffix[1:] for path in tmp_path.iterdir() if path.suffix != ".lock") == kept
