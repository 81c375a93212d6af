"""Archives from outside: unpacked whole and exactly, or refused in one line with nothing left behind."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import shutil
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from optical_mteb.collection import archive as module
from optical_mteb.collection.archive import relative_path, unpack
from optical_mteb.errors import InputError
from tests.collection.conftest import refused

FILES = {
    "readme.txt": b"",
    "data/swh/docs.tsv": b"1\tmbwa\n" * 400,
    "data/a name with spaces \xe4\xb8\xad.tsv".encode("latin-1").decode(): random.Random(0).randbytes(3000),
}
"""An empty file, one that compresses, one that does not."""

PLAIN = {".tar": bytes, ".tar.gz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress}


Members = Mapping[str, bytes] | list[tuple[str | tarfile.TarInfo | zipfile.ZipInfo, bytes]]


def pairs(members: Members) -> list:
    return list(members.items()) if isinstance(members, Mapping) else members


def tar_bytes(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as packed:
        for name, content in pairs(members):
            member = tarfile.TarInfo(name) if isinstance(name, str) else name
            member.size = len(content) or member.size
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(members: Members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for name, content in pairs(members):
            packed.writestr(name, content)
    return buffer.getvalue()


def put(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def archive_of(tmp_path: Path, form: str, members: Members) -> Path:
    return put(tmp_path, f"a{form}", zip_bytes(members) if form == ".zip" else PLAIN[form](tar_bytes(members)))


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()}


def not_unpacked(archive: Path, match: str) -> None:
    """Unpacking is refused in one line, and nothing is left."""
    before = sorted(archive.parent.rglob("*"))
    with refused(match) as caught:
        unpack(archive, archive.parent / "out")
    assert str(archive) in str(caught.value)
    assert sorted(archive.parent.rglob("*")) == before


@pytest.fixture
def thrown_away(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that lie in a scratch folder when it is removed."""
    sizes: list[int] = []
    remove = shutil.rmtree

    def measured(folder, *arguments, **options):
        sizes.append(sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()))
        remove(folder, *arguments, **options)

    monkeypatch.setattr(shutil, "rmtree", measured)
    return sizes


@pytest.mark.parametrize("form", [".zip", *PLAIN])
def test_files_come_out_as_they_went_in(tmp_path: Path, form: str, capfd: pytest.CaptureFixture[str]):
    """Guards against files that are lost, cut or renamed, rights that are taken over, and a progress bar in a log file.

    And against a form that is taken from a file name.
    """
    unpack(archive_of(tmp_path, form, FILES).rename(tmp_path / "download"), tmp_path / "out")
    assert content_of(tmp_path / "out") == FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["download", "out"]
    assert not (tmp_path / "out" / "readme.txt").stat().st_mode & 0o111
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """Guards against minutes of silence, and a file name that the progress bar reads as markup."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    unpack(archive_of(tmp_path, ".zip", FILES).rename(tmp_path / "a [bold].zip"), tmp_path / "out")
    assert "unpacking a [bold].zip" in capfd.readouterr().err


def test_a_tar_archive_that_holds_a_zip_archive_is_a_tar_archive(tmp_path: Path):
    """Guards against the wrong archive unpacked: the end of a zip archive is looked for far from a file's end."""
    path = archive_of(tmp_path, ".tar", {"inner.zip": zip_bytes({"wrong": b"x"}), "PK": b"y"})
    unpack(path, tmp_path / "out")
    assert sorted(content_of(tmp_path / "out")) == ["PK", "inner.zip"]


def test_folders_of_archives_made_on_windows(tmp_path: Path):
    """Guards against a folder with a backslash at its end that is taken for a file."""
    entry = zipfile.ZipInfo("data/x.tsv")
    entry.create_system = 0
    content = zip_bytes([("data/", b""), (entry, b"1")]).replace(b"data/", b"data\\")
    unpack(put(tmp_path, "a.zip", content), tmp_path / "out")
    assert content_of(tmp_path / "out") == {"data/x.tsv": b"1"}


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/x", "..\\x", "a\\..\\..\\x", "\\x", "C:\\x", "C:/x", "c:x", r"\\server\share\x", "."],
)
@pytest.mark.parametrize("form", [".zip", ".tar.gz"])
def test_a_path_that_leads_out_is_refused(tmp_path: Path, form: str, name: str):
    """Guards against files written outside of the folder, on this system or on Windows."""
    not_unpacked(archive_of(tmp_path, form, {"good": b"1", name: b"2"}), "leads out of the folder.*do not trust")


