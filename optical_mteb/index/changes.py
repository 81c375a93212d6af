"""Documents put into an index, and taken out of it, without building it again.

New ones go to the end; the centroids and codes stay those that the index was trained to. Those taken out keep their
place, and are passed over in every search: their room is free again once the index is built anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.assembly import Say, add_shards, left_out, vectors_of, versions
from optical_mteb.index.build import fill_shards
from optical_mteb.index.build_folder import building, keep, new_version
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.documents import IDS, write_documents
from optical_mteb.index.faiss_file import read_index, write_index
from optical_mteb.index.faiss_index import FaissIndex
from optical_mteb.index.manifest import (
    DOCUMENTS_FILE,
    FAISS_FILE,
    REMOVED_FILE,
    VECTORS_FILE,
    FileRecord,
    IndexManifest,
)
from optical_mteb.index.rows import Integers, Rows, Vectors, unit
from optical_mteb.index.shards import SHARD_SIZE, ShardKey, ShardStore
from optical_mteb.index.stored_rows import stored_rows, write_rows
from optical_mteb.storage import expanded

if TYPE_CHECKING:
    from optical_mteb.index.encoder import Encoder


def add_documents(
    folder: Path, corpus: Corpus, *, encoder: Encoder | None = None, device: str | None = None, say: Say = print
) -> IndexManifest:
    """Put documents into an index; a process that is killed meanwhile goes on when it is repeated.

    The encoder is loaded to the device by the name on record, if none is given.

    Raises:
        InputError: An id is in the index already, the model is not that of the index, another process builds or
            changes it, or there is no room on the disk; the index stays as it was.
    """
    folder = expanded(folder).absolute()
    with building(folder) as site:
        index = FaissIndex.open(folder, encoder=encoder, device=device)
        model = index.encoder()
        store = _store(site, index, corpus, shard_size=SHARD_SIZE)
        fill_shards(store, corpus, model, say)
        return _append(site, index, store, left_out(store, corpus.source, model.record, say))


def add_vectors(folder: Path, ids: Sequence[str], vectors: Vectors) -> IndexManifest:
    """Put vectors, [n, width], into an index that was built from vectors; they are brought to length 1.

    Raises:
        InputError: As `add_documents`; or the vectors are not finite or of another width.
    """
    folder = expanded(folder).absolute()
    with building(folder) as site:
        index = FaissIndex.open(folder)
        if vectors.shape != (len(ids), index.manifest.width):
            raise InputError(
                f"{folder}: expected vectors of shape {(len(ids), index.manifest.width)}, found {vectors.shape}"
            )
        if index.manifest.model is not None:
            raise InputError(f"{folder}: was built by {index.manifest.model.name}; add documents with their texts")
        rows = unit(np.asarray(vectors, np.float32), ids)
        store = _store(site, index, Corpus.of(ids, [""] * len(ids)), shard_size=max(len(ids), 1))
        store.write(0, Rows.single(rows), pa.table([list(ids)], schema=IDS))
        return _append(site, index, store, store.bare())


def remove_documents(folder: Path, ids: Sequence[str]) -> IndexManifest:
    """Take documents out of an index.

    Raises:
        InputError: An id is not in the index, another process builds or changes it, or there is no room on the disk;
            the index stays as it was.
    """
    folder = expanded(folder).absolute()
    with building(folder) as site:
        index = FaissIndex.open(folder)
        found = _live(index, ids)
        lost = next((key for key in ids if key not in found), None)
        if lost is not None:
            raise InputError(f"{folder}: has no document {lost!r}; nothing was removed")
        removed = np.sort(np.concatenate([index.searcher.removed, np.array(list(found.values()), np.int64)]))
        with new_version(site, folder) as new:
            for name in index.manifest.files:
                if name != REMOVED_FILE:
                    keep(folder / name, new)
            np.save(new / REMOVED_FILE, removed, allow_pickle=False)
            files = index.manifest.files | {REMOVED_FILE: FileRecord.of(new / REMOVED_FILE)}
            manifest = index.manifest.model_copy(update={"removed": len(removed), "files": files})
            manifest.write(new)
    return manifest


def _live(index: FaissIndex, ids: Sequence[str]) -> dict[str, int]:
    """Where documents stand that are not removed; an id that none of them has is not a key."""
    removed = set(index.searcher.removed.tolist())
    places = {
        key: [place for place in found if place not in removed] for key, found in index.documents.positions(ids).items()
    }
    return {key: found[0] for key, found in places.items() if found}


def _store(site: Path, index: FaissIndex, corpus: Corpus, *, shard_size: int) -> ShardStore:
    """A place for the vectors of documents that are none of the index's yet."""
    for start in range(0, len(corpus), SHARD_SIZE):
        there = _live(index, corpus.read(start, start + SHARD_SIZE)["id"].to_pylist())
        if there:
            raise InputError(
                f"{index.folder}: has a document {next(iter(there))!r} already; remove it first, or leave it out"
            )
    late, texts = index.manifest.late, index.documents.has_texts
    key = ShardKey.of(corpus.record, index.manifest.model, shard_size=shard_size, texts=texts, tokens=late)
    return ShardStore(site / "added", key)


def _append(site: Path, index: FaissIndex, store: ShardStore, bare: Integers) -> IndexManifest:
    """Write the index anew, with the documents of the shards at its end, of which some have no vector."""
    folder, manifest = index.folder, index.manifest
    with new_version(site, folder) as new:
        filled = read_index(folder / FAISS_FILE, index.searcher.spec, mapped=False)
        add_shards(filled, store)
        write_index(filled, new / FAISS_FILE)
        del filled
        documents = chain([index.documents.table], map(store.documents, range(len(store))))
        write_documents(new / DOCUMENTS_FILE, store.schema, documents)
        tokens = manifest.tokens
        if VECTORS_FILE in manifest.files:
            old = stored_rows(folder, manifest)
            shape = (len(old.vectors) + store.total, manifest.width)
            lengths = np.concatenate([old.lengths, store.all_lengths()]) if manifest.late else None
            write_rows(new, chain(_in_parts(old), vectors_of(store)), lengths, shape, old.vectors.dtype)
            tokens = shape[0] if manifest.late else None
        removed = np.concatenate([index.searcher.removed, manifest.count + bare])
        if len(removed):
            np.save(new / REMOVED_FILE, removed, allow_pickle=False)
        changed = manifest.model_copy(
            update={
                "count": manifest.count + store.key.count,
                "tokens": tokens,
                "removed": len(removed),
                "files": FileRecord.of_all(new),
                "versions": versions(),
            }
        )
        changed.write(new)
    return changed


def _in_parts(rows: Rows) -> Iterator[NDArray[Any]]:
    return (rows.vectors[start : start + SHARD_SIZE] for start in range(0, len(rows.vectors), SHARD_SIZE))
