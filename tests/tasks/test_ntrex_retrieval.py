"""NTREX-128: the publisher's files, small, and the real ones against a count of their own."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import mteb
import pytest

from optical_mteb.tasks.ntrex_retrieval import NTREXRetrieval
from tests.collection.conftest import put, refused
from tests.tasks.conftest import real_data, replace_in, texts

REAL, with_real_data = real_data("eval/ntrex")
ARTICLES = ["bbc.1", "bbc.1", "cnn.2", "cnn.2", "cnn.2", "npr.3"]
ENGLISH = ["Snow in May", "It snowed.", "Rain at last", "It rained.", "No more to say.", "The sun"]
SOMALI = ["Baraf May", "Baraf baa da'ay.", "Roob ugu dambeyn", "Roob baa da'ay.", "Wax kale ma jiraan.", "Qorraxda"]


@pytest.fixture
def files(data: Path) -> Path:
    folder = data / "ntrex"
    for name, lines in {
        "DOCUMENT_IDS.tsv": ARTICLES,
        "NTREX-128/newstest2019-src.eng.txt": ENGLISH,
        "NTREX-128/newstest2019-ref.som.txt": SOMALI,
    }.items():
        put(folder / name, "\n".join(lines) + "\n")
    return folder


def load(subset: str = "som-eng"):
    return NTREXRetrieval().load_split(subset, "test")


def test_sentences_of_one_language_articles_of_the_other(files: Path):
    """Guards against the directions swapped, a headline left out, and sentences of two articles run together."""
    to_english, to_somali = load("som-eng"), load("eng-som")
    assert texts(to_english["queries"]) == {str(number): text for number, text in enumerate(SOMALI, start=1)}
    assert texts(to_somali["queries"]) == {str(number): text for number, text in enumerate(ENGLISH, start=1)}
    assert texts(to_english["corpus"]) == {
        "bbc.1": "Snow in May\nIt snowed.",
        "cnn.2": "Rain at last\nIt rained.\nNo more to say.",
        "npr.3": "The sun",
    }
    assert texts(to_somali["corpus"])["npr.3"] == "Qorraxda"
    expected = {str(number): {article: 1} for number, article in enumerate(ARTICLES, start=1)}
    assert to_english["relevant_docs"] == to_somali["relevant_docs"] == expected


def test_a_sentence_that_stands_in_two_articles_is_relevant_to_both(files: Path):
    """Guards against a query that finds the one article and is told that it is wrong."""
    replace_in(files / "NTREX-128" / "newstest2019-ref.som.txt", b"Qorraxda", b"Baraf May ")
    split = load()
    assert split["relevant_docs"]["1"] == split["relevant_docs"]["6"] == {"bbc.1": 1, "npr.3": 1}
    assert split["relevant_docs"]["2"] == {"bbc.1": 1}
    assert load("eng-som")["relevant_docs"]["1"] == {"bbc.1": 1}


def test_languages_are_chosen_as_mteb_does():
    """Guards against a choice that is overruled, and a task that is not in MTEB's registry under its languages."""
    tasks = {task.metadata.name: task for task in mteb.get_tasks(languages=["som"])}
    assert tasks["NTREXRetrieval"].hf_subsets == ["som-eng", "eng-som"]
    assert mteb.get_task("NTREXRetrieval", languages=["deu"]).hf_subsets == ["deu-eng", "eng-deu"]
    assert mteb.get_task("NTREXRetrieval", hf_subsets=["eng-deu"]).hf_subsets == ["eng-deu"]
    assert len(mteb.get_task("NTREXRetrieval", languages=["eng"]).hf_subsets) == len(NTREXRetrieval.metadata.eval_langs)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("NTREX-128/newstest2019-src.eng.txt", b"The sun\n", b"", r"src\.eng\.txt:6: ends here, but .*IDS\.tsv continues"),
        ("NTREX-128/newstest2019-src.eng.txt", b"The sun", b" ", r"src\.eng\.txt:6: document 'npr\.3' has no text"),
        ("DOCUMENT_IDS.tsv", b"npr.3", b"", r"src\.eng\.txt:6: a document has no id"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(files: Path, name: str, old: bytes, new: bytes, message: str):
    """Guards against tracebacks on unequal lengths, bytes that are not UTF-8, and articles without text or name."""
    replace_in(files / name, old, new)
    with refused(message):
        load()


@pytest.mark.long
@with_real_data
@pytest.mark.parametrize("language", ["swh", "som", "fil", "mar", "amh"])
def test_real_files_against_an_independent_count(language: str):
    """Guards against sentences lost, doubled, or judged on another article, in both directions."""
    published = {"swh": "swa"}.get(language, language)
    ids, *sides = (
        [line.strip() for line in (REAL / name).read_bytes().decode().removesuffix("\n").split("\n")]
        for name in ("DOCUMENT_IDS.tsv", f"newstest2019-ref.{published}.txt", "newstest2019-src.eng.txt")
    )
    for subset, (asked, searched) in {f"{language}-eng": sides, f"eng-{language}": reversed(sides)}.items():
        articles, relevant = defaultdict(list), {}
        for article, sentence in zip(ids, searched, strict=True):
            articles[article].append(sentence)
        for number, sentence in enumerate(asked):
            relevant[str(number + 1)] = {ids[place]: 1 for place, other in enumerate(asked) if other == sentence}
        split = load(subset)
        assert texts(split["queries"]) == {str(number): text for number, text in enumerate(asked, start=1)}
        assert texts(split["corpus"]) == {article: "\n".join(text) for article, text in articles.items()}
        assert split["relevant_docs"] == relevant
        assert (len(split["queries"]), len(split["corpus"]), len(relevant)) == (1997, 123, 1997)
        assert all(text.strip() for text in [*split["corpus"]["text"], *split["queries"]["text"]])
