"""Files of lines, and of JSON lines: what is a line, and what is refused with file and line."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from pathlib import Path

import pyarrow as pa
import pytest

from optical_mteb.collection import lines as module
from optical_mteb.collection.lines import read_json_lines, read_lines, read_parallel_lines, text_of
from tests.collection.conftest import refused

PACK = {
    "": bytes,
    ".gz": gzip.compress,
    ".BZ2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.Codec("zstd").compress(content).to_pybytes(),
}
"""How files are packed, by the end of their names."""

HARD = {
    b"": [],
    b"\n": [""],
    b"one": ["one"],
    b"one\ntwo\n": ["one", "two"],
    b"one\r\ntwo\r\n": ["one", "two"],
    b"one\n\n  \ntwo\n\n": ["one", "", "", "two", ""],
    b"\xef\xbb\xbfone\ntwo\n": ["one", "two"],
    b"\xef\xbb\xbf": [""],
    b" \t one two \t\n": ["one two"],
    "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\rj\nk".encode(): [
        "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\rj",
        "k",
    ],
    "one\n\ufefftwo\n".encode(): ["one", "two"],
    "\u00a0ሰላም\u3000\n😀\n".encode(): ["ሰላም", "😀"],
}
"""Lines by the bytes of a file."""


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("content", HARD, ids=repr)
def test_what_a_line_is(tmp_path: Path, content: bytes, suffix: str):
    r"""Guards against byte order marks and line ends of Windows in texts, lines divided at anything but `\n`, packed bytes."""
    path = tmp_path / f"f.txt{suffix}"
    path.write_bytes(PACK[suffix](content))
    assert list(read_lines(path)) == HARD[content]


@pytest.mark.parametrize(
    ("content", "line", "byte"),
    [
        (b"\xff", 1, 1),
        (b"one\ntw\xe9\n", 2, 3),
        (b"\xef\xbb\xbfab\xff", 1, 6),
        ("one\ntwo".encode("utf-16"), 1, 1),
        (b"one\n\xed\xa0\x80\n", 2, 1),
        (b"one\ntwo\xe2\x82\n", 2, 4),
        (b"\xc0\xaf\n", 1, 1),
    ],
)
def test_invalid_utf_8_has_its_place(tmp_path: Path, content: bytes, line: int, byte: int):
    """Guards against replaced characters, a traceback, or the wrong line: other encodings, surrogates, characters cut in half."""
    path = tmp_path / "f.txt"
    path.write_bytes(content)
    with refused() as caught:
        list(read_lines(path))
    assert str(caught.value) == (
        f"{path}:{line}: byte {byte} of the line is not valid UTF-8; convert the file to UTF-8"
    )


def test_another_encoding_line_by_line(tmp_path: Path):
    """Guards against valid UTF-8 that is read as Latin-1, and bytes that are neither."""
    path = tmp_path / "f.txt"
    path.write_bytes("è\n".encode() + "è\n".encode("latin-1") + b"\x81\n")
    assert list(read_lines(path, otherwise="iso-8859-1")) == ["è", "è", "\x81"]
    with refused(rf"^{path}:3: byte 1 .* not valid UTF-8, and byte 1 not valid cp1252; convert"):
        list(read_lines(path, otherwise="cp1252"))


def test_a_file_without_line_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against a memory that fills with one line, or with a file that is read before its first line is given."""
    monkeypatch.setattr(module, "LONGEST", 10)
    path = tmp_path / "f.txt"
    path.write_bytes(b"one\n" + b"x" * 9 + b"\n" + b"x" * 11)
    lines = read_lines(path)
    assert [next(lines), next(lines)] == ["one", "x" * 9]
    with refused(rf"^{path}:3: has more than 10 bytes"):
        next(lines)


