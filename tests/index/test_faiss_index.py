"""An opened index: rankings, its model, and every way in which a file of it can be damaged."""

import os
import signal

import faiss
import numpy as np
import pytest

from optical_mteb.errors import InputError
from optical_mteb.index import FaissIndex, IndexManifest, faiss_index
from optical_mteb.index.changes import remove_documents
from optical_mteb.index.encoder import load_encoder
from optical_mteb.index.manifest import FileRecord
from tests.index.conftest import edit_manifest, flip, record_again, sentence
from tests.index.processes import index_texts, stub_encoder

TEXTS = [sentence(number) for number in range(120)]


def test_exact_search_is_a_product_of_matrices(build, collection):
    """Guards against ids, scores or positions of other documents, and scores that grow with the length of a query."""
    index, _ = build("flat")
    best, asked = collection.best(7), 50 * collection.queries.astype(np.float64)
    queries = collection.queries / np.linalg.norm(collection.queries, axis=1, keepdims=True)
    for query, ranking, row in zip(queries, index.search(asked, 7), best, strict=True):
        assert ranking.positions.tolist() == row.tolist()
        assert ranking.ids == [collection.ids[place] for place in row]
        assert ranking.scores == pytest.approx(collection.vectors[row] @ query, abs=1e-5)
    assert len(index) == 2000
    assert index.size == (index.folder / "index.faiss").stat().st_size
    assert sorted(index.search(asked[:1], 10**6)[0].ids) == sorted(collection.ids)
    assert index.search(asked[:0], 5) == index.search([], 5) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("queries", "k", "expected"),
    [
        (np.ones((1, 32)), 0, "top 0: expected 1 document at least"),
        (np.ones((1, 32)), -3, "top -3: expected 1 document at least"),
        (np.ones((1, 31)), 5, r"expected query vectors of shape \(n, 32\), found \(1, 31\)"),
        (np.ones(32), 5, r"expected query vectors of shape \(n, 32\), found \(32,\)"),
        (np.zeros((1, 32)), 5, "query 1: its vector is not finite, or zero"),
        (np.full((1, 32), np.nan), 5, "query 1: its vector is not finite, or zero"),
        (np.full((1, 32), np.inf), 5, "query 1: its vector is not finite, or zero"),
        (["rain"], 5, "was built from vectors, not by a model; search and change it by vectors"),
        (["rain", " "], 5, "query 2 is empty; expected text"),
        ("rain", 5, "query 'rain': expected a list of texts"),
    ],
)  # fmt: skip
def test_queries_that_cannot_be_searched(build, queries, k, expected):
    """Guards against an assertion of FAISS, and letters of one text that are searched one by one."""
    with pytest.raises(InputError, match=expected):
        build("flat")[0].search(queries, k)


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"format": 3}, "format: Input should be 1 or 2; build the index again"),
        ({"metric": "maxsim"}, "metric maxsim without a number of tokens; build the index again"),
        ({"spec": "ivf"}, "index spec 'ivf': expected auto, or one like"),
        ({"spec": "flat+refine"}, "has no record of vectors.npy"),
        ({"spec": "hnsw16"}, r"index\.faiss: is not hnsw16; copy or build"),
        ({"spec": "ivf16"}, r"index\.faiss: is not ivf16; copy or build"),
        ({"files": {}}, "has no record of index.faiss"),
        ({"count": 1999}, "has 2,000 documents, expected 1,999"),
        ({"removed": 2001}, "2,001 of 2,000 documents are removed"),
        ({"width": 16}, "holds 2,000 vectors of 32 components, expected 2,000 of 16"),
        ({"tuning": {"target": 0.9}}, r"tuning\.depth: Field required"),
        ({"more": 1}, "more: Extra inputs are not permitted"),
        ({"tokens": 2000, "tuning": {"tokens": 16}}, "late interaction by an earlier version, .*; build the index again"),
        *((data, r"manifest.json: .*; build the index again") for data in (b"", b"{", b"[]", b"\xff\xfe", b"null")),
    ],
)  # fmt: skip
def test_an_edited_manifest_is_refused(build, change, expected):
    """Guards against a manifest that describes another index than what is there, and one that was cut short."""
    index, _ = build("flat")
    if isinstance(change, bytes):
        (index.folder / "manifest.json").write_bytes(change)
    else:
        edit_manifest(index.folder, **change)
    with pytest.raises(InputError, match=expected) as raised:
        FaissIndex.open(index.folder)
    assert str(raised.value).startswith(str(index.folder))
    assert "\n" not in str(raised.value)


