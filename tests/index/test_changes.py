"""Adding and removing: as if the index had been built so, and never half of it."""

import numpy as np
import pytest

from optical_mteb.errors import InputError
from optical_mteb.index import FaissIndex, IndexManifest, faiss_index, manifest
from optical_mteb.index.build import build_from_vectors
from optical_mteb.index.changes import add_documents, add_vectors, remove_documents
from optical_mteb.index.corpus import Corpus
from tests.index.conftest import contents, sentence, share_found
from tests.index.processes import in_process, index_texts, killed_at, settings, stub_encoder

SPECS = ["flat", "flat+refine", "hnsw16", "ivf16", "ivf16,sq8", "ivf16,pq8+refine", "ivf16,pq16x4+refine"]
TEXTS = [sentence(number) for number in range(300)]


@pytest.fixture
def half(tmp_path, collection):
    """Builds an index of the first 1,500 documents."""

    def built(spec):
        folder, (ids, vectors) = tmp_path / "index", (collection.ids[:1500], collection.vectors[:1500])
        build_from_vectors(folder, ids, vectors, settings=settings(spec), say=str)
        return folder

    return built


@pytest.mark.parametrize("spec", SPECS)
def test_added_documents_are_found(half, collection, spec):
    """Guards against added documents under the ids of others, or without the vectors that they are scored again with."""
    folder = half(spec)
    manifest = add_vectors(folder, collection.ids[1500:], 3 * collection.vectors[1500:])
    assert (manifest.count, manifest.corpus.count) == (2000, 1500)
    index = FaissIndex.open(folder)
    assert len(index) == 2000
    assert index.documents.ids(np.arange(2000)) == collection.ids
    assert share_found(index, collection) >= (1.0 if spec.startswith("flat") else 0.95)
    assert [path.name for path in folder.parent.iterdir() if path.name not in ("index", "home")] == []


@pytest.mark.long
@pytest.mark.parametrize("spec", SPECS)
def test_removed_documents_are_not_found(half, collection, spec):
    """Guards against a removed document in a ranking, with a graph that cannot remove, too; and one that cannot come back."""
    folder = half(spec)
    gone = np.unique(collection.best(3, among=np.arange(1500)))
    manifest = remove_documents(folder, [collection.ids[place] for place in gone])
    assert (manifest.count, manifest.removed) == (1500, len(gone))
    left = np.setdiff1d(np.arange(1500), gone)
    assert len(FaissIndex.open(folder)) == len(left)
    assert share_found(FaissIndex.open(folder), collection, among=left) >= (1.0 if spec.startswith("flat") else 0.95)
    back = gone[:5]
    manifest = add_vectors(folder, [collection.ids[place] for place in back], collection.vectors[back])
    assert (manifest.count, manifest.removed) == (1505, len(gone))
    rankings = FaissIndex.open(folder).search(collection.vectors[back], 1)
    assert [ranking.ids for ranking in rankings] == [[collection.ids[place]] for place in back]
    assert [ranking.positions.tolist() for ranking in rankings] == [[1500 + row] for row in range(5)]
    remove_documents(folder, [collection.ids[back[0]]])
    assert collection.ids[back[0]] not in FaissIndex.open(folder).search(collection.vectors[back[:1]], 9)[0].ids


