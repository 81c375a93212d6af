"""Building: every spec, from vectors and from texts; what is there already, and what cannot be built."""

import shutil

import faiss
import numpy as np
import pytest

from optical_mteb.errors import InputError
from optical_mteb.index import FaissIndex
from optical_mteb.index.build import build_from_vectors
from optical_mteb.index.changes import add_documents, remove_documents
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.faiss_file import make_room
from optical_mteb.index.verify import verify
from tests.index.conftest import contents, sentence, share_found
from tests.index.processes import StubEncoder, index_texts, settings, stub_encoder

TEXTS = [sentence(number) for number in range(350)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("spec", "recall"),
    [
        ("flat", 1.0),
        ("flat+refine", 1.0),
        ("hnsw16", 0.99),
        ("hnsw16+refine", 0.99),
        ("hnsw16,sq8", 0.96),
        ("hnsw16,sq8+refine", 0.99),
        ("ivf16", 0.99),
        ("ivf16+refine", 0.99),
        ("ivf16,sq8", 0.96),
        ("ivf16,sq8+refine", 0.99),
        ("ivf16,pq8", 0.5),
        ("ivf16,pq8+refine", 0.99),
        ("ivf16,pq16x4+refine", 0.99),
    ],
)
def test_every_spec_reaches_its_recall(build, collection, spec, recall):
    """Guards against a spec that cannot be built, falls short of its recall, or has another one on record."""
    index, said = build(spec)
    manifest = index.manifest
    assert share_found(index, collection) >= recall - 1e-9
    assert manifest.tuning.recall == pytest.approx(share_found(index, collection), abs=1e-3)
    assert (manifest.spec, manifest.count, manifest.width, manifest.model) == (spec, 2000, 32, None)
    assert manifest.versions["faiss"] == faiss.__version__
    assert {file.name for file in index.folder.iterdir()} == {"manifest.json", *manifest.files}
    assert ("vectors.npy" in manifest.files) == ("refine" in spec)
    assert any("+refine finds more" in line for line in said) == (recall < 0.99)
    # Nothing is left beside it.
    assert [path.name for path in index.folder.parent.iterdir() if path != index.folder and path.name != "home"] == []


@pytest.mark.long
@pytest.mark.parametrize("spec", ["flat", "hnsw16,sq8", "ivf16", "ivf16,pq8+refine", "ivf16,pq16x4+refine"])
def test_a_build_is_the_same_every_time(build, tmp_path, spec):
    """Guards against an index that depends on chance beyond its seed."""
    build(spec, tmp_path / "a")
    build(spec, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_auto_keeps_to_the_memory_and_says_so(build, collection):
    """Guards against a budget that counts for nothing, and an ill-proportioned index that nobody is warned of."""
    index, said = build("auto", memory=150_000)
    assert said[0].startswith("auto: ivf32,pq16x4+refine, as 2,000 documents of 32 components fit 0.15 MB with 8 bytes")
    assert index.manifest.chosen == said[0]
    assert index.size < 150_000
    assert share_found(index, collection) >= 0.99
    # An explicit one that has few documents for its lists is built all the same.
    _, said = build("ivf128", index.folder.with_name("other"))
    assert said[0] == "index spec ivf128: 2,000 documents are few for it (4,992 would be enough); auto may do better"


def test_a_complete_index_is_not_built_again(build, monkeypatch):
    """Guards against hours of work for nothing."""
    build("hnsw8")
    monkeypatch.setattr("optical_mteb.index.build.ShardStore", None)
    index, said = build("hnsw8")
    assert said == [f"{index.folder}: is complete already: hnsw8, 2,000 documents"]
    assert build("auto")[1] == said


def test_an_index_of_something_else_is_not_overwritten(build, tmp_path, collection):
    """Guards against an index that is lost, or taken for the one that was asked for."""
    index, _ = build("hnsw8")
    for change, what in (
        ({"spec": "flat"}, "spec"),
        ({"recall": 0.9}, "recall"),
        ({"depth": 20}, "recall"),
        ({"seed": 1}, "seed"),
    ):
        with pytest.raises(InputError, match=rf"holds another index already, hnsw8 .*\(it differs in {what}\)"):
            build(**{"spec": "hnsw8"} | change)
    remove_documents(index.folder, ["d7"])
    with pytest.raises(InputError, match="it differs in later changes"):
        build("hnsw8")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="exists and is not an index; choose another folder"):
        build("flat", other)
    assert (other / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir() if ".lock" in path.name or path.suffix == ".build"] == []


