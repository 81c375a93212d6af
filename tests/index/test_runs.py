"""Runs: what pytrec_eval reads of them, and queries and ids that no run can hold."""

import numpy as np
import pytest
import pytrec_eval

from optical_mteb.collection import Entry
from optical_mteb.errors import InputError
from optical_mteb.index import FaissIndex
from optical_mteb.index.build import build_index
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.runs import write_run
from tests.index.processes import settings, stub_encoder, stub_vectors

TEXTS = [f"text {number}" for number in range(60)]
QUERIES = [Entry(f"q{number}", f"query {number}") for number in range(25)]


@pytest.fixture
def opened(tmp_path):
    """Builds and opens an index of texts with given ids."""

    def index(ids=None):
        corpus = Corpus.of(ids or [f"d{number}" for number in range(60)], TEXTS)
        encoder = stub_encoder(name="some folder/my model")
        build_index(tmp_path / "index", corpus, encoder, settings=settings("flat"), say=str)
        return FaissIndex.open(tmp_path / "index", encoder=encoder)

    return index


def test_a_run_is_read_as_the_ranking(opened, tmp_path, monkeypatch):
    """Guards against queries of another batch, ranks in another order, and a line that other tools split otherwise."""
    monkeypatch.setattr("optical_mteb.index.runs.BATCH", 10)
    path = tmp_path / "test.run"
    write_run(opened(), QUERIES, path, k=20)
    with path.open() as file:
        run = pytrec_eval.parse_run(file)
    scores = stub_vectors([query.text for query in QUERIES]) @ stub_vectors(TEXTS).T
    assert list(run) == [query.id for query in QUERIES]
    for row, query in zip(scores, QUERIES, strict=True):
        best = np.argsort(-row)[:20]
        assert sorted(run[query.id], key=run[query.id].get, reverse=True) == [f"d{place}" for place in best]
        assert list(run[query.id].values()) == pytest.approx(sorted(row, reverse=True)[:20], abs=2e-3)
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    assert [int(line[3]) for line in lines] == list(range(1, 21)) * 25
    assert {(line[1], line[5]) for line in lines} == {("Q0", "my-model")}


@pytest.mark.parametrize(
    ("queries", "ids", "expected"),
    [
        ([*QUERIES, Entry("q 26", "query")], None, "id 'q 26': has white space, which no line of a run can hold"),
        (QUERIES, [f"d\t{number}" for number in range(60)], r"id 'd\\t\d+': has white space"),
        ([*QUERIES, Entry("q26", " \n", where="q.tsv:26")], None, "q.tsv:26: query 'q26' is empty; write text there"),
        ([*QUERIES, Entry("q26", "not a number")], None, "query 26: its vector is not finite"),
    ],
)
def test_what_no_run_can_hold_leaves_no_run(opened, tmp_path, queries, ids, expected):
    """Guards against half a run, one that other tools misread, and one that takes the place of an older one."""
    path = tmp_path / "test.run"
    path.write_text("an older run")
    with pytest.raises(InputError, match=expected):
        write_run(opened(ids), queries, path, k=5)
    assert path.read_text() == "an older run"
    assert [left.name for left in tmp_path.iterdir() if left.name.startswith(".")] == []
