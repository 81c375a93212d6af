"""A split in MTEB's form: what is in it, and what is refused."""

from __future__ import annotations

import pytest
from datasets import Dataset

from optical_mteb.collection import Entry
from optical_mteb.collection.split import documents_among, retrieval_split
from tests.collection.conftest import refused

DOCUMENTS = [Entry("d1", "mbwa"), Entry("d2", "paka"), Entry("d3", "ng'ombe")]
QUERIES = [Entry("q1", "dog"), Entry("q2", "cat")]
QRELS = {"q1": {"d1": 1}, "q2": {"d2": 1}}


def refusal(documents=DOCUMENTS, queries=QUERIES, qrels=QRELS) -> str:
    """The line that a collection is refused with."""
    with refused() as caught:
        retrieval_split("Name/swh-eng/test", iter(documents), iter(queries), qrels)
    return str(caught.value)


def test_everything_is_in_its_place():
    """Guards against documents or queries lost, out of order or mixed up, and fields that MTEB does not expect."""
    split = retrieval_split("t", iter(DOCUMENTS), iter(QUERIES), QRELS)
    assert split["corpus"].to_dict() == {"id": ["d1", "d2", "d3"], "text": ["mbwa", "paka", "ng'ombe"]}
    assert split["queries"].to_dict() == {"id": ["q1", "q2"], "text": ["dog", "cat"]}
    assert split["relevant_docs"] == QRELS
    assert split["top_ranked"] is None
    assert list(split) == ["corpus", "queries", "relevant_docs", "top_ranked"]


def test_only_relevant_documents_are_kept():
    """Guards against documents judged useless that count as relevant or must be there, and grades that are flattened."""
    qrels = {"q1": {"d1": 3, "d2": 0, "gone": 0, "d3": -1}, "q2": {"d3": 1, "d2": 2}}
    relevant = retrieval_split("t", DOCUMENTS, QUERIES, qrels)["relevant_docs"]
    assert relevant == {"q1": {"d1": 3}, "q2": {"d3": 1, "d2": 2}}
    assert "gone" in qrels["q1"]


@pytest.mark.parametrize(
    ("titles", "column"),
    [(("", "", ""), None), ((" ", "\t", "\u3000"), None), (("", " Dog\n", ""), ["", "Dog", ""])],
)
def test_titles_only_where_there_are_any(titles: tuple[str, ...], column: list[str] | None):
    """Guards against a column of nothing, which MTEB puts before every text, and titles that are lost."""
    documents = [Entry(entry.id, entry.text, title) for entry, title in zip(DOCUMENTS, titles, strict=True)]
    corpus = retrieval_split("t", documents, QUERIES, QRELS)["corpus"]
    assert corpus.to_dict().get("title") == column
    assert list(corpus["text"]) == ["mbwa", "paka", "ng'ombe"]


def test_white_space_around_texts_is_taken_off():
    """Guards against line ends in texts, white space inside that is lost, and ids that change."""
    split = retrieval_split(
        "t", [Entry(" d ", "\ufeff \n a\n b\t\u2028")], [Entry("q ", "\r\n q  ?\u00a0")], {"q ": {" d ": 1}}
    )
    assert split["corpus"].to_dict() == {"id": [" d "], "text": ["\ufeff \n a\n b"]}
    assert split["queries"].to_dict() == {"id": ["q "], "text": ["q  ?"]}


def changed(column: str, value: object) -> Entry:
    return Entry(**{"id": "x", "text": "a", "where": "f.json:3", column: value})


COLUMNS = ("id", "text", "title")
BAD = [
    *(
        (Entry("x", text, "a title", "f.tsv:7"), "f.tsv:7: {} 'x' has no text")
        for text in ("", "\n\t\r", "\u3000\u2028\u00a0")
    ),
    (Entry("x", " "), "Name/swh-eng/test: {} 'x' has no text"),
    *(
        (changed(column, value), f"f.json:3: the {column} of a {{}} is {value!r}, expected a string")
        for column in COLUMNS
        for value in (None, 7, ["a"], b"a", float("nan"))
    ),
    (Entry("", "x", where="f:1"), "f:1: a {} has no id"),
    (Entry("", "x"), "Name/swh-eng/test: a {} has no id"),
    *((changed(column, "a\ud83d"), "f.json:3: {} {!r} has half a surrogate pair") for column in COLUMNS),
]


