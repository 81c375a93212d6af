"""JSON lines: every object with its place, and what is no object refused with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from optical_mteb.collection.json_lines import read_json_lines, text_of
from optical_mteb.errors import InputError


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
    with pytest.raises(InputError, match=r"f\.jsonl:2: "):
        list(read_json_lines(path))


def test_text_of_a_key():
    """Guards against null read as text, and a refusal of numbers as ids."""
    record = {"null": None, "text": " a ", "number": 7, "yes": True, "list": ["a"], "float": 0.5}
    assert [text_of(record, key, "f:1") for key in ("null", "text", "number")] == ["", " a ", "7"]
    for key in ("yes", "list", "float"):
        with pytest.raises(InputError, match=f"f:1: expected text at '{key}'"):
            text_of(record, key, "f:1")
    with pytest.raises(InputError, match="f:1: the object has no 'docid', its keys are 'id', 'text'"):
        text_of({"id": "a", "text": "b"}, "docid", "f:1")
