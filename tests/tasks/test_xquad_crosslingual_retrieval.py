"""XQuAD across languages: the publisher's files, small, and the real ones against a count of their own."""

from __future__ import annotations

import json
from pathlib import Path

import mteb
import pytest

from optical_mteb.tasks.xquad_crosslingual_retrieval import XQuADCrosslingualRetrieval
from tests.collection.conftest import refused
from tests.tasks.conftest import real_data, replace_in, texts

REAL, with_real_data = real_data("eval/xquad")
ENGLISH = [
    {"Snow falls.": {"56a": "What falls?", "56b": "Who knows?"}, "Rain falls.": {"56c": "What falls?"}},
    {"Tea grows.": {"56d": "What grows?"}},
]
SPANISH = [
    {"La nieve cae.": {"56a": "¿Qué cae?", "56b": " ¿Quién sabe?\n"}, "La lluvia cae.": {"56c": "¿Qué cae?"}},
    {"El té crece.": {"56d": "¿Qué crece?"}},
]


def write(path: Path, articles: list[dict[str, dict[str, str]]]) -> None:
    content = {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": context,
                        "qas": [
                            {"answers": [{"answer_start": 0, "text": "x"}], "id": key, "question": question}
                            for key, question in questions.items()
                        ],
                    }
                    for context, questions in paragraphs.items()
                ],
                "title": "Weather",
            }
            for paragraphs in articles
        ],
        "version": "1.1",
    }
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")


@pytest.fixture
def files(data: Path) -> Path:
    folder = data / "xquad"
    folder.mkdir()
    write(folder / "xquad.en.json", ENGLISH)
    write(folder / "xquad.es.json", SPANISH)
    return folder


def load():
    return XQuADCrosslingualRetrieval().load_split("spa-eng", "validation")


def test_tags_are_those_of_mtebs_own_task():
    """Guards against other tags for the eleven languages, or another split, than MTEB's task within each language has."""
    metadata = XQuADCrosslingualRetrieval.metadata
    (source,) = metadata.adapted_from
    theirs = mteb.get_task(source).metadata
    tags, others = ({tag for each in about.eval_langs.values() for tag in each} for about in (metadata, theirs))
    assert (tags, metadata.eval_splits) == (others, theirs.eval_splits)


def test_translated_question_english_paragraph(files: Path):
    """Guards against languages swapped, a paragraph told by the question's text, and only by its place in the translated file."""
    write(files / "xquad.es.json", [SPANISH[1], SPANISH[0]])
    split = load()
    assert texts(split["corpus"]) == {"0-0": "Snow falls.", "0-1": "Rain falls.", "1-0": "Tea grows."}
    assert texts(split["queries"]) == {
        "56d": "¿Qué crece?",
        "56a": "¿Qué cae?",
        "56b": "¿Quién sabe?",
        "56c": "¿Qué cae?",
    }
    assert split["relevant_docs"] == {"56a": {"0-0": 1}, "56b": {"0-0": 1}, "56c": {"0-1": 1}, "56d": {"1-0": 1}}


def test_equal_paragraphs_are_one_document(files: Path):
    """Guards against a document that is there twice, and relevant once."""
    write(files / "xquad.en.json", [ENGLISH[0], {" Snow falls.\n": {"56d": "What grows?"}}])
    split = load()
    assert texts(split["corpus"]) == {"0-0": "Snow falls.", "0-1": "Rain falls."}
    assert split["relevant_docs"]["56d"] == {"0-0": 1}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("es", b'"56d"', b'"56e"', r"es\.json:data\.1\.paragraphs\.0\.qas\.0: question '56e' is not in .*en\.json"),
        ("en", b'"56c"', b'"56a"', r"en\.json:\S+1\.qas\.0: question '56a' is under another paragraph, too"),
        ("en", b"Tea grows.", b"  ", r"en\.json:data\.1\.paragraphs\.0\.context: document '1-0' has no text"),
        ("en", b'"Tea grows."', b"null", r"en\.json:data\.1\.paragraphs\.0\.context: .* valid string, expected SQuAD"),
        ("en", b'"id": "56b"', b'"id": 7', r"en\.json:data\.0\.paragraphs\.0\.qas\.1\.id: .* valid string"),
        ("en", b'"context": "Tea grows.",', b"", r"en\.json:data\.1\.paragraphs\.0\.context: Field required"),
        ("en", b'"Tea grows."', b'"Tea', r"en\.json:\d+: is not JSON .*; get the file again"),
        ("en", b'"Tea grows."', b'"\xff"', r"en\.json:\d+: byte \d+ of the line is not valid UTF-8"),
        ("en", b'{\n  "data": [', b"[" * 100_000, r"en\.json: is nested too deep"),
    ],
)
def test_broken_files_are_refused(files: Path, name: str, old: bytes, new: bytes, message: str):
    """Guards against a traceback, null read as text, bad data that pass, and an error that says nothing of the place."""
    replace_in(files / f"xquad.{name}.json", old, new)
    with refused(message):
        load()


@with_real_data
def test_real_files_against_an_independent_count():
    """Guards against paragraphs or questions lost or doubled, and judgements on another paragraph."""
    paragraph_of, asked = {}, {}
    for language in ("en", "es"):
        for article in json.loads((REAL / f"xquad.{language}.json").read_bytes())["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    if language == "en":
                        paragraph_of[question["id"]] = paragraph["context"].strip()
                    else:
                        asked[question["id"]] = question["question"].strip()
    split = load()
    corpus, queries = texts(split["corpus"]), texts(split["queries"])
    assert len(corpus) == len(split["corpus"]) == len(set(corpus.values())) == 240
    assert len(queries) == len(split["queries"]) == len(split["relevant_docs"]) == 1190
    assert queries == asked
    assert {key: [corpus[document] for document in judged] for key, judged in split["relevant_docs"].items()} == {
        key: [context] for key, context in paragraph_of.items()
    }
    assert all(text.strip() for text in [*corpus.values(), *queries.values()])
