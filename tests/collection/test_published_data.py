"""Where a published file is found: in which order, without the network where that is forbidden, and what is said."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from optical_mteb.collection import archive as archive_module
from optical_mteb.collection import download as download_module
from optical_mteb.collection.published_data import PublishedData
from tests.collection.conftest import refused, zipped

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


def put(path: Path, content: str | bytes = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


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


def test_the_longer_path_comes_first(data: Path):
    """Guards against the file of another folder that is taken although the right one is there."""
    put(data / "set" / "f.tsv", "flat")
    full = put(data / "set" / "a" / "f.tsv", "full")
    assert a_set().find("a/f.tsv") == full
    assert a_set().find_local("b/f.tsv") == data / "set" / "f.tsv"


@pytest.mark.parametrize("place", ["set/a", "other/a/f.tsv", "a/f.tsv", "set/f.tsv/x"])
def test_what_is_elsewhere_is_not_found(data: Path, place: str):
    """Guards against a folder that passes for a file, and files of another data set."""
    put(data / place)
    assert a_set().find_local("a/f.tsv") is None


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


def test_the_checksum_counts(publisher, own_home: Path):
    """Guards against a wrong file that is accepted, or kept for the next call."""
    publisher.files["/files/a/f.tsv"] = b"theirs"
    right = hashlib.sha256(b"theirs").hexdigest()
    wrong = a_set(publisher, checksums={"a/f.tsv": "0" * 64})
    for _ in range(2):
        with refused(f"SHA-256 {right}, expected {'0' * 64}.*get it from {PAGE}"):
            wrong.find("a/f.tsv")
    assert not (wrong.cache / "a" / "f.tsv").exists()
    assert a_set(publisher, checksums={"a/f.tsv": right, "other": "0"}).find("a/f.tsv").read_bytes() == b"theirs"


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


def test_the_line_says_what_to_set(publisher):
    """Guards against a place in a data folder that the user does not have."""
    with refused(r"put it at OPTICAL_MTEB_DATA/set/f\.tsv, after setting OPTICAL_MTEB_DATA to"):
        a_set(publisher).find("f.tsv")


def test_what_is_not_offered_says_so(data: Path):
    """Guards against a traceback for data that a form has to be filled in for."""
    with refused(rf"f\.tsv is not here \(it is not offered for download\).*put it at {data}/set/f\.tsv$"):
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


def test_an_archive_is_fetched_and_unpacked_once(packed: PublishedData, publisher, unpackings: list[Path]):
    """Guards against an archive that is downloaded or unpacked for every file."""
    assert packed.find("a/f.tsv", archive="set.zip").read_text() == "theirs"
    assert packed.find("a/g.tsv", archive="set.zip").read_text() == "also theirs"
    assert [request.path for request in publisher.served] == ["/dl/set.zip"]
    assert len(unpackings) == 1


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


def test_an_unpacked_archive_is_enough(packed: PublishedData, publisher, monkeypatch: pytest.MonkeyPatch):
    """Guards against a download after a user made room by removing the archive, and files that are not found offline."""
    first = packed.find("a/f.tsv", archive="set.zip")
    (packed.cache / "set.zip").unlink()
    assert packed.find("a/g.tsv", archive="set.zip").read_text() == "also theirs"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert packed.find("a/f.tsv", archive="set.zip") == first
    assert len(publisher.served) == 1


def test_a_cached_archive_is_unpacked_offline(packed: PublishedData, publisher, monkeypatch: pytest.MonkeyPatch):
    """Guards against a cache that cannot be taken to a machine without network."""
    put(packed.cache / "set.zip", publisher.files["/dl/set.zip"])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert packed.find("h.tsv", archive="set.zip").read_text() == "too"
    assert publisher.served == []


@pytest.mark.parametrize("shelf", ["", "eval", "bitext"])
def test_the_user_s_own_archive(
    packed: PublishedData, data: Path, publisher, shelf: str, monkeypatch: pytest.MonkeyPatch, unpackings
):
    """Guards against an archive in the data folder that is not looked at, or is unpacked into the user's folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    own = put(data / shelf / "set" / "set.zip", zipped(a__f="mine"))
    found = packed.find("a/f.tsv", archive="set.zip")
    assert found.read_text() == "mine"
    assert packed.cache in found.parents
    assert packed.find("a/f.tsv", archive="set.zip") == found
    assert unpackings == [own]
    assert publisher.served == []


def test_the_user_s_unpacked_file_comes_before_the_user_s_archive(packed: PublishedData, data: Path):
    """Guards against an archive that is unpacked although the file lies beside it."""
    put(data / "set" / "set.zip", zipped(a__f="in the archive"))
    copy = put(data / "set" / "a" / "f.tsv", "beside it")
    assert packed.find("a/f.tsv", archive="set.zip") == copy


def test_an_archive_that_the_user_replaces_is_unpacked_anew(packed: PublishedData, data: Path):
    """Guards against a mistake that cannot be fixed: the wrong archive's files stay in the cache."""
    own = put(data / "set" / "set.zip", zipped(wrong="wrong"))
    with refused(r"set\.zip: holds no a/f\.tsv; expected what http.*/dl/set\.zip holds at"):
        packed.find("a/f.tsv", archive="set.zip")
    put(own, zipped(a__f="mine"))
    assert packed.find("a/f.tsv", archive="set.zip").read_text() == "mine"


