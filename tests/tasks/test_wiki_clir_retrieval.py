"""WikiCLIR: ir_datasets' own code reads a small copy of the unpacked archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from optical_mteb.tasks.wiki_clir_retrieval import WikiCLIRRetrieval
from tests.collection.conftest import put
from tests.collection.test_irds import swahili
from tests.tasks.conftest import texts

pytest.importorskip("ir_datasets", reason="needs the extra ir-datasets")


def test_english_sentence_foreign_article_graded(irds_home: Path):
    """Guards against query and document swapped, the title taken for the sentence, grades flattened, and missing Bokmål.

    Wikipedia calls Bokmål `no`, and its folder has an odd name.
    """
    folder = swahili(irds_home)
    put(folder / "norwegian_(bokmal)/wiki_no.documents", "2\tAkershus\t akershus .\n")
    put(folder / "norwegian_(bokmal)/en2no.rel", "12\t2\t2\n")
    to_swahili, to_bokmal = (WikiCLIRRetrieval().load_split(subset, "test") for subset in ("eng-swh", "eng-nob"))
    assert to_swahili["corpus"].to_dict() == {
        "id": ["2", "33", "40"],
        "text": ["somo la zamani .", "lugha .", ""],
        "title": ["Akiolojia", "Lugha asilia", "Tupu"],
    }
    assert texts(to_swahili["queries"]) == {"12": "is a political philosophy .", "25": "is a disorder ."}
    assert to_swahili["relevant_docs"] == {"12": {"2": 2, "33": 1}, "25": {"33": 2}}
    assert to_bokmal["relevant_docs"] == {"12": {"2": 2}}


def test_every_subset_is_a_data_set_of_ir_datasets(irds_home: Path):
    """Guards against a language that is misspelled, or left out."""
    import ir_datasets

    from optical_mteb.tasks.wiki_clir_retrieval import _CODES

    published = {name.partition("/")[2] for name in ir_datasets.registry if name.startswith("wikiclir/")}
    assert set(_CODES.values()) == published - {"en-simple"}
    assert list(WikiCLIRRetrieval.metadata.eval_langs) == [f"eng-{name}" for name in _CODES]
