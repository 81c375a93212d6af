"""Corpora: where they come from, what is read, what is refused."""

import gzip
import hashlib
import json

import pytest
from datasets import Dataset

from optical_mteb.errors import InputError
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.sources import open_corpus, read_queries

DOCUMENTS = [("a", "Mvua", "Mvua kubwa leo."), ("b", "", "የዛሬ ዜና"), ("c", "Only a title", "")]


def rows(corpus):
    part = corpus.read(0, len(corpus))
    return list(zip(*(part[name].to_pylist() for name in ("id", "title", "text")), strict=True))


def write_lines(path, lines):
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def beir_lines():
    return [json.dumps({"_id": key, "title": title, "text": text}) for key, title, text in DOCUMENTS]


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "news"
    folder.mkdir()
    write_lines(folder / "corpus.jsonl", beir_lines())
    write_lines(folder / "queries.jsonl", [json.dumps({"_id": "q1", "text": "rain today"})])
    return folder


def test_a_beir_folder_has_documents_and_queries(beir):
    """Guards against titles that are lost, and queries that parameters are not tuned on."""
    corpus = open_corpus(str(beir))
    assert rows(corpus) == DOCUMENTS
    assert corpus.queries == ["rain today"]
    assert corpus.texts(0, 3) == ["Mvua Mvua kubwa leo.", "የዛሬ ዜና", "Only a title"]


def test_documents_are_read_as_mteb_does():
    """Guards against a document that the index encodes otherwise than an evaluation."""
    from mteb._create_dataloaders import _corpus_to_dict

    expected = [_corpus_to_dict({"id": key, "title": title, "text": text})["text"] for key, title, text in DOCUMENTS]
    corpus = Corpus.of(*([row[column] for row in DOCUMENTS] for column in (0, 2)), titles=[row[1] for row in DOCUMENTS])
    assert corpus.texts(0, 3) == expected


PYSERINI = [
    '{"docid": "a", "contents": "Mvua kubwa leo.", "title": "Mvua"}',
    '{"docid": 7, "contents": "የዛሬ ዜና", "title": null}',
]


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("c.jsonl", beir_lines(), DOCUMENTS),
        ("c.jsonl", PYSERINI, [("a", "Mvua", "Mvua kubwa leo."), ("7", "", "የዛሬ ዜና")]),
        ("c.jsonl.gz", PYSERINI, [("a", "Mvua", "Mvua kubwa leo."), ("7", "", "የዛሬ ዜና")]),
        ("c.tsv", ["a\tone", "b\ttwo words"], [("a", "", "one"), ("b", "", "two words")]),
        ("c.tsv", ["a\tTitle\tone", "b\t\ttwo"], [("a", "Title", "one"), ("b", "", "two")]),
    ],
)
def test_files(tmp_path, name, lines, expected):
    """Guards against a title that is taken for the text, and a corpus of Pyserini that has to be rewritten first."""
    assert rows(open_corpus(str(write_lines(tmp_path / name, lines)))) == expected


def test_a_folder_of_trec_documents(tmp_path):
    """Guards against files of a TREC folder that are passed over, and a README that is taken for one."""
    folder = tmp_path / "trec"
    (folder / "1994").mkdir(parents=True)
    head = "<DOC>\n<DOCNO> {} </DOCNO>\n<HEADLINE>Rain</HEADLINE>\n<TEXT>\nHeavy &amp; long\n</TEXT>\n</DOC>"
    write_lines(folder / "1994" / "LA-1.gz", [head.format("LA-1")])
    write_lines(folder / "b.sgml", [head.format("B-1")])
    write_lines(folder / "README", ["These are documents."])
    write_lines(folder / "topics.tsv", ["1\train"])
    corpus = open_corpus(str(folder))
    assert rows(corpus) == [("LA-1", "Rain", "Heavy & long"), ("B-1", "Rain", "Heavy & long")]
    assert corpus.queries == ["rain"]


def test_an_mteb_task_has_documents_and_queries():
    """Guards against a task whose corpus is another one in the index than in an evaluation."""
    import mteb

    from optical_mteb.registry import register

    register()
    corpus = open_corpus("CLDRNameRetrieval", subset="swh-eng")
    task = mteb.get_task("CLDRNameRetrieval", hf_subsets=["swh-eng"])
    task.load_data()
    data = task.dataset["swh-eng"]["test"]
    assert [row[0] for row in rows(corpus)] == data["corpus"]["id"]
    assert [row[2] for row in rows(corpus)] == data["corpus"]["text"]
    assert corpus.queries == data["queries"]["text"]
    assert corpus.task.name == "CLDRNameRetrieval"
    for arguments, expected in (
        ({}, "several subsets; name one by --subset: swh-eng"),
        ({"subset": "xyz"}, "no subset 'xyz'"),
        ({"subset": "swh-eng", "split": "dev"}, "no split 'dev'; name one by --split: test"),
    ):
        with pytest.raises(InputError, match=expected):
            open_corpus("CLDRNameRetrieval", **arguments)


