"""The one line that bad input is refused with, files and archives; and a publisher's web server, which breaks as web servers do."""

from __future__ import annotations

import io
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

from optical_mteb.errors import InputError


@contextmanager
def refused(match: str | None = None) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """A block that ends in an error of one line, in which `match` is found."""
    with pytest.raises(InputError, match=match) as caught:
        yield caught
    assert "\n" not in str(caught.value)


def put(path: Path, content: str | bytes = "x") -> Path:
    """Write a file, and the folders that it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(**files: str | bytes) -> bytes:
    """A zip archive of tables: `a__b` is the name of `a/b.tsv`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name.replace("__", "/") + ".tsv", content)
    return buffer.getvalue()


@dataclass
class Served:
    """One request, and what came of it."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class Publisher:
    """What a server on this machine offers, and how it misbehaves.

    Attributes:
        url: Where it listens.
        files: Content by path.
        etag: Sent and compared with `If-Range`; None for none.
        last_modified: Likewise.
        ranges: Whether it heeds `Range`.
        careless: Whether it sends a part whatever `If-Range` says.
        shift: Bytes by which the part that it sends is off.
        coding: What it calls `Content-Encoding`.
        statuses: Answers to the first requests, in place of the files.
        cuts: Bytes after which it hangs up, request by request.
        stall: Whether it waits, instead of hanging up, until `go_on` is set.
        length: Whether it says how long the answer is.
        served: All requests.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"v1"'
    last_modified: str | None = None
    ranges: bool = True
    careless: bool = False
    shift: int = 0
    coding: str | None = None
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    stall: bool = False
    length: bool = True
    go_on: threading.Event = field(default_factory=threading.Event)
    served: list[Served] = field(default_factory=list)

    @property
    def ranges_asked(self) -> list[str | None]:
        """The header `Range` of every request."""
        return [request.headers.get("Range") for request in self.served]

    @property
    def answers(self) -> list[int]:
        """The status of every answer."""
        return [request.status for request in self.served]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = Served(unquote(handler.path), dict(handler.headers))
        self.served.append(request)
        content = self.files.get(request.path)
        request.status = self.statuses.pop(0) if self.statuses else 404 if content is None else 200
        if request.status != 200 or content is None:
            handler.send_error(request.status)
            return
        headers = {"ETag": self.etag, "Last-Modified": self.last_modified, "Content-Encoding": self.coding}
        whole, start = len(content), 0
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        condition = request.headers.get("If-Range")
        if asked and self.ranges and (self.careless or condition in (None, self.etag, self.last_modified)):
            start = int(asked[1]) + self.shift
            if start >= whole:
                self.send(handler, request, 416, {"Content-Range": f"bytes */{whole}", "Content-Length": "0"})
                return
            request.status = 206
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        if self.length:
            headers["Content-Length"] = str(whole - start)
        self.send(handler, request, request.status, headers)
        cut = self.cuts.pop(0) if self.cuts else None
        request.sent = handler.wfile.write(content[start:][:cut])
        if cut is not None and self.stall:
            handler.wfile.flush()
            self.go_on.wait(20)
            request.sent += handler.wfile.write(content[start:][cut:])

    @staticmethod
    def send(handler: BaseHTTPRequestHandler, request: Served, status: int, headers: dict[str, str | None]) -> None:
        request.status = status
        handler.send_response(status)
        for name, value in headers.items():
            if value is not None:
                handler.send_header(name, value)
        handler.end_headers()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A web server on this machine."""
    state = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                state.answer(self)
            except ConnectionError:
                self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    state.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()