def test_exact_search_after_changes_is_that_of_an_index_built_so(half, collection, tmp_path):
    """Guards against scores that depend on how a document came into the index."""
    folder = half("flat")
    add_vectors(folder, collection.ids[1500:], collection.vectors[1500:])
    build_from_vectors(tmp_path / "whole", collection.ids, collection.vectors, settings=settings("flat"), say=str)
    changed, whole = (FaissIndex.open(path).search(collection.queries, 20) for path in (folder, tmp_path / "whole"))
    for one, other in zip(changed, whole, strict=True):
        assert one.ids == other.ids
        assert (one.scores == other.scores).all()


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda folder, own: add_vectors(folder, ["new", "d7"], own[:2]), "has a document 'd7' already; remove it first"),
        (lambda folder, own: add_vectors(folder, ["new", "new"], own[:2]), "document id 'new' appears twice"),
        (lambda folder, own: add_vectors(folder, [], own[:0]), "there is no document"),
        (lambda folder, own: add_vectors(folder, ["new"], own[:1, :9]), r"expected vectors of shape \(1, 32\), found \(1, 9\)"),
        (lambda folder, own: add_vectors(folder, ["new"], own[0]), r"expected vectors of shape \(1, 32\), found \(32,\)"),
        (lambda folder, own: add_vectors(folder, ["new"], own[:1] * np.nan), "document 'new': its vector is not finite"),
        (lambda folder, own: add_documents(folder, Corpus.of(["new"], ["text"])), "was built from vectors, not by a model"),
        (lambda folder, own: remove_documents(folder, ["d7", "nowhere"]), "has no document 'nowhere'; nothing was removed"),
    ],
)  # fmt: skip
def test_changes_that_cannot_be_made_change_nothing(half, collection, change, expected):
    """Guards against half a change, and anything left that the next change would stumble over."""
    folder = half("hnsw8")
    before = contents(folder)
    with pytest.raises(InputError, match=expected):
        change(folder, collection.vectors)
    assert contents(folder) == before
    assert add_vectors(folder, ["other"], collection.vectors[:1]).count == 1501
    assert not folder.with_name("index.build").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    "step",
    ["changes:write_index", "changes:write_rows", "changes:IndexManifest.write"],
)
def test_a_killed_change_leaves_the_index_as_it_was(half, collection, step):
    """Guards against an index of which a killed process had written one file."""
    folder = half("ivf16,sq8+refine")
    before = contents(folder)
    new = (collection.ids[1500:], collection.vectors[1500:])
    assert in_process(killed_at, step, 1, add_vectors, folder, *new) == -9
    assert contents(folder) == before
    assert in_process(killed_at, "changes:IndexManifest.write", 1, remove_documents, folder, ["d7"]) == -9
    assert contents(folder) == before
    assert add_vectors(folder, *new).count == 2000
    assert remove_documents(folder, ["d7"]).removed == 1
    assert not folder.with_name("index.build").exists()


def test_a_reader_sees_the_version_before_or_after_a_change(half, collection, monkeypatch):
    """Guards against an opening that fails, or mixes two versions, while another process changes the index."""
    folder = half("flat+refine")
    steps = [(IndexManifest, "check_files"), (faiss_index, "Documents"), (faiss_index, "Searcher")]
    for number, (place, step) in enumerate(steps):
        original, pending = getattr(place, step), [f"d{number}"]

        def change_first(*args, original=original, pending=pending, **kwargs):
            if pending:
                remove_documents(folder, [pending.pop()])
            return original(*args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(place, step, change_first)
            assert len(FaissIndex.open(folder)) == 1500 - number - 1
    monkeypatch.setattr(manifest, "ATTEMPTS", 3)
    ids = iter(collection.ids[10:])
    with pytest.raises(InputError, match="other processes change it all the time; open it when they are done"):
        manifest.read_unchanged(folder, lambda _: remove_documents(folder, [next(ids)]))


@pytest.fixture
def texts_index(tmp_path):
    """An index of the first 200 texts, by the stub encoder."""
    index_texts(tmp_path / "index", TEXTS[:200], "ivf4")
    return tmp_path / "index"


def test_texts_are_added_by_the_model_of_the_index(texts_index):
    """Guards against added texts that are not encoded, not kept, or read only in part without a word."""
    said = []
    corpus = Corpus.of([f"d{number}" for number in range(200, 300)], TEXTS[200:])
    encoder = stub_encoder()
    manifest = add_documents(texts_index, corpus, encoder=encoder, say=said.append)
    assert manifest.count == 300
    assert encoder.encoded == TEXTS[200:]
    longer = sum(len(text.split()) > 8 for text in TEXTS[200:])
    assert said[0].startswith(f"{longer} of 100 documents are longer than the 8 tokens that the model reads")
    index = FaissIndex.open(texts_index, encoder=encoder)
    (ranking,) = index.search([TEXTS[250]], 1)
    assert (ranking.ids, index.documents.texts(ranking.positions)) == (["d250"], [TEXTS[250]])


def test_vectors_are_not_added_to_texts(texts_index):
    """Guards against an index of two models; that its own is of another revision, opening finds."""
    with pytest.raises(InputError, match="was built by stub; add documents with their texts"):
        add_vectors(texts_index, ["new"], np.ones((1, 32)))
    assert FaissIndex.open(texts_index).manifest.count == 200
