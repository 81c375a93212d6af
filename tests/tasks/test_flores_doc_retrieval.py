"""FLORES-200: the publisher's files, small, and the real ones against counts of their own."""

from __future__ import annotations

import csv
import re
import tarfile
from collections import defaultdict
from pathlib import Path

import mteb
import pytest

from optical_mteb.tasks.flores_doc_retrieval import FLORESDocRetrieval
from tests.collection.conftest import refused
from tests.tasks.conftest import real_data, replace_in, texts

REAL, with_real_data = real_data("eval/flores200")
HEADER = "URL\tdomain\ttopic\thas_image\thas_hyperlink\n"
WIKI = "https://en.wikinews.org/wiki/"
ARTICLES = "AABBBCDDDDDA"
DEFAULT = ["swh", "som", "tgl", "mar", "fra", "spa", "por", "hau", "ibo", "yor", "zul", "amh"]


def write(folder: Path, split: str, languages: tuple[str, ...]) -> None:
    rows = "".join(f"{WIKI}{name}\twikinews\t\tno\tyes\n" for name in ARTICLES)
    (folder / split).mkdir(parents=True)
    (folder / f"metadata_{split}.tsv").write_text(HEADER + rows, encoding="utf-8")
    for language in languages:
        lines = "".join(f"{language[:3]} {number}\n" for number in range(1, len(ARTICLES) + 1))
        (folder / split / f"{language}.{split}").write_text(lines, encoding="utf-8")


@pytest.fixture
def folder(data: Path) -> Path:
    folder = data / "flores200" / "flores200_dataset"
    write(folder, "dev", ("eng_Latn", "swh_Latn", "zho_Hant"))
    return folder


def load(subset: str = "swh-eng", split: str = "dev"):
    task = FLORESDocRetrieval().filter_languages(None, hf_subsets=[subset]).filter_eval_splits([split])
    task.load_data()
    return task.dataset[subset][split]


def test_languages_against_mtebs_flores():
    """Guards against a language that is misspelled, or left out."""
    pairs = mteb.get_task("FloresBitextMining").metadata.eval_langs
    published = {tuple(tags) for name, tags in pairs.items() if name.endswith("-eng_Latn")}
    ours = {(tags[0], tags[-1]) for tags in FLORESDocRetrieval.metadata.eval_langs.values()}
    assert len(FLORESDocRetrieval.metadata.eval_langs) == len(ours) == 204
    assert ours == published | {("eng-Latn", "eng-Latn")}


def test_first_halves_ask_for_second_halves(folder: Path):
    """Guards against a query whose English stands in its document, halves that are swapped, articles taken apart by position."""
    split = load()
    assert texts(split["corpus"]) == {
        f"{WIKI}A": "eng 2\neng 12",
        f"{WIKI}B": "eng 4\neng 5",
        f"{WIKI}C": "eng 6",
        f"{WIKI}D": "eng 9\neng 10\neng 11",
    }
    assert texts(split["queries"]) == {"1": "swh 1", "3": "swh 3", "7": "swh 7", "8": "swh 8"}
    assert split["relevant_docs"] == {
        "1": {f"{WIKI}A": 1},
        "3": {f"{WIKI}B": 1},
        "7": {f"{WIKI}D": 1},
        "8": {f"{WIKI}D": 1},
    }


def test_english_asks_in_english(folder: Path):
    """Guards against a reference without a language barrier whose queries are translations, or stand in their documents."""
    split = load("eng-eng")
    assert texts(split["queries"]) == {"1": "eng 1", "3": "eng 3", "7": "eng 7", "8": "eng 8"}
    assert texts(split["corpus"])[f"{WIKI}A"] == "eng 2\neng 12"


def test_a_sentence_of_two_articles_is_relevant_to_both(folder: Path):
    """Guards against a right answer that counts as wrong."""
    replace_in(folder / "dev" / "swh_Latn.dev", b"swh 7\n", b"swh 1\n")
    relevant = load()["relevant_docs"]
    assert relevant["1"] == relevant["7"] == {f"{WIKI}A": 1, f"{WIKI}D": 1}


