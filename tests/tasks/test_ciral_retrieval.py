"""CIRAL: read in the publisher's layout, from the user's own copy."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from optical_mteb.tasks.ciral_retrieval import CIRALRetrieval
from tests.collection.conftest import put

PASSAGES = [
    {"docid": "VOA#1#0", "title": "Nairobi", "text": "Mji mkuu wa Kenya ni Nairobi.", "url": "https://a"},
    {"docid": "VOA#1#1", "title": None, "text": "Rais wa Uganda ni Museveni.", "url": "https://a"},
    {"docid": "TUKO#2#0", "title": "Sudan", "text": "Khartoum.", "url": "https:\\/\\/b"},
    {"docid": "TUKO#2#1", "title": "", "text": " ", "url": "https://b"},
]
TOPICS = {
    "dev": '7\tWhat is the capital of Kenya?\n238\t"Who is the president? "\n',
    "test-a": "1\tWhat is the capital city of Sudan? \n2\tWhere is Nairobi?\n",
    "test-b": "3\tWho rules Uganda?\n4\tWhat is unanswered?\n",
}
QRELS = {
    "dev": "7\tQ0\tVOA#1#0\t1\n7\tQ0\tTUKO#2#0\t0\n238\tQ0\tVOA#1#1\t1\n",
    "test-a": "1\tQ0\tTUKO#2#0\t1\n2\tQ0\tVOA#1#0\t1\n",
    "test-a-pools": "1\tQ0\tTUKO#2#0\t1\n1\tQ0\tVOA#1#0\t1\n2\tQ0\tVOA#1#0\t1\n2\tQ0\tVOA#1#1\t0\n",
    "test-b": "3\tQ0\tVOA#1#1\t1\n222\tQ0\tVOA#1#1\t1\n4\tQ0\tVOA#1#0\t0\n",
}


@pytest.fixture
def passages(data: Path) -> Path:
    """The file of passages in the user's own copy."""
    for kind, files in (("topics", TOPICS), ("qrels", QRELS)):
        for split, content in files.items():
            put(data / f"ciral/ciral-swahili/{kind}/{kind}.ciral-v1.0-sw-{split}.tsv", content)
    lines = "".join(json.dumps(passage, ensure_ascii=False) + "\n" for passage in PASSAGES)
    return put(data / "ciral-corpus/passages-v1.0/swahili_passages.jsonl", lines)


def load(split: str):
    return CIRALRetrieval().load_split("eng-swh", split)


def test_passages(passages: Path):
    """Guards against a title that is lost, null as text, an empty passage, and a packed copy or a change that is missed."""
    assert load("dev")["corpus"].to_list() == [
        {"id": "VOA#1#0", "text": "Mji mkuu wa Kenya ni Nairobi.", "title": "Nairobi"},
        {"id": "VOA#1#1", "text": "Rais wa Uganda ni Museveni.", "title": ""},
        {"id": "TUKO#2#0", "text": "Khartoum.", "title": "Sudan"},
    ]
    changed = passages.read_bytes() + b'{"docid": "new", "title": "", "text": "x", "url": ""}\n'
    put(passages.with_name(f"{passages.name}.gz"), gzip.compress(changed))
    passages.unlink()
    assert load("dev")["corpus"].num_rows == 4


@pytest.mark.parametrize(
    ("split", "relevant"),
    [
        ("dev", {"7": {"VOA#1#0": 1}, "238": {"VOA#1#1": 1}}),
        ("test-a", {"1": {"TUKO#2#0": 1}, "2": {"VOA#1#0": 1}}),
        ("test-a-pools", {"1": {"TUKO#2#0": 1, "VOA#1#0": 1}, "2": {"VOA#1#0": 1}}),
    ],
)
def test_queries_and_judgements(passages: Path, split: str, relevant: dict[str, dict[str, int]]):
    """Guards against files of one split that are taken for another's, and blanks that stay around a question."""
    loaded = load(split)
    lines = TOPICS[split.removesuffix("-pools")].splitlines()
    expected = [dict(zip(("id", "text"), (part.strip() for part in line.split("\t")), strict=True)) for line in lines]
    assert loaded["queries"].to_list() == expected
    assert loaded["relevant_docs"] == relevant


def test_strangers_and_unanswered_questions_are_left_out(passages: Path, caplog: pytest.LogCaptureFixture):
    """Guards against a stop at the judged question of test-b that is not published, and at a question without a relevant passage."""
    with caplog.at_level(logging.WARNING):
        loaded = load("test-b")
    assert loaded["queries"]["id"] == ["3"]
    assert loaded["relevant_docs"] == {"3": {"VOA#1#1": 1}}
    messages = [record.getMessage() for record in caplog.records]
    assert "CIRALRetrieval/eng-swh/test-b: left out the judgements of 1 questions that are not there" in messages
    assert "CIRALRetrieval/eng-swh/test-b: left out 1 queries without a relevant document" in messages
