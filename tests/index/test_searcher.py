"""Searching by vectors: against a product of matrices, with more wanted than there is, and without what was removed."""

import faiss
import numpy as np
import pytest
from packaging.version import Version

from optical_mteb.errors import InputError
from optical_mteb.index.faiss_file import new_index, write_index
from optical_mteb.index.ivf import Ivf
from optical_mteb.index.manifest import REMOVED_FILE, IndexManifest, Tuning
from optical_mteb.index.maxsim import NOTHING
from optical_mteb.index.rows import Rows
from optical_mteb.index.searcher import Searcher
from optical_mteb.index.spec import IndexSpec
from optical_mteb.index.stored_rows import write_rows

LEAST = Tuning(target=0.99, depth=10, nprobe=1, ef_search=1, candidates=10)
MOST = Tuning(target=0.99, depth=10, nprobe=16, ef_search=2000, candidates=2000)


@pytest.fixture
def opened(tmp_path, collection):
    """Writes and opens the files of a spec."""

    def searcher(text, removed=()):
        spec = IndexSpec.parse(text)
        index = new_index(spec, 32, seed=0)
        index.train(collection.vectors)
        index.add(collection.vectors)
        write_index(index, tmp_path / "index.faiss")
        write_rows(tmp_path, np.split(collection.vectors, [700]), None, (2000, 32), "float16")
        np.save(tmp_path / REMOVED_FILE, removed)
        return Searcher(tmp_path, manifest(text, removed))

    return searcher


def manifest(spec, removed=()):
    """What a searcher reads of a manifest."""
    about = {"files": {REMOVED_FILE: None} if len(removed) else {}, "versions": {"faiss": "9.9.9"}}
    return IndexManifest.model_construct(spec=spec, width=32, count=2000, removed=len(removed), **about)


@pytest.mark.long
@pytest.mark.parametrize(
    "spec",
    ["flat", "flat+refine", "ivf16", "ivf16,sq8+refine", "ivf16,pq8+refine", "ivf16,pq16x4+refine", "hnsw16+refine"],
)
def test_with_every_effort_search_is_exact(opened, collection, monkeypatch, spec):
    """Guards against wrong scores or order, positions that are none of the documents', and queries of another part."""
    monkeypatch.setattr("optical_mteb.index.searcher.BATCH", 16)
    searcher = opened(spec)
    scores, positions = searcher.search(Rows.single(collection.queries), 10, MOST)
    best = collection.best(10)
    expected = np.take_along_axis(collection.queries @ collection.vectors.T, best, axis=1)
    assert scores == pytest.approx(expected, abs=1e-5)
    assert (scores.dtype, positions.dtype) == (np.float32, np.int64)
    # Documents of one score may change places.
    found = np.einsum("qkw,qw->qk", collection.vectors[positions], collection.queries)
    assert found == pytest.approx(scores, abs=1e-5)
    assert (positions == best).mean() > 0.99
    assert [found.shape for found in searcher.search(Rows.single(collection.queries[:0]), 10, LEAST)] == [(0, 10)] * 2


@pytest.mark.long
@pytest.mark.parametrize("spec", ["flat", "hnsw16", "ivf16", "ivf16,sq8", "ivf16,pq8+refine", "ivf16,pq16x4+refine"])
@pytest.mark.parametrize("k", [2000, 5000])
def test_more_than_there_are_gives_all(opened, collection, spec, k):
    """Guards against ranks without a document, and documents that no list within reach has."""
    scores, positions = opened(spec).search(Rows.single(collection.queries[:3]), k, LEAST)
    assert positions.shape == (3, 2000)
    if spec.startswith("hnsw"):
        # A graph has nodes that no walk comes to.
        assert (positions != NOTHING).mean() > 0.95
    else:
        assert np.sort(positions, axis=1).tolist() == [list(range(2000))] * 3
    assert (np.diff(scores, axis=1) <= 0).all()