def test_devtest_is_run_where_it_is_chosen(folder: Path):
    """Guards against a split that is read from the files of the other, and a default that needs both."""
    with refused(r"flores200: .* is not here .*facebookresearch/flores"):
        load(split="devtest")
    write(folder, "devtest", ("eng_Latn", "swh_Latn"))
    replace_in(folder / "devtest" / "eng_Latn.devtest", b"eng 6", b"devtest 6")
    replace_in(folder / "metadata_devtest.tsv", b"/C", b"/E")
    assert texts(load(split="devtest")["corpus"])[f"{WIKI}E"] == "devtest 6"
    assert texts(load()["corpus"])[f"{WIKI}C"] == "eng 6"


def test_the_publishers_archive_is_unpacked(folder: Path, tmp_path: Path):
    """Guards against a wrong layout inside of the archive, whose names begin with a dot and a slash."""
    with tarfile.open(tmp_path / "flores200_dataset.tar.gz", "w:gz") as packed:
        packed.add(folder, "./flores200_dataset")
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "flores200_dataset.tar.gz").rename(folder.parent / "flores200_dataset.tar.gz")
    assert len(load()["queries"]) == 4


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("dev/swh_Latn.dev", b"swh 12\n", b"", r"swh_Latn\.dev:12: ends here, but .*eng_Latn\.dev continues"),
        ("metadata_dev.tsv", b"URL\t", b"url\t", r"metadata_dev\.tsv:1: expected a header with the column URL, found"),
        ("metadata_dev.tsv", f"{WIKI}C".encode(), b"", r"metadata_dev\.tsv:7: has no URL"),
        (
            "metadata_dev.tsv",
            HEADER.encode(),
            HEADER.encode() + b"http://x\n",
            r"of 13 sentences, but .*eng_Latn\.dev has 12",
        ),
        ("metadata_dev.tsv", f"{WIKI}C\twikinews\t\tno\tyes\n".encode(), b"", r"of 11 sentences, but .* has 12"),
    ],
)
def test_damaged_files_are_refused(folder: Path, name: str, old: bytes, new: bytes, message: str):
    """Guards against tracebacks on unequal lengths, bytes that are not UTF-8, empty sentences and a file that names no articles."""
    replace_in(folder / name, old, new)
    with refused(message):
        load()


@pytest.mark.long
@with_real_data
@pytest.mark.parametrize("language", DEFAULT)
def test_real_files_against_an_independent_count(language: str):
    """Guards against sentences lost, doubled or judged on another article, and translations that stand in the document."""
    with (REAL / "metadata_dev.tsv").open(encoding="utf-8", newline="") as stream:
        urls = [row["URL"] for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)]
    path = next(REAL.glob(f"{language}_*.dev"))
    translated, english = (
        each.read_bytes().decode().removesuffix("\n").split("\n") for each in (path, REAL / "eng_Latn.dev")
    )
    assert len(urls) == len(translated) == len(english) == 997
    articles = defaultdict(list)
    for line, url in enumerate(urls):
        articles[url].append(line)
    asked, documents, relevant = {}, {}, {}
    for url, lines in articles.items():
        while len(lines) > len(articles[url]) - len(articles[url]) // 2:
            lines = lines[1:]
        documents[url] = "\n".join(english[line].strip() for line in lines)
        for line in articles[url]:
            if line < lines[0]:
                asked[str(line + 1)] = translated[line].strip()
                relevant[str(line + 1)] = {url: 1}
    split = load(f"{language}-eng")
    assert texts(split["queries"]) == asked
    assert texts(split["corpus"]) == documents
    assert split["relevant_docs"] == relevant
    assert (len(split["queries"]), len(split["corpus"])) == (417, 281)
    for key, judged in split["relevant_docs"].items():
        original = re.escape(english[int(key) - 1].strip())
        assert not any(re.search(original, documents[url]) for url in judged)
