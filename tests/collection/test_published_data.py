"""Where a published file is found: in which order, without the network where that is forbidden, and what is said."""

from __future__ import annotations

import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from optical_mteb.collection import archive as archive_module
from optical_mteb.collection import download as download_module
from optical_mteb.collection.published_data import PublishedData
from tests.collection.conftest import put, refused, zipped

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PAGE = "https://example.org/set"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads are allowed, there is no data folder, and nobody waits for a busy server."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    monkeypatch.setattr(download_module.time, "sleep", lambda _: None)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's data folder."""
    folder = tmp_path / "my data"
    folder.mkdir()
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(folder))
    return folder


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Attempts to reach the network, all of which fail."""
    tried: list[object] = []

    def refuse(*arguments: object, **_: object):
        tried.append(arguments)
        raise OSError("network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def a_set(publisher=None, **options) -> PublishedData:
    url = None if publisher is None else f"{publisher.url}/files"
    return PublishedData(**{"name": "set", "page": PAGE, "revision": "v1", "url": url} | options)


@pytest.mark.parametrize("shelf", ["", "eval", "bitext"])
@pytest.mark.parametrize("place", ["a/b/f.tsv", "b/f.tsv", "f.tsv"])
def test_the_user_s_own_copy_comes_first(data: Path, own_home: Path, publisher, shelf: str, place: str):
    """Guards against a copy that is not found where a user may put it, and a download although there is one."""
    copy = put(data / shelf / "set" / place, "mine")
    put(own_home / "data" / "set" / "v1" / "a" / "b" / "f.tsv", "cached")
    publisher.files["/files/a/b/f.tsv"] = b"theirs"
    assert a_set(publisher).find("a/b/f.tsv") == copy
    assert publisher.served == []


@pytest.mark.parametrize(
    ("there", "kept_folders", "asked", "found"),
    [
        (["set/f.tsv", "set/a/f.tsv"], 0, "a/f.tsv", "set/a/f.tsv"),
        (["set/f.tsv", "set/a/f.tsv"], 0, "b/f.tsv", "set/f.tsv"),
        *(([place], 0, "a/f.tsv", None) for place in ("set/a", "other/a/f.tsv", "a/f.tsv", "set/f.tsv/x")),
        (["set/f.tsv", "set/swh/f.tsv", "eval/set/yor/f.tsv"], 1, "v1/swh/f.tsv", "set/swh/f.tsv"),
        (["set/f.tsv", "set/swh/f.tsv"], 1, "v1/hau/f.tsv", None),
        (["set/f.tsv"], 1, "f.tsv", "set/f.tsv"),
    ],
)
def test_which_of_several_files_is_meant(
    data: Path, there: list[str], kept_folders: int, asked: str, found: str | None
):
    """Guards against the file of another folder, data set or language, and a folder that passes for a file."""
    for place in there:
        put(data / place)
    assert a_set(kept_folders=kept_folders).find_local(asked) == (found and data / found)


def test_then_the_cache_of_this_revision(data: Path, own_home: Path, publisher):
    """Guards against a second download, and the file of another revision."""
    put(own_home / "data" / "set" / "v0" / "a" / "f.tsv", "old")
    publisher.files["/files/a/f.tsv"] = b"theirs"
    found = a_set(publisher).find("a/f.tsv")
    assert found == own_home / "data" / "set" / "v1" / "a" / "f.tsv"
    assert found.read_text() == "theirs"
    assert a_set(publisher).find("a/f.tsv") == found
    assert [request.path for request in publisher.served] == ["/files/a/f.tsv"]


@pytest.mark.parametrize(
    "name", ["a b/中文 ü.tsv", "100%.tsv", "a#b?c=d&e+f.tsv", "%41.tsv", "a;b,c'd(e)[f].tsv", "ab:c"]
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_any_name_arrives_at_the_publisher(publisher, name: str, slash: str):
    """Guards against spaces, other scripts and signs of URLs in file names that ask for another file."""
    publisher.files[f"/files/{name}"] = b"theirs"
    assert a_set(url=f"{publisher.url}/files{slash}").find(name).read_bytes() == b"theirs"


@pytest.mark.parametrize(
    "path", ["../other/f.tsv", "a/../../../f.tsv", "a/..", "/etc/passwd", "", ".", "..\\f.tsv", "C:\\f.tsv", "\\f.tsv"]
)
@pytest.mark.parametrize("own", [True, False])
def test_a_path_never_leads_out_of_the_folder(
    data: Path, publisher, path: str, own: bool, monkeypatch: pytest.MonkeyPatch
):
    """Guards against a path from bad data that reads, or writes, somebody else's files."""
    if own:
        put(data / "other" / "f.tsv")
        put(data / "f.tsv")
    else:
        monkeypatch.delenv("OPTICAL_MTEB_DATA")
    for look in (a_set(publisher).find, a_set(publisher).find_local, a_set(hub="o/n").find):
        with refused(r"^set: the path .* leads out of the data set's folder"):
            look(path)
    assert publisher.served == []


