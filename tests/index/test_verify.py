"""Checks of an index: each fails where its damage is, and none elsewhere."""

import os

import numpy as np
import pyarrow as pa
import pytest

from optical_mteb.index.assembly import BuildSettings
from optical_mteb.index.build import build_from_vectors
from optical_mteb.index.changes import add_vectors, remove_documents
from optical_mteb.index.documents import IDS, write_documents
from optical_mteb.index.verify import verify
from tests.index.conftest import flip, record_again


def outcome(folder):
    return {check.name: check.passed for check in verify(folder)}


def found(folder, name):
    return next(check.found for check in verify(folder) if check.name == name)


SOUND = {"counts": True, "ids": True, "self-retrieval": True}


@pytest.mark.long
@pytest.mark.parametrize(
    "spec", ["flat", "hnsw16,sq8", "ivf16", "ivf16,pq8", "ivf16,pq8+refine", "ivf16,pq16x4+refine"]
)
def test_a_sound_index_passes(build, spec):
    """Guards against a check that fails by itself, with documents removed and added, too."""
    index, _ = build(spec)
    files = dict.fromkeys(index.manifest.files, True)
    assert outcome(index.folder) == files | SOUND
    remove_documents(index.folder, ["d3", "d4"])
    add_vectors(index.folder, ["d3"], index.own_rows(np.array([3])).vectors)
    assert outcome(index.folder) == files | SOUND | {"removed.npy": True}
    assert found(index.folder, "counts") == "1,999 documents to be found, 1,999 recorded"


@pytest.mark.parametrize("name", ["index.faiss", "documents.arrow", "vectors.npy"])
def test_damage_is_found_however_large_the_file(build, monkeypatch, name):
    """Guards against a file that is only looked at for its size."""
    monkeypatch.setattr("optical_mteb.index.faiss_index.CHECKED_AT_OPENING", 0)
    index, _ = build("ivf16,sq8+refine")
    path = index.folder / name
    flip(path, -100)
    assert outcome(index.folder) == dict.fromkeys(index.manifest.files, True) | {name: False}
    assert found(index.folder, name) == "has changed since it was written"
    size = path.stat().st_size
    os.truncate(path, size - 1)
    assert found(index.folder, name) == f"has {size - 1:,} bytes, expected {size:,} bytes"
    path.unlink()
    assert found(index.folder, name) == f"is not there, expected {size:,} bytes"


def test_ids_that_stand_twice_are_found(build, collection):
    """Guards against a document that cannot be removed, and stands in a ranking twice."""
    index, _ = build("flat")
    write_documents(index.folder / "documents.arrow", IDS, [pa.table([[*collection.ids[:-1], "d0"]], schema=IDS)])
    record_again(index.folder, "documents.arrow")
    assert outcome(index.folder) == dict.fromkeys(index.manifest.files, True) | SOUND | {"ids": False}
    assert found(index.folder, "ids") == "1 appear twice"


def test_vectors_of_other_documents_are_found(build, collection):
    """Guards against an index whose best are scored again with the vectors of others: all files are as on record."""
    index, _ = build("ivf16+refine")
    np.save(index.folder / "vectors.npy", collection.vectors[::-1].astype(np.float16))
    record_again(index.folder, "vectors.npy")
    assert outcome(index.folder)["self-retrieval"] is False


def test_what_cannot_be_opened_is_a_failed_check(build):
    """Guards against a traceback in the middle of the checks."""
    index, _ = build("flat")
    (index.folder / "index.faiss").write_bytes(b"IxXX" * 99)
    record_again(index.folder, "index.faiss")
    assert outcome(index.folder) == dict.fromkeys(index.manifest.files, True) | {"opening": False}
    assert "cannot read it" in found(index.folder, "opening")


def test_an_index_of_which_all_was_removed(tmp_path):
    """Guards against a check that divides by the number of documents."""
    folder = tmp_path / "index"
    build_from_vectors(folder, ["a", "b"], np.eye(2, dtype=np.float32), settings=BuildSettings(spec="flat"), say=str)
    remove_documents(folder, ["a", "b"])
    assert all(outcome(folder).values())
    assert found(folder, "self-retrieval") == "no document is left to be found"
