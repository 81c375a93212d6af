"""Global Voices: the publisher's files, small, and the real ones against counts of their own."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest

from optical_mteb.tasks.global_voices_retrieval import GlobalVoicesRetrieval
from tests.collection.conftest import refused
from tests.tasks.conftest import real_data, texts

REAL, with_real_data = real_data("bitext/globalvoices")


@pytest.fixture
def folder(data: Path) -> Path:
    folder = data / "bitext" / "globalvoices"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, held_out: list[list[tuple[str, str]]], between: str = "\n") -> None:
    """Articles for evaluation, with four of training between them; none ends the file by a blank line."""
    training = [[(f"mafunzo {number}", f"training {number}"), ("m", "t")] for number in range(4)]
    articles = [article for each in held_out for article in (each, *training)][: -len(training)]
    for side, code in enumerate(("sw", "en")):
        blocks = ["".join(f"{line[side]} \n" for line in article) for article in articles]
        (folder / f"GlobalVoices.en-sw.{code}").write_text(between.join(blocks), encoding="utf-8")


def load():
    return GlobalVoicesRetrieval().load_split("swh-eng", "test")


@pytest.mark.parametrize("between", ["\n", " \n\n\n"])
def test_the_first_line_asks_for_the_rest(folder: Path, between: str):
    """Guards against articles of training in the collection, the first line in its document, blank lines that count twice."""
    write(
        folder,
        [
            [("habari moja", "news one"), ("mbili", "two"), ("habari", "news one"), ("tatu", "three")],
            [("mstari mmoja", "a single line")],
            [("mwisho", "the end"), ("nne", "four")],
        ],
        between,
    )
    split = load()
    assert texts(split["corpus"]) == {"0": "two\nthree", "10": "four"}
    assert texts(split["queries"]) == {"0": "habari moja", "10": "mwisho"}
    assert split["relevant_docs"] == {"0": {"0": 1}, "10": {"10": 1}}


def test_articles_that_begin_alike_and_articles_that_are_there_twice(folder: Path):
    """Guards against a right answer that counts as wrong, a query that is asked twice, a document that appears twice."""
    write(
        folder,
        [
            [("picha", "picture"), ("a", "one")],
            [("picha", "a picture"), ("b", "two")],
            [("picha", "picture"), ("a", "one")],
            [("nyingine", "another"), ("a", "one")],
        ],
    )
    split = load()
    assert texts(split["corpus"]) == {"0": "one", "5": "two"}
    assert texts(split["queries"]) == {"0": "picha", "15": "nyingine"}
    assert split["relevant_docs"] == {"0": {"0": 1, "5": 1}, "15": {"0": 1}}


def test_lines_without_translation(folder: Path):
    """Guards against a query in English, an empty one, and a line blank on one side taken for a border."""
    write(
        folder,
        [
            [("Janet Museveni", "Janet Museveni"), ("a", "one")],
            [("", "untranslated"), ("b", "two")],
            [("tatu", "three"), ("", "three and a half"), ("x", ""), ("c", "four")],
            [("peke yake", "alone"), ("x", "")],
        ],
    )
    split = load()
    assert texts(split["corpus"]) == {"0": "one", "5": "two", "10": "three and a half\nfour"}
    assert texts(split["queries"]) == {"10": "tatu"}


def test_the_publishers_zip_is_unpacked(folder: Path):
    """Guards against wrong names of the files inside of the archive."""
    write(folder, [[("a", "b"), ("c", "d")]])
    with zipfile.ZipFile(folder / "en-sw.txt.zip", "w") as packed:
        for code in ("en", "sw"):
            packed.write(folder / f"GlobalVoices.en-sw.{code}", f"GlobalVoices.en-sw.{code}")
            (folder / f"GlobalVoices.en-sw.{code}").unlink()
        packed.writestr("README", "GlobalVoices")
    assert texts(load()["queries"]) == {"0": "a"}


def test_files_of_unequal_length_are_refused(folder: Path):
    """Guards against a traceback, and lines that are taken for translations of others."""
    write(folder, [[("kwanza", "first"), ("pili", "second")]])
    path = folder / "GlobalVoices.en-sw.en"
    path.write_bytes(path.read_bytes().replace(b"second \n", b"", 1))
    with refused(r"\.en:2: ends here, but .*GlobalVoices\.en-sw\.sw continues"):
        load()


@with_real_data
def test_real_files_against_an_independent_count():
    """Guards against articles lost, doubled or judged on another, and first lines that stand in their document."""
    swahili, english = (
        re.split(r"\n\s*\n", (REAL / f"GlobalVoices.en-sw.{code}").read_bytes().decode().strip())
        for code in ("sw", "en")
    )
    assert len(swahili) == len(english) == 1497
    asked, documents, first_lines = {}, {}, {}
    for index in range(0, 1497, 5):
        lines = [line.strip() for line in english[index].split("\n")]
        if len(lines) > 1:
            documents[str(index)] = "\n".join(line for line in lines if line != lines[0])
            first_lines[str(index)] = lines[0]
            query = swahili[index].split("\n")[0].strip()
            if query != lines[0]:
                asked[str(index)] = query
    split = load()
    assert texts(split["corpus"]) == documents
    assert texts(split["queries"]) == asked
    assert (len(split["corpus"]), len(split["queries"])) == (284, 283)
    assert split["relevant_docs"] == {key: {key: 1} for key in asked}
    assert all(documents.values())
    assert all(asked.values())
    assert not [key for key in asked if first_lines[key] in documents[key].split("\n")]