def test_a_query_is_widened_alone(opened, collection, monkeypatch):
    """Guards against a query of one short list that slows all others down."""
    searcher = opened("ivf16")
    widths, original = [], Ivf.parameters
    monkeypatch.setattr(Ivf, "parameters", lambda kind, effort: widths.append(effort) or original(kind, effort))
    _, alone = searcher.search(Rows.single(collection.queries), 10, LEAST)
    assert widths == [1]
    _, positions = searcher.search(Rows.single(collection.queries), 300, LEAST)
    assert (positions != NOTHING).all()
    assert widths[1:3] == [1, 4]
    # What was found in the first place stays.
    assert (positions[:, 0] == alone[:, 0]).mean() > 0.9


@pytest.mark.long
@pytest.mark.parametrize(
    "spec", ["flat", "flat+refine", "hnsw16", "hnsw16,sq8+refine", "ivf16", "ivf16,pq8+refine", "ivf16,pq16x4+refine"]
)
def test_what_was_removed_is_not_found(opened, collection, spec):
    """Guards against a removed document in a ranking, and ranks that are empty because their documents were removed."""
    removed = np.unique(collection.best(5))
    searcher = opened(spec, removed=removed)
    _, positions = searcher.search(Rows.single(collection.queries), 10, MOST)
    assert not np.isin(positions, removed).any()
    assert (positions != NOTHING).all()
    left = np.setdiff1d(np.arange(2000), removed)
    assert searcher.live == len(left)
    assert searcher.removed.tolist() == removed.tolist()
    expected = collection.best(10, among=left)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(positions, expected, strict=True)]) > 0.97
    few = opened(spec, removed=np.arange(3, 2000))
    assert np.sort(few.search(Rows.single(collection.queries[:2]), 10, LEAST)[1], axis=1).tolist() == [[0, 1, 2]] * 2
    none = opened(spec, removed=np.arange(2000))
    assert none.search(Rows.single(collection.queries), 10, LEAST)[1].shape == (40, 0)


def test_a_euclidean_index_is_refused(tmp_path, collection):
    """Guards against distances that are taken for scores: the farthest would come first."""
    index = faiss.IndexFlatL2(32)
    index.add(collection.vectors)
    write_index(index, tmp_path / "index.faiss")
    with pytest.raises(InputError, match="by inner product; copy or build the index again"):
        Searcher(tmp_path, manifest("flat"))


@pytest.mark.parametrize("spec", ["flat", "hnsw16,sq8", "ivf16,sq8"])
def test_a_file_that_faiss_cannot_read_is_refused(opened, tmp_path, spec):
    """Guards against a traceback for a truncated file, an edited one, and one of another FAISS that the line does not name."""
    opened(spec)
    path = tmp_path / "index.faiss"
    whole = path.read_bytes()
    # Releases before 1.15 map inverted lists that end too early; the manifest, which has the size, is checked before.
    mapped = spec.startswith("ivf") and Version(faiss.__version__) < Version("1.15")
    cut = [] if mapped else [whole[:-1]]
    for data in (*cut, whole[:100], whole[:10], b"", b"IxXX" + whole[4:], b"\xff" * 200):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"cannot read it \(written by FAISS 9.9.9, .*; copy or build") as raised:
            Searcher(tmp_path, manifest(spec))
        assert "\n" not in str(raised.value)


def test_vectors_for_rescoring_that_do_not_fit_are_refused(opened, tmp_path):
    """Guards against vectors of another index, or none, that the best are scored again with."""
    opened("flat+refine")
    path = tmp_path / "vectors.npy"
    whole = path.read_bytes()
    write_rows(tmp_path, [np.ones((10, 32))], None, (10, 32), "float16")
    with pytest.raises(InputError, match=r"vectors.npy: holds float16 of shape \(10, 32\), expected float16 of \(2000"):
        Searcher(tmp_path, manifest("flat+refine"))
    for data in (whole[:-2], whole[:20], b""):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"vectors\.npy: cannot be read"):
            Searcher(tmp_path, manifest("flat+refine"))
    path.unlink()
    with pytest.raises(InputError, match=r"vectors\.npy: cannot be read"):
        Searcher(tmp_path, manifest("flat+refine"))
