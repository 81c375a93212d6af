"""SQuAD's format: every paragraph and question with its place, and what is not in the format refused with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optical_mteb.collection import Entry
from optical_mteb.collection.squad import Paragraph, read_squad
from tests.collection.conftest import refused

FILE = {
    "data": [
        {
            "paragraphs": [
                {
                    "context": " Snow. ",
                    "qas": [
                        {"answers": [{"answer_start": 1, "text": "Snow"}], "id": "a", "question": " What falls?\n"},
                        {"answers": [], "id": "b", "question": "When?"},
                    ],
                },
                {"context": "Rain.", "qas": []},
            ],
            "title": "Weather",
        },
        {
            "paragraphs": [{"context": "Tea.", "qas": [{"answers": [], "id": "c", "question": "Which?"}]}],
            "title": "Tea",
        },
    ],
    "version": "1.1",
}


def test_paragraphs_and_questions_with_their_places(tmp_path: Path):
    """Guards against paragraph ids that restart in every article, and places that lead to another object."""
    path = tmp_path / "f.json"
    path.write_text(json.dumps(FILE, indent=2), encoding="utf-8-sig")
    first = f"{path}:data.0.paragraphs.0"
    assert list(read_squad(path)) == [
        Paragraph(
            Entry("0-0", "Snow.", where=f"{first}.context"),
            [
                Entry("a", "What falls?", where=f"{first}.qas.0"),
                Entry("b", "When?", where=f"{first}.qas.1"),
            ],
        ),
        Paragraph(Entry("0-1", "Rain.", where=f"{path}:data.0.paragraphs.1.context"), []),
        Paragraph(
            Entry("1-0", "Tea.", where=f"{path}:data.1.paragraphs.0.context"),
            [Entry("c", "Which?", where=f"{path}:data.1.paragraphs.0.qas.0")],
        ),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"context": "Rain."', b'"context": null', r"f\.json:data\.0\.paragraphs\.1\.context: .* valid string"),
        (b'"context": "Rain.",', b"", r"f\.json:data\.0\.paragraphs\.1\.context: Field required, expected SQuAD"),
        (b'"id": "b"', b'"id": 7', r"f\.json:data\.0\.paragraphs\.0\.qas\.1\.id: .* valid string"),
        (b'"Rain."', b'"Rain.', r"f\.json:\d+: is not JSON"),
        (b'"Rain."', b'"\xff"', r"f\.json:2[0-9]: byte 2[0-9] of the line is not valid UTF-8"),
        (json.dumps(FILE, indent=2).encode(), b"", r"f\.json:1: is not JSON"),
        (json.dumps(FILE, indent=2).encode(), b"[]", r"f\.json:: .*, expected SQuAD's format"),
        (json.dumps(FILE, indent=2).encode(), b"[" * 100_000, r"f\.json: is nested too deep"),
    ],
)
def test_what_is_not_in_the_format_is_refused(tmp_path: Path, old: bytes, new: bytes, message: str):
    """Guards against null read as text, a traceback, and an error that says nothing of the place."""
    content = json.dumps(FILE, indent=2).encode()
    assert old in content
    path = tmp_path / "f.json"
    path.write_bytes(content.replace(old, new))
    with refused(message):
        list(read_squad(path))
