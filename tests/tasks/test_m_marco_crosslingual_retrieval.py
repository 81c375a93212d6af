"""mMARCO: the publisher's files, small."""

from __future__ import annotations

from pathlib import Path

import mteb
import pytest

from optical_mteb.tasks.m_marco_crosslingual_retrieval import MMarcoCrosslingualRetrieval
from tests.collection.conftest import refused

PASSAGES = "0\tThe presence of communication amid scientific minds .\n1\tThe Manhattan Project .\n2\tEssay on it .\n"
FRENCH = "1048585\tqu'est-ce que le projet manhattan\n2\tdéfinition d'un essai\n"
SPANISH = "1048585\tqué es el proyecto manhattan\n2\tdefinición de ensayo\n"
QRELS = "1048585\t0\t1\t1\n1048585\t0\t0\t1\n2\t0\t2\t1\n"


@pytest.fixture
def files(data: Path) -> Path:
    folder = data / "mmarco" / "data"
    for name, content in {
        "google/collections/english_collection.tsv": PASSAGES,
        "google/queries/dev/french_queries.dev.small.tsv": FRENCH,
        "google/queries/dev/spanish_queries.dev.small.tsv": SPANISH,
        "qrels.dev.small.tsv": QRELS,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
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


def test_mteb_scores_a_corpus_in_a_file(files: Path, tiny_model, tmp_path: Path):
    """Guards against a memory-mapped corpus that MTEB cannot encode, and its empty titles read as text."""
    task = mteb.get_task("MMarcoCrosslingualRetrieval", hf_subsets=["fra-eng"])
    result = mteb.evaluate(tiny_model(), task, cache=None, show_progress_bar=False).task_results[0]
    (scores,) = result.scores["dev"]
    assert scores["hf_subset"] == "fra-eng"
    assert scores["recall_at_10"] == 1.0
    assert scores["per_query"]["ndcg_at_10"].keys() == {"1048585", "2"}


def test_passages_without_text_are_left_out(files: Path, caplog: pytest.LogCaptureFixture):
    """Guards against an empty passage that is scored, or that stops the task."""
    (files / "google/collections/english_collection.tsv").write_text(PASSAGES + "3\t\n4\t \n", encoding="utf-8")
    assert list(load()["corpus"]["id"]) == ["0", "1", "2"]
    assert "left out 2 documents" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("google/collections/english_collection.tsv", PASSAGES + "no tab\n", r"collection.tsv:4: expected an id, a tab"),
        ("google/queries/dev/french_queries.dev.small.tsv", FRENCH + "9\t\n", r"small.tsv:3: query '9' has no text"),
        ("qrels.dev.small.tsv", QRELS + "2\t0\t1\n", r"qrels.dev.small.tsv:4: expected 'query 0 document grade'"),
    ],
)  # fmt: skip
def test_bad_line_is_refused_with_its_place(files: Path, name: str, content: str, message: str):
    """Guards against bad data that pass, or a traceback without file and line."""
    (files / name).write_text(content, encoding="utf-8")
    with refused(message):
        load()
