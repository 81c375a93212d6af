"""Builds that are killed anywhere, or run out of disk."""

import errno
import os
import resource
from pathlib import Path

import faiss
import pytest

from optical_mteb.errors import InputError
from optical_mteb.index import FaissIndex, IndexManifest
from optical_mteb.index.build import build_from_vectors
from optical_mteb.index.shards import ShardStore
from tests.index.conftest import contents, sentence, share_found
from tests.index.processes import (
    build_texts,
    build_vectors,
    in_process,
    index_texts,
    killed_at,
    settings,
    stub_encoder,
    stub_token_encoder,
)

pytestmark = pytest.mark.slow

KILLED = -9
SPEC = "ivf16,sq8+refine"
TEXTS = [sentence(number) for number in range(350)]


@pytest.mark.parametrize(
    ("late", "step", "number", "shards"),
    [
        (False, "build:ShardStore.write", 3, 2),  # between shards
        (False, "shards:FileRecord.of", 3, 1),  # a shard's files are written, its manifest is not
        (False, "assembly:train", 1, 4),
        (False, "assembly:write_index", 2, 4),  # a shard was added, nothing saved yet
        (False, "assembly:write_index", 3, 4),
        (False, "assembly:write_documents", 1, 4),  # the FAISS file is written
        (False, "assembly:tune", 1, 4),
        (False, "assembly:IndexManifest.write", 1, 4),
        (False, ".storage:take_place", 2, 4),  # all is written, nothing in its place
        (True, "build:ShardStore.write", 3, 2),
        (True, "assembly:write_index", 3, 4),
        (True, "assembly:write_rows", 1, 4),
    ],
)
def test_a_killed_build_goes_on(tmp_path, late, step, number, shards):
    """Guards against documents that are encoded twice, and an index that differs from one that was built without a break."""
    whole, folder, said, encoder = (
        tmp_path / "whole",
        tmp_path / "index",
        [],
        (stub_token_encoder if late else stub_encoder)(),
    )
    assert in_process(killed_at, step, number, build_texts, folder, TEXTS, SPEC, late) == KILLED
    assert not folder.exists()
    assert len(list((tmp_path / "index.build").glob("shards/0*/manifest.json"))) == shards
    index_texts(folder, TEXTS, SPEC, encoder, shard_size=100, say=said.append)
    assert encoder.encoded == TEXTS[100 * shards :]
    assert (said[0] == f"continues: {shards} of 4 shards are encoded already") == (shards < 4)
    index_texts(whole, TEXTS, SPEC, encoder, shard_size=100)
    assert contents(folder) == contents(whole)
    assert not (tmp_path / "index.build").exists()


@pytest.fixture
def arguments(collection):
    """What `build_vectors` builds from."""
    return collection.ids, collection.vectors, collection.queries


@pytest.fixture
def killed(tmp_path, arguments):
    """The folder of an index whose build was killed at a step, `assembly:write_documents` by default."""

    def folder(spec, step="assembly:write_documents", number=1, save_every=600.0):
        place = tmp_path / "index"
        assert in_process(killed_at, step, number, build_vectors, place, spec, *arguments, save_every) == KILLED
        return place

    return folder


def test_a_graph_goes_on_where_it_was_saved(killed, collection, arguments):
    """Guards against documents that stand in a graph twice, or not at all."""
    folder = killed("hnsw16", "assembly:write_index", 4, save_every=-1.0)
    (saved,) = folder.with_name("index.build").glob("*.faiss")
    assert faiss.read_index(str(saved)).ntotal == 2 * 512
    build_vectors(folder, "hnsw16", *arguments)
    index = FaissIndex.open(folder)
    assert share_found(index, collection) >= 0.98
    assert [each.ids for each in index.search(collection.vectors[::50], 1)] == [[key] for key in collection.ids[::50]]


def test_a_damaged_intermediate_index_is_made_again(killed, tmp_path, collection, arguments):
    """Guards against a build that can never end, because what it would go on from was cut short."""
    folder, whole, said = killed(SPEC, save_every=-1.0), tmp_path / "whole", []
    (saved,) = (tmp_path / "index.build").glob("*.faiss")
    os.truncate(saved, saved.stat().st_size - 1)
    build_from_vectors(folder, *arguments[:2], settings=settings(SPEC), queries=collection.queries, say=said.append)
    assert said[0] == "ivf16,sq8-0.faiss: is not whole; trains and adds again"
    build_vectors(whole, SPEC, *arguments)
    assert contents(folder) == contents(whole)


def test_what_is_finished_is_of_use_for_the_same_documents(killed, collection, arguments, monkeypatch):
    """Guards against an index of two corpora, a second encoding, and an intermediate index of another spec gone on with."""
    folder = killed("flat")
    with pytest.raises(InputError, match=r"index.build: is a build of other documents .* repeat the command"):
        build_vectors(folder, "flat", collection.ids, collection.vectors[::-1], collection.queries)
    monkeypatch.setattr(ShardStore, "write", None)
    build_vectors(folder, SPEC, *arguments)
    manifest = IndexManifest.read(folder)
    assert (manifest.spec, manifest.count) == (SPEC, 2000)


@pytest.mark.parametrize(
    ("spec", "size", "where", "shards"),
    [
        ("flat", 100, "index.build/shards/key.json", 0),
        ("flat", 20_000, "index.build/shards/000000", 0),
        ("flat", 100_000, "index", 4),  # the FAISS file
        ("flat", 256_044, "index", 4),  # but its last byte
        ("ivf4,pq8+refine", 100_000, "index", 4),  # the vectors
    ],
)
def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path, collection, largest_file, monkeypatch, spec, size, where, shards
):
    """Guards against a traceback, half an index, and finished shards that are made again once there is room."""
    folder = tmp_path / "index"
    arguments = (spec, collection.ids, collection.vectors, collection.queries)
    largest_file(size)
    with pytest.raises(InputError) as raised:
        build_vectors(folder, *arguments)
    largest_file(resource.RLIM_INFINITY)
    if where.endswith("key.json"):
        assert str(raised.value).startswith(f"{tmp_path / where}: cannot write there (")
    else:
        assert str(raised.value).startswith(f"{tmp_path / where}: cannot be written (")
        assert str(raised.value).endswith("make room there, then run the same command again: what is finished is kept")
    assert "\n" not in str(raised.value)
    assert not folder.exists()
    assert len(list((tmp_path / "index.build").glob("shards/0*"))) == shards
    if shards:
        monkeypatch.setattr(ShardStore, "write", None)
    build_vectors(folder, *arguments)
    assert FaissIndex.open(folder).search(collection.vectors[:1], 1)[0].ids == ["d0"]
    assert not (tmp_path / "index.build").exists()


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path, collection, monkeypatch):
    """Guards against advice to make room where a permission is missing."""

    def refused(*arguments, **keywords):
        raise PermissionError(errno.EROFS, "Read-only file system", str(tmp_path / "index.build"))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(InputError, match=r"index.build: cannot be written \(Read-only .*fix its permissions"):
        build_vectors(tmp_path / "index", "flat", collection.ids, collection.vectors, collection.queries)