def test_a_hub_data_set_is_looked_for_in_the_data_folder(tmp_path, monkeypatch):
    """Guards against a download of what is there already, and a column of ids that is not found."""
    folder = tmp_path / "data" / "someone" / "news"
    folder.mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", [json.dumps({"docid": number, "text": f"text {number}"}) for number in (1, 2)])
    monkeypatch.setenv("OPTICAL_MTEB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    corpus = open_corpus("hub:someone/news")
    assert rows(corpus) == [("1", "", "text 1"), ("2", "", "text 2")]
    with pytest.raises(InputError, match="no split 'test'"):
        open_corpus("hub:someone/news", split="test")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE"):
        open_corpus("hub:someone/nothing")


def test_the_fingerprint_is_of_ids_titles_and_texts_in_order():
    """Guards against a build that goes on with shards of other documents."""

    def fingerprint(documents):
        columns = list(zip(*documents, strict=True))
        return Corpus.of(columns[0], columns[2], titles=columns[1]).fingerprint

    expected = hashlib.sha256("".join(f"{part}\0" for row in DOCUMENTS for part in row).encode()).hexdigest()
    assert fingerprint(DOCUMENTS) == expected
    others = [
        DOCUMENTS[::-1],
        DOCUMENTS[:2],
        [("a", "Mvua", "Mvua kubwa leo"), *DOCUMENTS[1:]],
        [("a", "", "Mvua Mvua kubwa leo."), *DOCUMENTS[1:]],
    ]
    assert len({fingerprint(other) for other in [DOCUMENTS, *others]}) == 5


def test_a_corpus_is_read_in_parts(monkeypatch):
    """Guards against a check that leaves out what lies past its first part."""
    monkeypatch.setattr("optical_mteb.index.corpus.READ_AT_ONCE", 2)
    ids = ["a", "b", "c", "d", "a"]
    with pytest.raises(InputError, match=r"id 'a' appears twice \(documents 1 and 5\)"):
        Corpus.of(ids, ["text"] * 5)
    assert Corpus.of(ids[:4], ["text"] * 4).fingerprint == Corpus.of(ids[:4], ["text"] * 4).fingerprint


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": [], "text": []}, "there is no document"),
        ({"id": ["a", None], "text": ["x", "y"]}, "document 2 has the id ''"),
        ({"id": ["a", "b"], "text": ["x", None]}, "document 2 has the id 'b' and the text None"),
        ({"key": ["a"], "text": ["x"]}, "no column 'id'"),
    ],
)
def test_columns_that_are_no_corpus(columns, expected):
    """Guards against an empty corpus, and a missing text, that end in an error of a library."""
    with pytest.raises(InputError, match=expected):
        Corpus("news", Dataset.from_dict(columns))


@pytest.mark.parametrize(
    ("name", "lines", "expected"),
    [
        ("c.jsonl", [], "no document"),
        (
            "c.jsonl",
            ['{"_id": "a", "text": "x"}', '{"_id": "a", "text": "y"}'],
            "c.jsonl:2: document id 'a' appears twice",
        ),
        ("c.jsonl", ['{"key": "a", "text": "x"}'], "c.jsonl:1: the object has none of the keys _id, id"),
        ("c.jsonl", ['{"id": "a", "text": "x"}', "{"], "c.jsonl:2: is not JSON"),
        ("c.tsv", ["a\tone", "b\ttwo\tthree"], "c.tsv:2: expected id, text or id, title, text"),
        ("c.tsv", ["a"], "c.tsv:1: expected id, text"),
        ("c.tsv", ["a\tT\tone", "\tT\ttwo"], "c.tsv:2: has no id in its first column"),
        ("c.tsv", ["a\tone", " \ttwo"], "c.tsv:2: has no id in its first column"),
        ("c.tsv", ["a\tone", "a\ttwo"], "c.tsv:2: document id 'a' appears twice"),
        ("c.csv", ["a,one"], "expected .jsonl, .tsv, TREC's SGML or a folder"),
        ("no.jsonl", None, "no such file or folder"),
        ("", None, "neither corpus.jsonl nor a file that begins with <DOC>"),
    ],
)
def test_broken_files_are_refused_with_their_line(tmp_path, name, lines, expected):
    """Guards against a broken file that is indexed in part, or refused without its line."""
    path = tmp_path / name
    with pytest.raises(InputError, match=expected):
        open_corpus(str(path if lines is None else write_lines(path, lines)))


def test_what_is_not_there_is_said(tmp_path):
    """Guards against a traceback for a misspelt task, and options that count for nothing."""
    with pytest.raises(InputError, match="no such file or folder, and as a task"):
        open_corpus("NoSuchTaskRetrieval")
    with pytest.raises(InputError, match="files have no subsets"):
        open_corpus(str(write_lines(tmp_path / "c.tsv", ["a\tone"])), subset="x")


def test_queries(tmp_path, beir):
    """Guards against a file of queries that is taken for another kind, and ids that appear twice in a run."""
    assert [(query.id, query.text) for query in read_queries(beir / "queries.jsonl")] == [("q1", "rain today")]
    table = write_lines(tmp_path / "q.tsv", ["1\tmvua", "2\tየዛሬ ዜና"])
    assert [(query.id, query.text) for query in read_queries(table)] == [("1", "mvua"), ("2", "የዛሬ ዜና")]
    for name, lines, expected in (
        ("twice.jsonl", ['{"_id": "a", "text": "x"}'] * 2, "twice.jsonl:2: query id 'a' appears twice"),
        ("none.jsonl", [], "holds no query"),
    ):
        with pytest.raises(InputError, match=expected):
            read_queries(write_lines(tmp_path / name, lines))
    with pytest.raises(InputError, match="no such file of queries"):
        read_queries(tmp_path / "no.tsv")
