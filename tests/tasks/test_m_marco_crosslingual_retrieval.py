"""mMARCO: the publisher's files, small."""

from __future__ import annotations

from pathlib import Path

import pytest

from optical_mteb.tasks.m_marco_crosslingual_retrieval import MMarcoCrosslingualRetrieval
from tests.collection.conftest import put, refused

PASSAGES = "0\tThe presence of communication amid scientific minds .\n1\tThe Manhattan Project .\n2\tEssay on it .\n"
FRENCH = "1048585\tqu'est-ce que le projet manhattan\n2\tdéfinition d'un essai\n"
SPANISH = "1048585\tqué es el proyecto manhattan\n2\tdefinición de ensayo\n"
QRELS = "1048585\t0\t1\t1\n1048585\t0\t0\t1\n2\t0\t2\t1\n"


@pytest.fixture
def files(data: Path) -> Path:
    folder = data / "mmarco" / "data"
    put(folder / "google/collections/english_collection.tsv", PASSAGES)
    put(folder / "google/queries/dev/french_queries.dev.small.tsv", FRENCH)
    put(folder / "google/queries/dev/spanish_queries.dev.small.tsv", SPANISH)
    put(folder / "qrels.dev.small.tsv", QRELS)
    return folder


def load(subset: str = "fra-eng"):
    return MMarcoCrosslingualRetrieval().load_split(subset, "dev")


def test_translated_question_english_passage(files: Path):
    """Guards against columns mixed up, an accent lost, the query column of the judgements taken for the passage's."""
    split = load()
    assert split["corpus"].to_dict() == {
        "id": ["0", "1", "2"],
        "text": ["The presence of communication amid scientific minds .", "The Manhattan Project .", "Essay on it ."],
        "title": ["", "", ""],
    }
    assert split["queries"].to_dict() == {
        "id": ["1048585", "2"],
        "text": ["qu'est-ce que le projet manhattan", "définition d'un essai"],
    }
    assert split["relevant_docs"] == {"1048585": {"1": 1, "0": 1}, "2": {"2": 1}}


def test_the_collection_is_stored_once_for_all_languages(files: Path):
    """Guards against gigabytes written again for every language, or a stale corpus after the file was replaced."""
    french, spanish = load(), load("spa-eng")
    assert french["corpus"].cache_files == spanish["corpus"].cache_files
    assert french["corpus"].cache_files
    assert list(spanish["queries"]["text"]) == [
        "qué es el proyecto manhattan",
        "definición de ensayo",
    ]
    (files / "google/collections/english_collection.tsv").write_text(PASSAGES + "3\tNew .\n", encoding="utf-8")
    assert list(load()["corpus"]["id"]) == ["0", "1", "2", "3"]


def test_passages_without_text_are_left_out(files: Path, caplog: pytest.LogCaptureFixture):
    """Guards against an empty passage that is scored, or that stops the task; and a bad line that passes for one."""
    (files / "google/collections/english_collection.tsv").write_text(PASSAGES + "3\t\n4\t \n", encoding="utf-8")
    assert list(load()["corpus"]["id"]) == ["0", "1", "2"]
    assert "left out 2 documents" in caplog.text
    (files / "google/collections/english_collection.tsv").write_text(PASSAGES + "no tab\n", encoding="utf-8")
    with refused(r"collection.tsv:4: expected an id, a tab"):
        load()