@pytest.mark.parametrize("name", ["a:b", "a/b: c.tsv", "..a", "a..", "a/./b", "...", " ", "~", "-rf"])
def test_a_path_that_only_looks_strange_is_taken(name: str):
    """Guards against a refusal of good names; tar archives of Unix hold colons."""
    assert relative_path(name) == (None if name == "a:b" else Path(name))


def link_in_zip(kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo("bad")
    entry.external_attr = (kind | 0o777) << 16
    return entry


def link_in_tar(kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo("bad")
    member.type, member.linkname = kind, target
    return member


TAR_KINDS = [(tarfile.SYMTYPE, "/etc"), (tarfile.LNKTYPE, "good"), (tarfile.CHRTYPE,), (tarfile.FIFOTYPE,), (b"Z",)]


@pytest.mark.parametrize(
    "bad",
    [
        *(link_in_zip(kind) for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO)),
        *(link_in_tar(*kind) for kind in TAR_KINDS),
    ],
    ids=lambda bad: f"{type(bad).__name__}-{getattr(bad, 'type', None) or bad.external_attr}",
)
def test_links_and_devices_are_refused(tmp_path: Path, bad: zipfile.ZipInfo | tarfile.TarInfo):
    """Guards against a link that leads out, through which a later member is written, and devices made as root."""
    form = ".zip" if isinstance(bad, zipfile.ZipInfo) else ".tar"
    path = archive_of(tmp_path, form, [("good", b"1"), (bad, b""), ("bad/x", b"2")])
    not_unpacked(path, "'bad' is not a regular file")


@pytest.mark.parametrize(
    "names", [("x", "x"), ("x", "./x"), ("d/x", "d//x"), ("x", "x/y"), ("x", "x/y/z"), ("x/y", "x")]
)
@pytest.mark.parametrize("form", [".zip", ".tar"])
def test_one_path_twice_is_refused(tmp_path: Path, form: str, names: tuple[str, str]):
    """Guards against a member that silently takes the place of another, and a traceback for a file that is a folder too."""
    not_unpacked(archive_of(tmp_path, form, [(name, b"1") for name in names]), "twice, or as file and folder")


def marked(local: int, central: int, value: int) -> bytes:
    """A zip archive whose two headers have a value at a place."""
    content = bytearray(zip_bytes({"x": b"1"}))
    content[content.index(b"PK\3\4") + local] = content[content.index(b"PK\1\2") + central] = value
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "cannot be unpacked.*No such file"),
        *(
            (content, "is not a zip or tar archive")
            for content in (
                b"",
                b"<!DOCTYPE html><title>Sign in</title>" * 50,
                bytes(511),
                gzip.compress(b"no tar" * 300),
            )
        ),
        (marked(6, 8, 1), "'x' is encrypted; unpack it yourself"),
        (marked(8, 10, 97), "cannot be unpacked .*compression"),
        (
            zip_bytes({"x": b"the content of a file"}, zipfile.ZIP_STORED).replace(b"content", b"c0ntent"),
            r"cannot be unpacked \(Bad CRC-32 for file 'x'\); delete it and get it again",
        ),
    ],
    ids=["gone", "empty", "a page", "zeros", "one packed file", "encrypted", "a compression Python lacks", "changed"],
)
def test_what_cannot_be_unpacked_is_one_line(tmp_path: Path, content: bytes | None, match: str):
    """Guards against a traceback, and advice to get an encrypted archive again, which does not help."""
    not_unpacked(tmp_path / "a.zip" if content is None else put(tmp_path, "a.zip", content), match)


