"""Corpora in Arrow files: what is written is what was read, checked, and there completely or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pytest

from optical_mteb.collection import Entry
from optical_mteb.collection.arrow_corpus import BATCH, corpus_dataset, corpus_folder
from optical_mteb.errors import InputError
from tests.collection.conftest import refused


def entries(*documents: Entry) -> Callable[[], Iterator[Entry]]:
    return lambda: iter(documents)


def test_documents_come_back_in_order_across_batches():
    """Guards against a batch that is lost, repeated or out of order."""
    number = 2 * BATCH + 1
    corpus = corpus_dataset("big", "1", lambda: (Entry(f"d{i}", f" text {i}\n", title=f"t{i}") for i in range(number)))
    assert list(corpus["id"]) == [f"d{i}" for i in range(number)]
    assert list(corpus["text"]) == [f"text {i}" for i in range(number)]
    assert list(corpus["title"]) == [f"t{i}" for i in range(number)]


def test_corpus_is_memory_mapped():
    """Guards against a corpus that is read into memory."""
    before = pyarrow.total_allocated_bytes()
    corpus = corpus_dataset("big", "1", lambda: (Entry(str(i), "x" * 1000) for i in range(3 * BATCH)))
    assert corpus.cache_files[0]["filename"].endswith("corpus.arrow")
    assert corpus.num_rows == 3 * BATCH
    assert pyarrow.total_allocated_bytes() - before < 1000 * BATCH


@pytest.mark.parametrize(("name", "fingerprint"), [("c", "2"), ("d", "1"), ("c/", "1")])
def test_other_fingerprint_or_name_is_another_corpus(name: str, fingerprint: str):
    """Guards against a stale corpus that is served for another revision or subset, and one parsed again at every run."""
    corpus_dataset("c", "1", entries(Entry("a", "x")))
    assert list(corpus_dataset(name, fingerprint, entries(Entry("b", "y")))["id"]) == ["b"]
    assert list(corpus_dataset("c", "1", lambda: pytest.fail("read again"))["id"]) == ["a"]


def test_failure_while_reading_leaves_nothing():
    """Guards against half a corpus that a later run takes for the whole."""

    def breaks() -> Iterator[Entry]:
        for i in range(BATCH + 1):
            yield Entry(str(i), "x")
        raise InputError("file.tsv:7: bad line")

    with refused("bad line"):
        corpus_dataset("c", "1", breaks)
    assert not corpus_folder("c", "1").exists()
    assert list(corpus_dataset("c", "1", entries(Entry("a", "x")))["id"]) == ["a"]


def test_empty_documents_are_left_out_and_counted(caplog: pytest.LogCaptureFixture):
    """Guards against empty documents that are kept, dropped in silence, or a titled one that is dropped."""
    with caplog.at_level(logging.WARNING):
        corpus = corpus_dataset(
            "c", "1", entries(Entry("a", " \t"), Entry("b", "x"), Entry("c", "", title="Title"), Entry("d", ""))
        )
    assert list(corpus["id"]) == ["b", "c"]
    assert [record.getMessage() for record in caplog.records] == ["c: left out 2 documents that have no text"]


@pytest.mark.parametrize("between", [0, BATCH])
def test_duplicate_id_is_refused_with_both_places(between: int):
    """Guards against an id that appears twice, in one batch or in two, and slips through."""
    documents = [Entry("a", "x", where="f:1"), *(Entry(f"b{i}", "y") for i in range(between))]
    with refused(r"f:9: document id 'a' appears twice, the first at f:1"):
        corpus_dataset("c", "1", entries(*documents, Entry("a", "z", where="f:9")))
    assert not corpus_folder("c", "1").exists()


def test_two_ids_with_one_hash_are_not_duplicates(monkeypatch: pytest.MonkeyPatch):
    """Guards against a collision of hashes that is reported as a duplicate."""
    monkeypatch.setattr("optical_mteb.collection.arrow_corpus._hash", lambda key: 1)
    assert corpus_dataset("c", "1", entries(Entry("a", "x"), Entry("b", "y"))).num_rows == 2


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([Entry("z", "y"), Entry("", "x", where="f:3")], "f:3: a document has no id"),
        ([Entry("z", "y"), Entry("a", "\ud83d", where="f:3")], "f:3: .*'a'"),
        ([], "c: there is no document"),
        ([Entry("a", "")], "c: there is no document"),
    ],
)
def test_what_cannot_be_a_corpus_is_refused(documents: list[Entry], message: str):
    """Guards against an empty corpus that is scored as 0, and documents that end in a traceback when they are written."""
    with refused(message):
        corpus_dataset("c", "1", entries(*documents))


def test_cache_that_cannot_be_written_is_one_line(own_home: Path):
    """Guards against a traceback where the home folder is a file."""
    own_home.write_text("no folder")
    with refused("cannot write there"):
        corpus_dataset("c", "1", entries(Entry("a", "x")))
