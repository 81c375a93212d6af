"""XQuAD across languages: the publisher's files, small, and the real ones against a count of their own."""

from __future__ import annotations

import json
from pathlib import Path

import mteb
import pytest

from optical_mteb.errors import InputError
from optical_mteb.storage import local_data
from optical_mteb.tasks.xquad_crosslingual_retrieval import XQuADCrosslingualRetrieval

REAL = local_data()
REAL_FOLDER = None if REAL is None else REAL / "eval" / "xquad"
SUBSETS = [f"{name}-eng" for name in ["spa", "deu", "ell", "rus", "tur", "arb", "vie", "tha", "zho", "hin", "ron"]]
ENGLISH = [
    {"Snow falls.": {"56a": "What falls?", "56b": "Who knows?"}, "Rain falls.": {"56c": "What falls?"}},
    {"Tea grows.": {"56d": "What grows?"}},
]
SPANISH = [
    {"La nieve cae.": {"56a": "¿Qué cae?", "56b": "¿Quién sabe?"}, "La lluvia cae.": {"56c": "¿Qué cae?"}},
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


def load(*subsets: str):
    task = XQuADCrosslingualRetrieval().filter_languages(None, hf_subsets=subsets)
    task.load_data()
    return {subset: splits["validation"] for subset, splits in task.dataset.items()}


def texts(dataset) -> dict[str, str]:
    return dict(zip(dataset["id"], dataset["text"], strict=True))


def test_metadata_is_complete():
    """Guards against metadata that MTEB would refuse, and other tags for the eleven languages than those of MTEB's own task."""
    metadata = XQuADCrosslingualRetrieval.metadata
    assert metadata.is_filled()
    assert list(metadata.eval_langs) == SUBSETS
    (source,) = metadata.adapted_from
    theirs = {tag for tags in mteb.get_task(source).metadata.eval_langs.values() for tag in tags}
    assert {tag for tags in metadata.eval_langs.values() for tag in tags} == theirs
    assert {tags[-1] for tags in metadata.eval_langs.values()} == {"eng-Latn"}
    assert metadata.eval_splits == mteb.get_task(source).metadata.eval_splits
    assert len(metadata.revision) == 40


def test_translated_question_english_paragraph(files: Path):
    """Guards against languages swapped, a paragraph told by the question's text, and only by its place in the translated file."""
    write(files / "xquad.es.json", [SPANISH[1], SPANISH[0]])
    split = load("spa-eng")["spa-eng"]
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
    split = load("spa-eng")["spa-eng"]
    assert texts(split["corpus"]) == {"0-0": "Snow falls.", "0-1": "Rain falls."}
    assert split["relevant_docs"]["56d"] == {"0-0": 1}


def test_only_the_chosen_language_is_read(files: Path):
    """Guards against a task that opens, or downloads, every language's file."""
    (files / "xquad.de.json").write_bytes(b"\xff")
    assert list(load("spa-eng")) == ["spa-eng"]
    with pytest.raises(InputError, match=r"xquad\.de\.json:1: byte 1"):
        load("spa-eng", "deu-eng")
    with pytest.raises(InputError, match=r"^xquad: xquad\.ro\.json is not here .* put it at .*xquad/xquad\.ro\.json"):
        load("ron-eng")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("es", b'"56d"', b'"56e"', r"es\.json:data\.1\.paragraphs\.0\.qas\.0: question '56e' is not in .*en\.json"),
        ("es", b'"56c"', b'"56a"', r"es\.json:\S+1\.qas\.0: query id '56a' appears twice, the first at \S+0\.qas\.0"),
        ("en", b'"56c"', b'"56a"', r"en\.json:\S+1\.qas\.0: question '56a' is under another paragraph, too"),
        ("es", b'"\\u00bfQu\\u00e9 crece?"', b'" "', r"es\.json:\S+: query '56d' has no text"),
        ("en", b'"Tea grows."', b'""', r"en\.json:data\.1\.paragraphs\.0\.context: document '1-0' has no text"),
        ("en", b'"Tea grows."', b"null", r"en\.json:data\.1\.paragraphs\.0\.context: .*string"),
        ("es", b'"56d"', b'"\xff"', r"es\.json:\d+: byte \d+ of the line is not valid UTF-8"),
        ("en", b'"version"', b"version", r"en\.json:\d+: is not JSON"),
    ],
)
def test_broken_files_are_refused(files: Path, name: str, old: bytes, new: bytes, message: str):
    """Guards against a traceback, or bad data that pass: a question without its paragraph, repeated ids, null texts."""
    path = files / f"xquad.{name}.json"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        load("spa-eng")
    assert "\n" not in str(caught.value)


def test_mteb_scores_it(files: Path, evaluate):
    """Guards against scores lost by query, and a result that JSON changes."""
    scores = evaluate(mteb.get_task("XQuADCrosslingualRetrieval", languages=["spa"]))
    assert list(scores["validation"]) == ["spa-eng"]
    assert scores["validation"]["spa-eng"]["per_query"]["ndcg_at_10"].keys() == {"56a", "56b", "56c", "56d"}


@pytest.mark.skipif(
    REAL_FOLDER is None or not REAL_FOLDER.is_dir(), reason="OPTICAL_MTEB_DATA is not set, or has no eval/xquad"
)
def test_real_files_against_an_independent_count():
    """Guards against paragraphs or questions lost or doubled, and judgements on another paragraph."""
    paragraph_of, asked = {}, {}
    for language in ("en", "es"):
        for article in json.loads((REAL_FOLDER / f"xquad.{language}.json").read_bytes())["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    if language == "en":
                        paragraph_of[question["id"]] = paragraph["context"].strip()
                    else:
                        asked[question["id"]] = question["question"].strip()
    split = load("spa-eng")["spa-eng"]
    corpus, queries = texts(split["corpus"]), texts(split["queries"])
    assert len(corpus) == len(split["corpus"]) == len(set(corpus.values())) == 240
    assert len(queries) == len(split["queries"]) == len(split["relevant_docs"]) == 1190
    assert queries == asked
    assert {key: [corpus[document] for document in judged] for key, judged in split["relevant_docs"].items()} == {
        key: [context] for key, context in paragraph_of.items()
    }
    assert all(text.strip() for text in [*corpus.values(), *queries.values()])