@pytest.mark.parametrize("form", [".zip", *PLAIN])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, form: str):
    """Guards against half an archive that passes for the whole; only the blocks of zeros at a tar archive's end may be missing."""
    whole = archive_of(tmp_path, form, FILES).read_bytes()
    content = len(whole.rstrip(b"\0")) + 512 if form == ".tar" else len(whole)
    step = 512 if form == ".tar" else len(whole) // 23
    path = tmp_path / "cut"
    for end in [*range(0, content, step), content - 1, content - 513]:
        path.write_bytes(whole[:end])
        with refused():
            unpack(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.long
@pytest.mark.parametrize("form", [".zip", *(form for form in PLAIN if form != ".tar")])
def test_changed_bytes_never_change_a_file(tmp_path: Path, form: str):
    """Guards against tracebacks and silent damage: whatever byte changes, the files are right or there is one line."""
    whole = archive_of(tmp_path, form, FILES).read_bytes()
    path, rng = tmp_path / "changed", random.Random(form)
    outcomes = {True: 0, False: 0}
    for _ in range(80):
        changed = bytearray(whole)
        for _ in range(rng.choice([1, 1, 4])):
            changed[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(changed)
        try:
            unpack(path, tmp_path / "out")
        except InputError as error:
            outcomes[False] += "\n" not in str(error)
            continue
        found = content_of(tmp_path / "out")
        assert set(found.values()) <= set(FILES.values())
        # A zip archive's list of members has no checksum of its own.
        assert len(found) == len(FILES) or form == ".zip"
        outcomes[True] += 1
        shutil.rmtree(tmp_path / "out")
    assert outcomes[False] + outcomes[True] == 80
    assert outcomes[False] > 40


@pytest.mark.parametrize("form", [".zip", *PLAIN])
def test_the_bound_is_exact(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch):
    """Guards against a bound that is off by a file: content, and 512 bytes for each."""
    path = archive_of(tmp_path, form, FILES)
    size = sum(map(len, FILES.values())) + 512 * len(FILES)
    monkeypatch.setattr(module, "MOST_BYTES", size)
    unpack(path, tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setattr(module, "MOST_BYTES", size - 1)
    not_unpacked(path, rf"unpacks to more than {size - 1:,} bytes .*unpack it yourself")


@pytest.mark.parametrize("form", [".zip", ".tar.gz"])
def test_a_bomb_is_refused_before_it_is_written(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch, thrown_away: list[int]
):
    """Guards against a disk that fills up, and a bound on growth that a good archive of a large text meets.

    What an archive admits to is looked at before the first byte is written.
    """
    monkeypatch.setattr(module, "SMALL", 0)
    rng = random.Random(0)
    text = " ".join(str(rng.randrange(1000)) for _ in range(100_000)).encode()
    unpack(archive_of(tmp_path, form, {"text": text}), tmp_path / "out")
    assert content_of(tmp_path / "out") == {"text": text}
    shutil.rmtree(tmp_path / "out")
    thrown_away.clear()
    path = archive_of(tmp_path, form, {"zeros": bytes(32 << 20)})
    not_unpacked(path, r"unpacks to more than [\d,]+ bytes \('zeros'\)")
    assert max(thrown_away) == 0


def test_a_bomb_that_lies_is_stopped_early(tmp_path: Path, thrown_away: list[int]):
    """Guards against a declared size that is believed: ten bytes, it says, and holds 32 million."""
    content = bytearray(zip_bytes({"zeros": bytes(32 << 20)}))
    for start, size_at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = content.index(start) + size_at
        assert int.from_bytes(content[at : at + 4], "little") == 32 << 20
        content[at : at + 4] = (10).to_bytes(4, "little")
    not_unpacked(put(tmp_path, "a.zip", content), "cannot be unpacked")
    assert max(thrown_away) <= 10


def test_what_is_read_is_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thrown_away: list[int]):
    """Guards against a reader that gives more than was declared."""
    endless = io.BytesIO(bytes(8 << 20))
    monkeypatch.setattr(module, "_members", lambda *_: iter([("zeros", 10, endless)]))
    monkeypatch.setattr(module, "MOST_BYTES", 2 << 20)
    not_unpacked(archive_of(tmp_path, ".zip", FILES), "unpacks to more than")
    assert max(thrown_away) <= 2 << 20


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_bomb_in_a_header_is_refused(tmp_path: Path, kind: bytes, monkeypatch: pytest.MonkeyPatch):
    """Guards against a name of gigabytes that is read into memory."""
    read: list[int] = []
    counted = gzip.GzipFile.read

    def reading(stream: gzip.GzipFile, size: int = -1) -> bytes:
        read.append(size)
        return counted(stream, size)

    monkeypatch.setattr(gzip.GzipFile, "read", reading)
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 64 << 20
    content = gzip.compress(tar_bytes({"good": b"1"})[:1024] + header.tobuf() + bytes(16 << 20))
    not_unpacked(put(tmp_path, "a.tar.gz", content), "cannot be unpacked .*header of 67,108,864 bytes")
    assert max(read) <= 4 << 20


def test_a_bomb_after_the_end_is_stopped_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against gigabytes of zeros that are read through for the checksum at their end."""
    monkeypatch.setattr(module, "SMALL", 1 << 20)
    monkeypatch.setattr(module, "MOST_GROWTH", 1)
    not_unpacked(put(tmp_path, "a.tar.gz", gzip.compress(tar_bytes(FILES) + bytes(32 << 20))), "unpacks to more than")


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a traceback, and half a folder, where the disk is full."""
    path = archive_of(tmp_path, ".tar.gz", FILES)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_create", full)
    with refused(r"out: cannot write there \(No space left on device\)"):
        unpack(path, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]