def test_the_checksum_of_an_archive_counts(packed: PublishedData, publisher, data: Path):
    """Guards against an archive that is unpacked before it is checked."""
    there = a_set(archives=packed.archives, checksums={"set.zip": "0" * 64})
    with refused(rf"set\.zip is not here .*SHA-256.*put it at {data}/set/set\.zip$"):
        there.find("a/f.tsv", archive="set.zip")
    assert [path.name for path in there.cache.iterdir() if path.suffix != ".lock"] == []


def test_a_bad_archive_leaves_nothing_to_find(packed: PublishedData, publisher):
    """Guards against half an archive's files that the next call takes for all."""
    publisher.files["/dl/set.zip"] = zipped(a__f="good", b="x").replace(b"b.tsv", b"/.tsv")
    for _ in range(2):
        with refused("leads out of the folder"):
            packed.find("a/f.tsv", archive="set.zip")
    assert not (packed.cache / "set.zip.d").exists()


def test_many_at_once_unpack_once(packed: PublishedData, publisher, unpackings: list[Path]):
    """Guards against two unpackings that take each other's place."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: packed.find("a/f.tsv", archive="set.zip").read_text(), range(8)))
    assert found == ["theirs"] * 8
    assert len(unpackings) == len(publisher.served) == 1


CHILD = """
import os, signal, sys, time
from pathlib import Path
from optical_mteb.collection import archive
from optical_mteb.collection.published_data import PublishedData
blocks, how = archive._blocks, sys.argv[1]
def slow(content, path):
    for block in blocks(content, path):
        yield block
        time.sleep(0.05)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
archive._blocks = slow
there = PublishedData("set", "page", "v1", archives={"set.zip": "http://127.0.0.1:9/"})
print(there.find("a/f.tsv", archive="set.zip").read_text())
"""


def child(how: str) -> subprocess.Popen[str]:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", CHILD, how], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.long
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs Unix")
def test_processes_at_once_and_one_that_is_killed(packed: PublishedData, publisher):
    """Guards against files of a half-unpacked archive, a lock that outlives its owner, and gigabytes that a killed process left."""
    put(packed.cache / "set.zip", publisher.files["/dl/set.zip"])
    killed = child("killed")
    assert killed.communicate(timeout=60)[0] == ""
    assert killed.returncode == -signal.SIGKILL
    assert [path for path in packed.cache.iterdir() if path.name.startswith(".set.zip.d.")]
    assert not (packed.cache / "set.zip.d").exists()
    running = [child("slow"), child("slow")]
    assert [each.communicate(timeout=60)[0] for each in running] == ["theirs\n"] * 2
    assert sorted(path.name for path in packed.cache.iterdir() if not path.name.endswith(".lock")) == [
        "set.zip",
        "set.zip.d",
    ]


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


def test_own_copy_and_cache_come_before_the_hub(hub_cache: Path, data: Path, own_home: Path):
    """Guards against a file of the Hub's cache that is taken although the user put another one there."""
    put_into(hub_cache, "a/f.tsv", "from the Hub")
    cached = put(own_home / "data" / "set" / COMMIT / "a" / "f.tsv", "cached")
    assert ON_HUB.find("a/f.tsv") == cached
    copy = put(data / "set" / "a" / "f.tsv", "mine")
    assert ON_HUB.find("a/f.tsv") == copy


def test_the_hub_is_asked_for_this_file_at_this_commit(hub_cache: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a file of a model instead of a data set, or of the newest revision."""
    asked: list[object] = []

    def answer(*arguments: object, **options: object) -> str:
        asked.append((arguments, options))
        return str(hub_cache / "there")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", answer)
    assert ON_HUB.find("a/f.tsv") == hub_cache / "there"
    assert asked == [
        (("owner/name", "a/f.tsv"), {"repo_type": "dataset", "revision": COMMIT, "local_files_only": False})
    ]


@pytest.mark.parametrize("error", [RuntimeError, OSError, ValueError, LocalEntryNotFoundError])
def test_whatever_the_hub_s_client_raises_is_one_line(
    hub_cache: Path, error: type[Exception], data: Path, monkeypatch: pytest.MonkeyPatch
):
    """Guards against a traceback of one of the client's libraries."""

    def fail(*_, **__):
        raise error("404 Client Error.\n\nEntry Not Found for url: https://x/y.\n")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with refused() as caught:
        ON_HUB.find("a/f.tsv")
    assert str(caught.value) == (
        "set: a/f.tsv is not here (the Hub says: 404 Client Error. Entry Not Found for url: https://x/y.); "
        f"get it from {PAGE} and put it at {data}/set/a/f.tsv"
    )


def test_nothing_is_looked_up_before_a_file_is_asked_for(own_home: Path, connections: list[object]):
    """Guards against folders made, or a network reached, when a task is imported."""
    a_set(url="http://127.0.0.1:9", hub="owner/name")
    assert connections == []
    assert not own_home.exists()


def test_kept_folders_are_not_left_out_of_the_users_copy(data: Path):
    """Guards against one language's `corpus.jsonl` that is read for every language."""
    published = a_set(kept_folders=1)
    for place in ("corpus.jsonl", "swh/corpus.jsonl", "eval/yor/corpus.jsonl"):
        put(data / "set" / place)
    assert published.find_local("v1/swh/corpus.jsonl") == data / "set/swh/corpus.jsonl"
    assert published.find_local("v1/hau/corpus.jsonl") is None
    assert published.find_local("corpus.jsonl") == data / "set/corpus.jsonl"
