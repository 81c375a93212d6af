"""CIRAL: read in the publisher's layout, from the user's own copy and from the Hub's cache."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import pytest

from optical_mteb.tasks.ciral_retrieval import CIRALRetrieval
from tests.collection.conftest import refused

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


def publish(queries: Path, passages: Path) -> None:
    """What the publisher's two data sets hold for Swahili."""
    for kind, files in (("topics", TOPICS), ("qrels", QRELS)):
        folder = queries / "ciral-swahili" / kind
        folder.mkdir(parents=True)
        for split, content in files.items():
            (folder / f"{kind}.ciral-v1.0-sw-{split}.tsv").write_text(content, encoding="utf-8")
    folder = passages / "passages-v1.0"
    folder.mkdir(parents=True)
    lines = "".join(json.dumps(passage, ensure_ascii=False) + "\n" for passage in PASSAGES)
    (folder / "swahili_passages.jsonl").write_text(lines, encoding="utf-8")


@pytest.fixture
def copy(data: Path) -> Path:
    """The user's own copy."""
    publish(data / "ciral", data / "ciral-corpus")
    return data


def load(split: str, subset: str = "eng-swh"):
    return CIRALRetrieval().load_split(subset, split)


def qrels_by_hand(path: Path) -> dict[str, dict[str, int]]:
    relevant: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, _, document, grade = line.split("\t")
        if grade == "1":
            relevant.setdefault(query, {})[document] = 1
    return relevant


def test_passages(copy: Path):
    """Guards against a title that is lost, null as text, and an empty passage that is kept."""
    assert load("dev")["corpus"].to_list() == [
        {"id": "VOA#1#0", "text": "Mji mkuu wa Kenya ni Nairobi.", "title": "Nairobi"},
        {"id": "VOA#1#1", "text": "Rais wa Uganda ni Museveni.", "title": ""},
        {"id": "TUKO#2#0", "text": "Khartoum.", "title": "Sudan"},
    ]


@pytest.mark.parametrize("split", ["dev", "test-a", "test-a-pools"])
def test_queries_and_judgements(copy: Path, split: str):
    """Guards against files of one split that are taken for another's, and blanks that stay around a question."""
    loaded = load(split)
    lines = TOPICS[split.removesuffix("-pools")].splitlines()
    expected = [dict(zip(("id", "text"), (part.strip() for part in line.split("\t")), strict=True)) for line in lines]
    assert loaded["queries"].to_list() == expected
    path = copy / f"ciral/ciral-swahili/qrels/qrels.ciral-v1.0-sw-{split}.tsv"
    assert loaded["relevant_docs"] == qrels_by_hand(path)


def test_strangers_and_unanswered_questions_are_left_out(copy: Path, caplog: pytest.LogCaptureFixture):
    """Guards against a stop at the judged question of test-b that is not published, and at a question without a relevant passage."""
    with caplog.at_level(logging.WARNING):
        loaded = load("test-b")
    assert loaded["queries"]["id"] == ["3"]
    assert loaded["relevant_docs"] == {"3": {"VOA#1#1": 1}}
    messages = [record.getMessage() for record in caplog.records]
    assert "CIRALRetrieval/eng-swh/test-b: left out the judgements of 1 questions that are not there" in messages
    assert "CIRALRetrieval/eng-swh/test-b: left out 1 queries without a relevant document" in messages


def test_packed_passages(copy: Path):
    """Guards against a packed copy of the passages that is not found."""
    file = copy / "ciral-corpus/passages-v1.0/swahili_passages.jsonl"
    (file.parent / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.unlink()
    assert load("dev")["corpus"].num_rows == 3


def test_snapshots_in_the_hubs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Guards against downloaded snapshots that are not found without a network, and revisions that are not the pinned ones."""
    cache = tmp_path / "hub"
    publish(
        cache / "datasets--CIRAL--ciral/snapshots/1a46efc4d45d0e3756656695ed2994dfce9254fc",
        cache / "datasets--CIRAL--ciral-corpus/snapshots/cbaa143f9213f971b0692d00c8665187868842ae",
    )
    monkeypatch.delenv("OPTICAL_MTEB_DATA", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    loaded = load("dev")
    assert (loaded["corpus"].num_rows, loaded["queries"].num_rows) == (3, 2)
    with refused(r"topics.ciral-v1.0-ha-dev.tsv is not here \(HF_HUB_OFFLINE is set"):
        load("dev", "eng-hau")


def test_changed_passages_are_read_again(copy: Path):
    """Guards against a corpus in the cache that outlives the file that it was made of."""
    assert load("dev")["corpus"].num_rows == 3
    file = copy / "ciral-corpus/passages-v1.0/swahili_passages.jsonl"
    with file.open("a", encoding="utf-8") as stream:
        stream.write('{"docid": "new", "title": "", "text": "x", "url": ""}\n')
    assert load("dev")["corpus"].num_rows == 4


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("ciral/ciral-swahili/topics/topics.ciral-v1.0-sw-dev.tsv", b"7 A?\n", r"dev\.tsv:1: expected an id, a tab"),
        (
            "ciral/ciral-swahili/qrels/qrels.ciral-v1.0-sw-dev.tsv",
            b"7 Q0 VOA#9 1\n",
            r"dev\.tsv:1: document 'VOA#9' is",
        ),
        (
            "ciral-corpus/passages-v1.0/swahili_passages.jsonl",
            b'{"docid": "a"}\n',
            r"jsonl:1: the object has no 'title'",
        ),
    ],
)
def test_bad_data_is_refused_with_its_line(copy: Path, path: str, content: bytes, message: str):
    """Guards against bad lines that are skipped, or end in a traceback."""
    (copy / path).write_bytes(content)
    with refused(message):
        load("dev")