@pytest.mark.parametrize("value", ["1", "true", "YES", "on"])
@pytest.mark.parametrize("archive", [None, "a.zip"])
def test_offline_nothing_is_asked_for(
    value: str, archive: str | None, connections: list[object], monkeypatch: pytest.MonkeyPatch
):
    """Guards against a download from a publisher against HF_HUB_OFFLINE."""
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    there = a_set(url="http://127.0.0.1:9/files", archives={"a.zip": "http://127.0.0.1:9/a.zip"})
    with refused(rf"^set: .* is not here \(HF_HUB_OFFLINE is set\); get it from {PAGE}"):
        there.find("f.tsv", archive=archive)
    assert connections == []


@pytest.mark.parametrize("value", ["", "0", "false", "no"])
def test_a_switch_that_is_off_forbids_nothing(value: str, publisher, monkeypatch: pytest.MonkeyPatch):
    """Guards against HF_HUB_OFFLINE=0 that counts as set."""
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    publisher.files["/files/f.tsv"] = b"theirs"
    assert a_set(publisher).find("f.tsv").read_bytes() == b"theirs"


@pytest.mark.parametrize("shelf", ["", "eval", "bitext"])
def test_the_line_names_page_and_place(data: Path, shelf: str, publisher):
    """Guards against an error that does not say where the file belongs: beside the files of the data set that are there."""
    put(data / shelf / "set" / "other.tsv")
    with refused() as caught:
        a_set(publisher).find("a/f.tsv")
    place = data / shelf / "set" / "a" / "f.tsv"
    assert str(caught.value) == (
        f"set: a/f.tsv is not here ({publisher.url}/files/a/f.tsv: the server answers 404 Not Found); "
        f"get it from {PAGE} and put it at {place}"
    )
    put(place)
    assert a_set(publisher).find("a/f.tsv") == place


@pytest.mark.parametrize("own", [True, False])
def test_the_line_says_what_to_set(tmp_path: Path, own: bool, monkeypatch: pytest.MonkeyPatch):
    """Guards against a traceback for data behind a form, and a place in a data folder that the user does not have."""
    if own:
        monkeypatch.setenv("OPTICAL_MTEB_DATA", str(tmp_path))
    place = f"{tmp_path}/set/f.tsv" if own else "OPTICAL_MTEB_DATA/set/f.tsv, after setting OPTICAL_MTEB_DATA to .*"
    with refused(rf"f\.tsv is not here \(it is not offered for download\); get it from .* and put it at {place}$"):
        a_set().find("f.tsv")


def test_a_cache_that_cannot_be_written_is_one_line(publisher, own_home: Path):
    """Guards against a traceback where the home folder is a file, for files and for archives."""
    put(own_home, "no folder")
    there = a_set(publisher, archives={"a.zip": f"{publisher.url}/a.zip"})
    for archive in (None, "a.zip"):
        with refused("cannot write there"):
            there.find("f.tsv", archive=archive)


@pytest.fixture
def packed(publisher) -> PublishedData:
    """A data set in an archive of three files."""
    publisher.files["/dl/set.zip"] = zipped(a__f="theirs", a__g="also theirs", h="too")
    return a_set(archives={"set.zip": f"{publisher.url}/dl/set.zip"})