@pytest.mark.parametrize("suffix", [suffix for suffix in PACK if suffix])
@pytest.mark.parametrize("damage", ["cut", "byte", "none"])
def test_a_damaged_packed_file_is_one_line(tmp_path: Path, damage: str, suffix: str):
    """Guards against a traceback, or half a file, after a download that broke."""
    packed = bytearray(PACK[suffix](os.urandom(3000).hex().encode() + b"\n" + b"two\n"))
    if damage == "cut":
        del packed[-20:]
    elif damage == "byte":
        # The header of zstd; of its content, a checksum is optional.
        packed[4 if suffix == ".zst" else len(packed) // 2] ^= 255
    else:
        packed = bytearray(b"not packed\n")
    path = tmp_path / f"f.txt{suffix}"
    path.write_bytes(packed)
    with refused(rf"^{path}: cannot be unpacked .*; get the file again"):
        list(read_lines(path))


@pytest.mark.parametrize("name", ["absent.txt", "absent.txt.gz", "absent.zst", ""])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str):
    """Guards against a traceback for a file that is gone, or a folder."""
    with refused(r"cannot be read \((No such file or directory|Is a directory)\)"):
        list(read_lines(tmp_path / name))


def test_lines_that_belong_together(tmp_path: Path):
    """Guards against files read out of step where one has other line ends or a byte order mark."""
    paths = [tmp_path / name for name in "abc"]
    for path, content in zip(paths, (b"1\n2\n3", b"\xef\xbb\xbfx\r\n\r\nz\r\n", b"p\nq\nr\n"), strict=True):
        path.write_bytes(content)
    assert list(read_parallel_lines(*paths)) == [("1", "x", "p"), ("2", "", "q"), ("3", "z", "r")]
    assert list(read_parallel_lines(paths[0])) == [("1",), ("2",), ("3",)]


@pytest.mark.parametrize(
    ("contents", "short", "line", "longer"),
    [
        ((b"", b"x\n"), "a", 1, "b"),
        ((b"1\n2\n", b"x\ny\n\n"), "a", 3, "b"),
        ((b"1\n2\n", b"x\ny\n", b"p\n"), "c", 2, "a"),
    ],
)
def test_files_of_unequal_length_are_refused(
    tmp_path: Path, contents: tuple[bytes, ...], short: str, line: int, longer: str
):
    """Guards against the end of the longer file that is dropped without a word."""
    paths = [tmp_path / name for name in "abc"[: len(contents)]]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    with refused() as caught:
        list(read_parallel_lines(*paths))
    assert str(caught.value) == (
        f"{tmp_path / short}:{line}: ends here, but {tmp_path / longer} continues; "
        "both must have the same number of lines; get both again"
    )


def test_objects_come_with_their_places(tmp_path: Path):
    """Guards against wrong line numbers after an empty line, and cuts at separators that only str.splitlines knows."""
    path = tmp_path / "f.jsonl"
    path.write_text('{"id": "a\u2028b"}\n\n{"id": 1}\n', encoding="utf-8")
    assert list(read_json_lines(path)) == [(f"{path}:1", {"id": "a\u2028b"}), (f"{path}:3", {"id": 1})]


@pytest.mark.parametrize("content", [b'{"id": "a"', b"[1]", b"null", b"[" * 100_000, b'{"id": "\xff"}'])
def test_line_that_is_no_object_is_refused(tmp_path: Path, content: bytes):
    """Guards against a broken line that is skipped or ends in a traceback."""
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"id": "a"}\n' + content + b"\n")
    with refused(r"f\.jsonl:2: "):
        list(read_json_lines(path))


def test_text_of_a_key():
    """Guards against null read as text, and a refusal of numbers as ids."""
    record = {"null": None, "text": " a ", "number": 7, "yes": True, "list": ["a"], "float": 0.5}
    assert [text_of(record, key, "f:1") for key in ("null", "text", "number")] == ["", " a ", "7"]
    for key in ("yes", "list", "float"):
        with refused(f"f:1: expected text at '{key}'"):
            text_of(record, key, "f:1")
    with refused("f:1: the object has no 'docid', its keys are 'id', 'text'"):
        text_of({"id": "a", "text": "b"}, "docid", "f:1")
