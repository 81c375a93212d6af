"""AfriCLIRMatrix: read in the publisher's layout, queries from GitHub's and articles from the Hub's."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from optical_mteb.tasks.afri_clir_matrix_retrieval import AfriCLIRMatrixRetrieval
from tests.collection.conftest import put

ARTICLES = [
    {"id": "3587", "contents": "Kyoto yɛ kurow kɛse."},
    {"id": "3783", "contents": "Lille wɔ France."},
    {"id": "7000", "contents": ""},
    {"id": "62443", "contents": "Coventry yɛ kurow."},
]
TOPICS = "51694286\tRoubaix Velodrome\n3018772\tWards of Kyoto\n44766\tCoventry\n5\tRobin's plantain\n"
QRELS = "3018772 Q0 3587 5\n44766 Q0 62443 6\n44766 Q0 3783 4\n51694286 Q0 3783 0\n5 Q0 3587 -1\n9 Q0 1 0\n"
TOPICS_FILE = "test/queries/topics.africlirmatrix-v1.0.en.twi.tsv"
QRELS_FILE = "test/qrels/qrels.africlirmatrix-v1.0.en.twi.txt"
ARTICLES_FILE = "africlirmatrix-v1.0-twi/corpus.jsonl"


@pytest.fixture
def copy(data: Path) -> Path:
    """The user's own copy: one folder for what is on GitHub and what is on the Hub."""
    folder = data / "africlirmatrix"
    lines = "".join(json.dumps(article, ensure_ascii=False) + "\n" for article in ARTICLES)
    for name, content in {TOPICS_FILE: TOPICS, QRELS_FILE: QRELS, ARTICLES_FILE: lines}.items():
        put(folder / name, content)
    return folder


def load(subset: str = "eng-twi"):
    return AfriCLIRMatrixRetrieval().load_split(subset, "test")


def test_articles_titles_and_grades(copy: Path, caplog: pytest.LogCaptureFixture):
    """Guards against grades that become binary, titles without a relevant article, and an empty article.

    What is judged useless need not be there.
    """
    with caplog.at_level(logging.WARNING):
        loaded = load()
    expected = [{"id": a["id"], "text": a["contents"], "title": ""} for a in ARTICLES if a["contents"]]
    assert loaded["corpus"].to_list() == expected
    assert loaded["queries"].to_list() == [
        {"id": "3018772", "text": "Wards of Kyoto"},
        {"id": "44766", "text": "Coventry"},
    ]
    assert loaded["relevant_docs"] == {"3018772": {"3587": 5}, "44766": {"62443": 6, "3783": 4}}
    assert "AfriCLIRMatrixRetrieval/eng-twi/test: left out 2 queries without a relevant document" in [
        record.getMessage() for record in caplog.records
    ]


@pytest.mark.parametrize(
    ("subset", "code", "language"),
    [
        ("eng-swh", "swa", "swahili"),
        ("eng-ary", "ary", "moroccan_arabic"),
        ("eng-arz", "arz", "egyptian_arabic"),
        ("eng-nso", "nso", "northern_sotho"),
    ],
)
def test_names_of_the_files(copy: Path, subset: str, code: str, language: str):
    """Guards against a file that is not found under one of the publisher's two names of a language."""
    for file, name in ((TOPICS_FILE, code), (QRELS_FILE, code), (ARTICLES_FILE, language)):
        put(copy / file.replace("twi", name), (copy / file).read_bytes())
    assert load(subset)["queries"].num_rows == 2