def test_a_damaged_index_is_not_built_over(build):
    """Guards against advice that leads in a circle: to build again what then says that it is damaged."""
    index, _ = build("flat")
    (index.folder / "index.faiss").unlink()
    with pytest.raises(InputError, match=r"index.faiss: is not there.*to build it here, remove .* first"):
        build("flat")
    shutil.rmtree(index.folder)
    build("flat")


@pytest.fixture
def build_stub(tmp_path):
    """Builds over texts by the stub encoder; returns the index's manifest, the encoder and what was said."""

    def built(documents, folder="index", spec="flat", record=None, queries=(), **more):
        said, encoder = [], stub_encoder(**(record or {}))
        manifest = index_texts(tmp_path / folder, documents, spec, encoder, queries=queries, say=said.append, **more)
        return manifest, encoder, said

    return built


def test_parameters_are_tuned_on_queries_where_there_are_some(build_stub):
    """Guards against queries of the user that count for nothing, and a sample that is not on record."""
    tuning = build_stub(TEXTS, queries=[*TEXTS[:7], " "], spec="ivf4")[0].tuning
    assert (tuning.queries, tuning.sample) == (7, "queries")
    tuning = build_stub(TEXTS, "other", spec="ivf4")[0].tuning
    assert (tuning.queries, tuning.sample) == (350, "beginnings of documents")


def test_queries_without_a_direction_are_left_out(build_stub):
    """Guards against a recall of nothing, where the model knows no word of a query."""
    tuning = build_stub(TEXTS, queries=["not a number", TEXTS[3]], spec="ivf4")[0].tuning
    assert (tuning.queries, tuning.recall > 0.9) == (1, True)
    tuning = build_stub(TEXTS, "other", queries=["not a number"], spec="hnsw8")[0].tuning
    assert (tuning.queries, tuning.sample, tuning.recall) == (350, "documents", pytest.approx(1, abs=0.02))


def test_another_model_or_prompt_needs_another_folder(build_stub):
    """Guards against an index of one model or prompt that passes for that of another; names alone do not matter."""
    build_stub(TEXTS)
    for record in ({"revision": "2" * 40}, {"document_prompt": "d: "}, {"query_prompt": "q: "}, {"max_tokens": 9}):
        with pytest.raises(
            InputError, match=r"by stub, for recall 0.99 \(it differs in model or prompts\); choose another"
        ):
            build_stub(TEXTS, record=record)
    with pytest.raises(InputError, match="it differs in documents"):
        build_stub(TEXTS[:9])
    with pytest.raises(InputError, match="it differs in keeping texts"):
        build_stub(TEXTS, texts=False)
    _, encoder, said = build_stub(TEXTS, record={"name": "other/name"})
    assert encoder.encoded == []
    assert "is complete already" in said[0]


def test_documents_that_are_not_read_to_the_end_are_counted(build_stub):
    """Guards against text that is silently not searched."""
    manifest, _, said = build_stub(["one", "two " * 9, "three " * 8])
    assert manifest.corpus.truncated == 1
    assert said[0] == (
        "1 of 3 documents are longer than the 8 tokens that the model reads; what follows is not searched"
    )


@pytest.mark.long
@pytest.mark.parametrize("spec", ["flat", "hnsw8+refine", "ivf4,pq8"])
def test_documents_without_a_vector_are_left_out_and_counted(tmp_path, collection, spec):
    """Guards against one zero or NaN vector that ends a build of hours, or spoils rankings or the tuning."""
    vectors = collection.vectors[:1200].copy()
    bare = [0, 7, *range(512, 1024)]
    vectors[bare] = 0
    vectors[7] = np.nan
    ids, said, folder = collection.ids[:1200], [], tmp_path / "index"
    arguments = (folder, ids, vectors)
    manifest = build_from_vectors(*arguments, settings=settings(spec), queries=collection.queries, say=said.append)
    assert said[0] == (
        "left out 514 of 1,200 documents, the first 'd0': their vectors are zero or not finite, as of an empty text"
    )
    assert (manifest.count, manifest.removed, manifest.corpus.left_out) == (1200, 514, 514)
    index, kept = FaissIndex.open(folder), np.setdiff1d(np.arange(1200), bare)
    assert all(check.passed for check in verify(folder) if check.name != "self-retrieval" or "pq" not in spec)
    assert share_found(index, collection, among=kept) == pytest.approx(manifest.tuning.recall, abs=1e-3)
    assert {place for ranking in index.search(collection.queries, 1200) for place in ranking.positions} == set(kept)
    build_from_vectors(*arguments, settings=settings(spec), say=said.append)
    assert said[-1].startswith(f"{folder}: is complete already")
    with pytest.raises(InputError, match="vectors: no document has a vector that is finite and not zero"):
        build_from_vectors(tmp_path / "none", ids[:2], np.zeros((2, 4)), settings=settings("flat"))


