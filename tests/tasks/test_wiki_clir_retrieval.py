"""WikiCLIR: ir_datasets' own code reads a small copy of the unpacked archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from optical_mteb.tasks.wiki_clir_retrieval import WikiCLIRRetrieval
from tests.collection.conftest import put

pytest.importorskip("ir_datasets", reason="needs the extra ir-datasets")

FILES = {
    "english/wiki_en.queries": (
        "12\tAnarchism\tis a political philosophy that advocates self-governed societies .\n"
        "1074\tArchaeology\t, or , is the study of human activity .\n"
        "5\tNobody\tis judged in no language .\n"
    ),
    "swahili/wiki_sw.documents": (
        "2\tAkiolojia\t akiolojia ( kutoka kiyunani αρχαίος ) ni somo .\n"
        "33\tLugha asilia\t lugha asilia ni lugha .\n"
        "92114\tKaptura\t kaptura ni vazi .\n"
    ),
    "swahili/en2sw.rel": "1074\t2\t2\n1074\t33\t1\n12\t33\t2\n",
    "tagalog/wiki_tl.documents": "5\tWikipedia\t ang wikipedia .\n603\tAstronomiya\t ang dalubtalaan .\n",
    "tagalog/en2tl.rel": "12\t603\t2\n",
    "norwegian_(bokmal)/wiki_no.documents": "2\tAkershus\t akershus .\n",
    "norwegian_(bokmal)/en2no.rel": "12\t2\t2\n",
}


@pytest.fixture
def archive(irds_home: Path) -> Path:
    folder = irds_home / "wikiclir" / "source" / "wiki-clir"
    for name, content in FILES.items():
        put(folder / name, content)
    return folder


def load(subset: str):
    return WikiCLIRRetrieval().load_split(subset, "test")


def test_english_sentence_foreign_article_graded(archive: Path):
    """Guards against query and document swapped, the title taken for the sentence, grades flattened."""
    split = load("eng-swh")
    assert split["corpus"].to_dict() == {
        "id": ["2", "33", "92114"],
        "text": ["akiolojia ( kutoka kiyunani αρχαίος ) ni somo .", "lugha asilia ni lugha .", "kaptura ni vazi ."],
        "title": ["Akiolojia", "Lugha asilia", "Kaptura"],
    }
    assert split["queries"].to_dict() == {
        "id": ["12", "1074"],
        "text": [
            "is a political philosophy that advocates self-governed societies .",
            ", or , is the study of human activity .",
        ],
    }
    assert split["relevant_docs"] == {"12": {"33": 2}, "1074": {"2": 2, "33": 1}}


def test_a_language_whose_folder_has_an_odd_name(archive: Path):
    """Guards against missing Bokmål, which Wikipedia calls `no`."""
    assert load("eng-nob")["relevant_docs"] == {"12": {"2": 2}}


def test_every_subset_is_a_data_set_of_ir_datasets(irds_home: Path):
    """Guards against a language that is misspelled, or left out."""
    import ir_datasets

    from optical_mteb.tasks.wiki_clir_retrieval import _CODES

    published = {name.partition("/")[2] for name in ir_datasets.registry if name.startswith("wikiclir/")}
    assert set(_CODES.values()) == published - {"en-simple"}
    assert list(WikiCLIRRetrieval.metadata.eval_langs) == [f"eng-{name}" for name in _CODES]