@pytest.mark.parametrize(("entry", "line"), BAD)
def test_a_bad_document_or_query_is_refused(entry: Entry, line: str):
    r"""Guards against empty texts, which encode to noise, and empty ids, which TREC files cannot hold.

    And against nulls and numbers out of JSON that end in a traceback or become `None` in the corpus, and `\ud83d`, which
    fails only when the corpus is written.
    """
    assert refusal(documents=[*DOCUMENTS, entry]).startswith(line.format("document", entry.id))
    assert refusal(queries=[*QUERIES, entry]).startswith(line.format("query", entry.id))


def test_an_id_twice_is_refused_with_both_places():
    """Guards against a document or query that silently takes the place of another, even the same one."""
    first, second = Entry("x", "a", where="f:1"), Entry("x", "a", where="g:9")
    for kind in ("document", "query"):
        given = {"document": "documents", "query": "queries"}[kind]
        line = f"id 'x' appears twice{{}}; give every {kind} its own id"
        assert refusal(**{given: [first, second]}) == f"g:9: {kind} " + line.format(", the first at f:1")
        assert refusal(**{given: [Entry("x", "a"), second]}) == f"g:9: {kind} " + line.format("")
        assert refusal(**{given: [first, Entry("x", "b")]}) == (
            f"Name/swh-eng/test: {kind} " + line.format(", the first at f:1")
        )


@pytest.mark.parametrize(
    ("qrels", "line"),
    [
        (QRELS | {"q1": {"d1": 1, "d9": 1}}, "query 'q1' is judged on document 'd9', which is not there"),
        (QRELS | {"q9": {"d1": 1}}, "the judgements name query 'q9', which is not there"),
        ({"q1": {"d1": 1}}, "query 'q2' has no relevant document"),
        (QRELS | {"q2": {}}, "query 'q2' has no relevant document"),
        (QRELS | {"q2": {"d1": 0, "d2": -1}}, "query 'q2' has no relevant document"),
    ],
)
def test_judgements_that_point_nowhere_are_refused(qrels: dict[str, dict[str, int]], line: str):
    """Guards against scores lowered by documents that nobody can find, and queries that score 0 whatever is retrieved."""
    assert refusal(qrels=qrels).startswith(f"Name/swh-eng/test: {line}; ")


def test_the_first_query_without_document_is_named():
    """Guards against another line at every run: the order of a set of texts is not the same twice."""
    queries = [Entry(f"q{i}", "dog") for i in range(60)]
    assert refusal(queries=queries, qrels={"q0": {"d1": 1}, "q1": {"d2": 1}}).startswith(
        "Name/swh-eng/test: query 'q2' has no relevant document; "
    )


@pytest.mark.parametrize(
    ("documents", "queries", "kind"), [([], QUERIES, "document"), (DOCUMENTS, [], "query"), ([], [], "document")]
)
def test_nothing_at_all_is_refused(documents: list[Entry], queries: list[Entry], kind: str):
    """Guards against an empty file that is scored."""
    assert refusal(documents, queries, {}).startswith(f"Name/swh-eng/test: there is no {kind}; ")


def test_a_corpus_in_a_file_is_judged_as_one_in_memory():
    """Guards against judgements that are not checked, or documents that are not found, in a corpus of many batches."""
    corpus = Dataset.from_dict({"id": [f"d{i}" for i in range(25_000)], "text": ["x"] * 25_000})
    split = retrieval_split("t", corpus, QUERIES, {"q1": {"d0": 1}, "q2": {"d24999": 1}})
    assert split["corpus"] is corpus
    with refused(r"^t: query 'q2' is judged on document 'd25000', which is not there"):
        retrieval_split("t", corpus, QUERIES, {"q1": {"d0": 1}, "q2": {"d25000": 1}})
    assert documents_among(corpus, {"d9999", "d10000", "d-1"}) == {"d9999", "d10000"}
