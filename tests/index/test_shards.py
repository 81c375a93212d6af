"""Shards: whole or not there, checked against damage, never those of other documents."""

import json

import numpy as np
import pytest

from optical_mteb.errors import InputError
from optical_mteb.index.shards import ShardKey, ShardStore
from tests.index.conftest import flip, write_shards


def key(**changed):
    return ShardKey(**{"fingerprint": "f", "count": 10, "shard_size": 4, "texts": False} | changed)


def filled(folder, collection, numbers=None, **more):
    return write_shards(folder / "shards", collection.vectors[:10], 4, numbers, **more)


def test_shards_hold_what_was_written(tmp_path, collection):
    """Guards against rows, ids or counts that end up in another shard, and a last shard of full size."""
    store = filled(tmp_path, collection)
    assert [store.bounds(number) for number in range(len(store))] == [(0, 4), (4, 8), (8, 10)]
    assert np.concatenate([store.rows(number).vectors for number in range(3)]) == pytest.approx(collection.vectors[:10])
    ids = [key for number in range(3) for key in store.documents(number)["id"].to_pylist()]
    assert ids == collection.ids[:10]
    assert store.truncated() == 0 + 1 + 2
    places = np.array([9, 0, 5, 5, 3])
    assert store.summaries(places) == pytest.approx(collection.vectors[places])
    assert store.at(places).vectors == pytest.approx(collection.vectors[places])
    assert (store.at(places).vectors.dtype, store.summaries(places, np.float16).dtype) == (np.float32, np.float16)


def test_an_unfinished_shard_is_missing(tmp_path, collection):
    """Guards against a shard that counts as whole before its manifest is there, or with a file cut short."""
    store = filled(tmp_path, collection, numbers=(0, 2))
    assert store.missing() == [1]
    shards = tmp_path / "shards"
    (shards / "000000" / "manifest.json").unlink()
    with (shards / "000002" / "vectors.npy").open("r+b") as file:
        file.truncate(100)
    assert store.missing() == [0, 1, 2]
    with pytest.raises(InputError, match="000002: is missing or not whole; repeat the command"):
        store.rows(2)
    # What a killed process was writing goes when the shards are opened again.
    (shards / ".000001").mkdir()
    assert ShardStore(shards, key()).missing() == [0, 1, 2]
    assert not (shards / ".000001").exists()


@pytest.mark.parametrize("name", ["vectors.npy", "documents.arrow", "lengths.npy"])
def test_an_edited_shard_is_not_indexed(tmp_path, collection, name):
    """Guards against one flipped bit that ends up in the index."""
    store = filled(tmp_path, collection, tokens=True)
    flip(tmp_path / "shards" / "000001" / name, -20)
    with pytest.raises(InputError, match=f"{name}: has changed since it was written; remove .*000001 and repeat"):
        store.documents(1) if name == "documents.arrow" else store.rows(1)


@pytest.mark.parametrize(
    "changed",
    [{"fingerprint": "g"}, {"revision": "2"}, {"document_prompt": "d: "}, {"max_tokens": 9}, {"texts": True}],
)
def test_shards_of_something_else_are_refused(tmp_path, collection, changed):
    """Guards against documents of one corpus, model or prompt that are indexed with those of another."""
    filled(tmp_path, collection)
    (field,) = changed
    with pytest.raises(InputError, match=f"other documents or by another model \\({field} "):
        ShardStore(tmp_path / "shards", key(**changed))
    assert ShardStore(tmp_path / "shards", key()).missing() == []


def test_a_broken_key_is_refused(tmp_path, collection):
    """Guards against shards of nobody knows what that are gone on with."""
    filled(tmp_path, collection)
    path = tmp_path / "shards" / "key.json"
    path.write_text(json.dumps({"format": 2}))
    with pytest.raises(InputError, match=r"key.json: is not valid; remove"):
        ShardStore(tmp_path / "shards", key())
