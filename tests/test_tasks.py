"""The tasks: their data against an independent count, and what training must not see."""

import socket

import pytest

from optical_mteb.bitext import BitextSource, ParallelCorpus
from optical_mteb.bitext.cldr import cldr_names, split_of
from optical_mteb.tasks import CLDRNameRetrieval

SUBSETS = [
    f"{code}-eng" for code in ("swh", "som", "fil", "mar", "yor", "hau", "ibo", "zul", "amh", "fra", "spa", "por")
]


@pytest.fixture(scope="module")
def task():
    loaded = CLDRNameRetrieval()
    loaded.load_data()
    return loaded


@pytest.mark.long
def test_it_reads_without_a_network(monkeypatch):
    """Guards against a download where the data are installed."""

    def refuse(*_):
        raise OSError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    loaded = CLDRNameRetrieval()
    loaded.load_data()
    assert loaded.data_loaded


def test_a_territory_and_a_language_of_one_name_are_two_documents(task):
    """Guards against a document without its title: a query for a place must not be answered by its namesake of another kind."""
    corpus = task.dataset["swh-eng"]["test"]["corpus"]
    assert len(set(zip(corpus["title"], corpus["text"], strict=True))) == len(corpus) == len(set(corpus["id"]))
    assert set(corpus["title"]) >= {"territory", "language", "currency", "script", "unit", "city"}


@pytest.mark.long
@pytest.mark.parametrize("subset", SUBSETS)
def test_queries_against_babel(task, subset):
    """Guards against wrong queries or relevance: each query is CLDR's name of what its document names in English, spelled otherwise."""
    split = task.dataset[subset]["test"]
    language = subset.split("-")[0]
    names = {name.key: name for name in cldr_names(language)}
    documents = dict(zip(split["corpus"]["id"], split["corpus"]["text"], strict=True))
    expected = {
        name.name.casefold()
        for name in names.values()
        if split_of(name.key) == "test" and name.name.casefold() != name.english.casefold()
    } - {name.name.casefold() for name in names.values() if split_of(name.key) == "train"}
    queries = dict(zip(split["queries"]["id"], split["queries"]["text"], strict=True))
    assert {text.casefold() for text in queries.values()} == expected
    assert len(queries) == len(expected) >= 60
    assert queries.keys() == split["relevant_docs"].keys()
    for key, text in queries.items():
        assert split["relevant_docs"][key]
        for document in split["relevant_docs"][key]:
            same_name = [n for n in names.values() if n.name.casefold() == text.casefold()]
            assert documents[document] in {n.english for n in same_name}


def test_training_never_sees_a_test_name(task):
    """Guards against leaks: no side of a training pair of any language is a test document or a test query of any."""
    splits = [task.dataset[subset]["test"] for subset in SUBSETS]
    held_out = {text.casefold() for split in splits for text in [*split["corpus"]["text"], *split["queries"]["text"]]}
    corpus = ParallelCorpus.load([BitextSource(source=f"cldr:{subset.split('-')[0]}") for subset in SUBSETS])
    assert len(corpus) > 7000
    assert not held_out & {text.casefold() for text in corpus.texts()}