def test_added_documents_without_a_vector_are_left_out(build_stub, tmp_path):
    """Guards against one document that has all others of a change refused, and against one that can be found."""
    manifest, _, said = build_stub([*TEXTS[:2], "not a number", *TEXTS[3:]])
    assert (manifest.removed, said[1].partition(":")[0]) == (1, "left out 1 of 350 documents, the first 'd2'")
    folder, said = tmp_path / "index", []
    corpus = Corpus.of(["a", "b", "d2"], ["one", "not a number 2", TEXTS[2]])
    manifest = add_documents(folder, corpus, encoder=stub_encoder(), say=said.append)
    assert (manifest.count, manifest.removed, said[-1].partition(":")[0]) == (
        *(353, 2),
        "left out 1 of 3 documents, the first 'b'",
    )
    index = FaissIndex.open(folder, encoder=stub_encoder())
    assert (len(index), index.search([TEXTS[2]], 1)[0].ids) == (351, ["d2"])
    with pytest.raises(InputError, match="has no document 'b'"):
        remove_documents(folder, ["b"])


@pytest.mark.parametrize(
    ("spec", "more", "expected"),
    [
        ("hnsw", {}, "index spec 'hnsw': expected auto"),
        ("ivf512", {}, "needs 512 documents at least, found 350"),
        ("ivf4,pq7", {}, "32 components cannot be divided into 7 parts; use pq8"),
        ("flat", {"recall": 1.2}, "recall 1.2: expected a share"),
        ("flat", {"recall": float("nan")}, "recall nan: expected a share"),
    ],
)
def test_what_cannot_be_built_is_said_before_anything_is_encoded(
    build_stub, tmp_path, monkeypatch, spec, more, expected
):
    """Guards against hours of encoding before the spec is looked at."""
    monkeypatch.setattr(StubEncoder, "documents", None)
    with pytest.raises(InputError, match=expected):
        build_stub(TEXTS, spec=spec, **more)
    assert not (tmp_path / "index.build").exists()


@pytest.mark.parametrize(
    ("ids", "vectors", "queries", "expected"),
    [
        (["a", "b"], np.eye(3), None, r"expected 2 vectors as one array of rows, found the shape \(3, 3\)"),
        (["a", "b", "a"], np.eye(3), None, "document id 'a' appears twice"),
        ([], np.empty((0, 3)), None, "found 0"),
        (["a", "b", "c"], np.eye(3), np.eye(2), r"expected query vectors of shape \(n, 3\), at least one, found \(2, 2\)"),
        (["a", "b", "c"], np.eye(3), np.empty((0, 3)), "at least one"),
        (["a", "b", "c"], np.eye(3), np.zeros((1, 3)), "query 1: its vector is not finite, or zero"),
    ],
)  # fmt: skip
def test_vectors_that_are_no_collection(tmp_path, ids, vectors, queries, expected):
    """Guards against an assertion of FAISS for a mistake of the caller."""
    with pytest.raises(InputError, match=expected):
        build_from_vectors(tmp_path / "index", ids, vectors, settings=settings("flat"), queries=queries)
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("rows", [slice(None), slice(100, 1_000), slice(None, None, 2)])
def test_vectors_in_a_memory_map_are_those_of_the_array(collection, tmp_path, rows):
    """Guards against rows that are looked up from the wrong place of the file."""
    np.save(tmp_path / "vectors.npy", collection.vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")[rows]
    ids, how = collection.ids[rows], {"settings": settings("flat"), "queries": collection.queries, "say": str}
    of_array = build_from_vectors(tmp_path / "array", ids, collection.vectors[rows], **how)
    assert build_from_vectors(tmp_path / "map", ids, mapped, **how) == of_array


@pytest.mark.parametrize("spec", ["flat", "hnsw16", "hnsw16,sq8"])
def test_memory_is_taken_once(build, monkeypatch, spec):
    """Guards against an index that is copied as it grows, and is in memory twice."""
    seen = []

    def place(index):
        codes = faiss.downcast_index(index.storage if spec != "flat" else index).codes
        return [int(vector.data()) for vector in (codes, *([index.hnsw.neighbors] if spec != "flat" else []))]

    def noted(index, *arguments):
        make_room(index, *arguments)
        seen.append((index, place(index)))

    monkeypatch.setattr("optical_mteb.index.assembly.make_room", noted)
    build(spec)
    ((index, before),) = seen
    assert index.ntotal == 2000
    assert place(index) == before