@pytest.mark.parametrize(("archive", "url"), [(None, "/files/a/f.tsv"), ("set.zip", "/dl/set.zip")])
def test_the_checksum_counts(packed: PublishedData, publisher, archive: str | None, url: str):
    """Guards against a wrong file or archive that is accepted, unpacked before it is checked, or kept for the next call."""
    publisher.files["/files/a/f.tsv"] = b"theirs"
    right = hashlib.sha256(publisher.files[url]).hexdigest()
    named = archive or "a/f.tsv"
    wrong, good = (
        a_set(publisher, archives=packed.archives, checksums={named: value, "x": "0"}) for value in ("0" * 64, right)
    )
    for _ in range(2):
        with refused(f"{named} is not here .*SHA-256 {right}, expected {'0' * 64}.*get it from {PAGE}"):
            wrong.find("a/f.tsv", archive=archive)
    assert [path for path in wrong.cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert good.find("a/f.tsv", archive=archive).read_bytes() == b"theirs"


@pytest.fixture
def unpackings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The archives that are unpacked."""
    unpacked: list[Path] = []
    unpack = archive_module.unpack

    def counting(archive: Path, folder: Path) -> None:
        unpacked.append(archive)
        unpack(archive, folder)

    monkeypatch.setattr(archive_module, "unpack", counting)
    return unpacked


def test_an_archive_is_fetched_and_unpacked_once(
    packed: PublishedData, publisher, unpackings: list[Path], monkeypatch: pytest.MonkeyPatch
):
    """Guards against an archive that is downloaded or unpacked for every file, or again where a user removed it."""
    first = packed.find("a/f.tsv", archive="set.zip")
    assert first.read_text() == "theirs"
    assert packed.find("a/g.tsv", archive="set.zip").read_text() == "also theirs"
    (packed.cache / "set.zip").unlink()
    assert packed.find("h.tsv", archive="set.zip").read_text() == "too"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert packed.find("a/f.tsv", archive="set.zip") == first
    assert [request.path for request in publisher.served] == ["/dl/set.zip"]
    assert len(unpackings) == 1


@pytest.mark.parametrize("shelf", [None, "", "eval", "bitext"])
def test_archives_that_are_here_need_no_network(
    packed: PublishedData, data: Path, publisher, shelf: str | None, monkeypatch: pytest.MonkeyPatch, unpackings
):
    """Guards against an archive in the cache or the data folder that is not looked at, or unpacked into the user's folder.

    A wrong archive can be replaced; a file that lies beside one comes first.
    """
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    archive = (packed.cache if shelf is None else data / shelf / "set") / "set.zip"
    if shelf is not None:
        put(archive, zipped(wrong="wrong"))
        with refused(r"set\.zip: holds no a/f\.tsv; expected what http.*/dl/set\.zip holds at"):
            packed.find("a/f.tsv", archive="set.zip")
    unpackings.clear()
    put(archive, zipped(a__f="mine"))
    found = packed.find("a/f.tsv", archive="set.zip")
    assert found.read_text() == "mine"
    assert packed.cache in found.parents
    assert packed.find("a/f.tsv", archive="set.zip") == found
    assert unpackings == [archive]
    assert publisher.served == []
    beside = put(data / "set" / "a" / "f.tsv", "beside it")
    assert packed.find("a/f.tsv", archive="set.zip") == beside


def test_many_at_once_unpack_once(packed: PublishedData, publisher, unpackings: list[Path]):
    """Guards against two unpackings that take each other's place."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: packed.find("a/f.tsv", archive="set.zip").read_text(), range(8)))
    assert found == ["theirs"] * 8
    assert len(unpackings) == len(publisher.served) == 1


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub client's cache."""
    folder = tmp_path / "hf" / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


def put_into(hub_cache: Path, path: str, content: str, commit: str = COMMIT) -> Path:
    """A file as the Hub's client keeps it: a blob, and a link to it in a snapshot."""
    repository = hub_cache / "datasets--owner--name"
    blob = put(repository / "blobs" / hashlib.sha1(content.encode()).hexdigest(), content)
    link = repository / "snapshots" / commit / path
    link.parent.mkdir(parents=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return link


ON_HUB = a_set(hub="owner/name", revision=COMMIT)


@pytest.mark.parametrize("client_knows", [True, False])
def test_offline_the_hub_s_cache_is_looked_into(
    hub_cache: Path, connections: list[object], client_knows: bool, monkeypatch: pytest.MonkeyPatch
):
    """Guards against a file in the Hub's cache that is not found offline, one of another commit, and the network asked."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", client_knows)
    link = put_into(hub_cache, "a/f.tsv", "from the Hub")
    assert ON_HUB.find("a/f.tsv") == link
    assert link.read_text() == "from the Hub"
    put_into(hub_cache, "a/g.tsv", "other", commit=COMMIT[::-1])
    with refused(rf"a/g\.tsv is not here \(HF_HUB_OFFLINE is set, and the Hub's cache .*get it from {PAGE}"):
        ON_HUB.find("a/g.tsv")
    assert connections == []


@pytest.mark.parametrize("error", [RuntimeError, OSError])
def test_whatever_the_hub_s_client_raises_is_one_line(
    hub_cache: Path, error: type[Exception], data: Path, monkeypatch: pytest.MonkeyPatch
):
    """Guards against a traceback of one of the client's libraries."""

    def fail(*_: object, local_files_only: bool, **__: object) -> None:
        assert not local_files_only
        raise error("404 Client Error.\n\nEntry Not Found for url: https://x/y.\n")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with refused() as caught:
        ON_HUB.find("a/f.tsv")
    assert str(caught.value) == (
        "set: a/f.tsv is not here (the Hub says: 404 Client Error. Entry Not Found for url: https://x/y.); "
        f"get it from {PAGE} and put it at {data}/set/a/f.tsv"
    )