def test_an_index_of_an_earlier_version_opens(build, collection):
    """Guards against an index that has to be built again for a parameter that it never had."""
    index, _ = build("hnsw8+refine")
    edit_manifest(index.folder, tuning=index.manifest.tuning.model_dump() | {"tokens": None})
    assert FaissIndex.open(index.folder).manifest == index.manifest


@pytest.fixture
def texts_index(tmp_path):
    """An index over texts by the stub encoder."""
    index_texts(tmp_path / "index", [f"Mvua {text}" for text in TEXTS])
    return tmp_path / "index"


def test_another_revision_of_the_model_is_refused(texts_index, monkeypatch):
    """Guards against queries of one model that are compared with documents of another; given, or found by its name."""
    expected = "was built by stub at revision 1{12}, found revision 2{12}; build the index again, or get that revision"
    other = stub_encoder(revision="2" * 40)
    with pytest.raises(InputError, match=expected):
        FaissIndex.open(texts_index, encoder=other)
    monkeypatch.setattr("optical_mteb.index.encoder.load_encoder", lambda name, device: other)
    with pytest.raises(InputError, match=expected):
        FaissIndex.open(texts_index).search(["rain"], 3)


@pytest.mark.long
def test_the_real_model_is_loaded_with_the_prompts_on_record(tmp_path, tiny_base):
    """Guards against queries without the prompt that the documents' model has for them."""
    encoder = load_encoder(str(tiny_base), device="cpu")
    manifest = index_texts(tmp_path / "index", TEXTS, encoder=encoder)
    assert (manifest.model.query_prompt, manifest.model.document_prompt) == ("query: ", "passage: ")
    expected = encoder.model.encode_query(TEXTS[:9]) @ encoder.model.encode_document(TEXTS).T
    index = FaissIndex.open(tmp_path / "index", device="cpu")
    for ranking, row in zip(index.search(TEXTS[:9], 120), expected, strict=True):
        assert ranking.scores == pytest.approx(row[ranking.positions], abs=2e-3)
    assert IndexManifest.read(tmp_path / "index").model.revision == encoder.record.revision


def test_a_large_file_that_was_edited_is_refused_and_a_copy_is_not(build, monkeypatch, tmp_path):
    """Guards against results from a large file that was changed after it was written, and a traceback of removed.npy.

    And against seconds of checksums before the first query: what is older than the manifest is not read.
    """
    index, _ = build("flat+refine")
    remove_documents(index.folder, ["d1", "d2"])
    monkeypatch.setattr(faiss_index, "CHECKED_AT_OPENING", 0)
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("manifest.json", *index.manifest.files, "removed.npy"):
        (copied / name).write_bytes((index.folder / name).read_bytes())
    read = []
    original = FileRecord.of
    monkeypatch.setattr(FileRecord, "of", staticmethod(lambda path: read.append(path.name) or original(path)))
    assert len(FaissIndex.open(index.folder)) == 1998
    assert read == []
    assert len(FaissIndex.open(copied)) == 1998
    assert sorted(read) == ["documents.arrow", "index.faiss", "removed.npy", "vectors.npy"]
    assert len(FaissIndex.open(copied)) == 1998
    assert len(read) == 4
    for name in read[:4]:
        flip(copied / name, -9)
        with pytest.raises(InputError, match=f"{name}: has changed since it was written"):
            FaissIndex.open(copied)
        flip(copied / name, -9)
    for removed in (np.array([0, 5000]), np.array([1]), np.array([1.0, 2.0]), np.array(["a", "b"], object)):
        np.save(copied / "removed.npy", removed)
        record_again(copied, "removed.npy")
        with pytest.raises(InputError, match=r"removed.npy: (does not name 2 of 2,000|cannot be read)"):
            FaissIndex.open(copied)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_searches(build, collection):
    """Guards against a child that waits for ever for FAISS's threads, which do not outlive a fork; and threads in vain."""
    index = FaissIndex.open(build("ivf16,sq8")[0].folder, threads=2)
    assert faiss.omp_get_max_threads() == 2
    expected = [ranking.ids for ranking in index.search(collection.queries, 5)]
    child = os.fork()
    if not child:
        ended = 1
        try:
            signal.alarm(60)
            same = [ranking.ids for ranking in index.search(collection.queries, 5)] == expected
            with pytest.raises(InputError, match="threads 2: a process that was forked"):
                FaissIndex.open(index.folder, threads=2)
            again = FaissIndex.open(index.folder, threads=1).search(collection.queries, 5)
            ended = 0 if same and [ranking.ids for ranking in again] == expected else 2
        finally:
            os._exit(ended)
    assert os.waitpid(child, 0)[1] == 0
