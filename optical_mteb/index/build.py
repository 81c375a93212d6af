"""From documents to an index, in steps that a killed process goes on from.

Documents are encoded into shards, a sample of them trains the index, the shards are added, and what is written is tuned.
Memory holds the index and one shard.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.assembly import BuildSettings, Say, assemble
from optical_mteb.index.build_folder import building
from optical_mteb.index.corpus import Corpus, record_of_vectors
from optical_mteb.index.documents import IDS, Documents
from optical_mteb.index.manifest import DOCUMENTS_FILE, MANIFEST, CorpusRecord, IndexManifest, ModelRecord
from optical_mteb.index.rows import ONE_ROW, Metric, Rows, Vectors, comparable, comparable_queries, unit_or_zero
from optical_mteb.index.shards import ShardKey, ShardStore
from optical_mteb.index.spec import AUTO
from optical_mteb.progress import progress_line
from optical_mteb.storage import expanded

if TYPE_CHECKING:
    from optical_mteb.index.encoder import Encoder
    from optical_mteb.index.encoding import EncodedTexts

SAMPLE, LATE_SAMPLE = 500, 100
"""Queries that search parameters are tuned on: of one row each, or of many."""

QUERY_CHARACTERS = 80
"""Characters of a document that stand for a query where there are no queries."""

Fill = Callable[[ShardStore, Corpus, "Encoder", Say], None]
"""Encodes the documents of the shards that are missing."""


def build_index(
    folder: Path,
    corpus: Corpus,
    encoder: Encoder,
    *,
    settings: BuildSettings | None = None,
    queries: Sequence[str] = (),
    fill: Fill | None = None,
    say: Say = print,
) -> IndexManifest:
    """Build an index, or go on with a build that was interrupted.

    Args:
        folder: Where the index is put once it is whole; beside it, `NAME.build` holds what is finished until then.
        corpus: The documents.
        encoder: The model; by one of late interaction, each token of a document has a row.
        settings: How to build it.
        queries: To tune on; the corpus's own by default, else the beginnings of its documents.
        fill: Encodes the shards; `fill_shards`, in this process, by default.
        say: Takes the lines that report progress.

    Raises:
        InputError: The folder holds something else, another process builds into it, the index cannot be built over so
            few documents, none of them has a vector that is finite and not zero, or there is no room on the disk; what is
            finished is kept.
    """
    settings = settings or BuildSettings()
    if encoder.late:
        settings = settings.for_late_interaction()
    settings.check(len(corpus), encoder.width)
    if corpus.task is not None:
        encoder = encoder.for_task(corpus.task)
    if encoder.model.similarity_fn_name == "dot":
        say(f"{encoder.record.name}: was made for the dot product; the index compares directions alone")

    def encode(store: ShardStore) -> None:
        (fill or fill_shards)(store, corpus, encoder, say)

    def sample() -> tuple[Rows, str] | None:
        asked, where = _sample(corpus, queries, settings.seed, LATE_SAMPLE if encoder.late else SAMPLE)
        rows = encoder.queries(asked).without_incomparable()
        # A text without a known word may have no direction.
        rows = rows.at(np.flatnonzero(rows.lengths))
        rows.check_unit(range(1, len(rows) + 1), kind="query", model=encoder.record.name)
        return (rows, where) if len(rows) else None

    return _built(folder, corpus.record, encoder.record, settings, encode, sample, encoder.metric, say)


def build_from_vectors(
    folder: Path,
    ids: Sequence[str],
    vectors: Vectors,
    *,
    settings: BuildSettings | None = None,
    queries: Vectors | None = None,
    say: Say = print,
) -> IndexManifest:
    """Build an index over vectors that are there already; it is searched by vectors.

    Args:
        folder: As for `build_index`.
        ids: Of the documents.
        vectors: Of the documents, [n, width]; may be a memory map; are brought to length 1.
        settings: How to build it; `texts` counts for nothing.
        queries: To tune on, [m, width]; some of the documents by default.
        say: Takes the lines that report progress.

    Raises:
        InputError: As `build_index`.
    """
    settings = replace(settings or BuildSettings(), texts=False)
    if vectors.ndim != 2 or len(vectors) != len(ids):
        raise InputError(f"expected {len(ids):,} vectors as one array of rows, found the shape {vectors.shape}")
    settings.check(len(ids), vectors.shape[1])
    sample = None
    if queries is not None:
        if queries.ndim != 2 or queries.shape[1] != vectors.shape[1] or not len(queries):
            raise InputError(
                f"expected query vectors of shape (n, {vectors.shape[1]}), at least one, found {queries.shape}"
            )
        asked = Rows.single(np.asarray(queries, np.float32))
        sample = (comparable_queries(asked, late=False, model=""), "queries")
    size = settings.shard_size
    source = record_of_vectors(ids, (_rows(vectors, start, start + size) for start in range(0, len(ids), size)))

    def write(store: ShardStore) -> None:
        for number in store.missing():
            start, stop = store.bounds(number)
            rows = unit_or_zero(np.asarray(_rows(vectors, start, stop), np.float32))
            store.write(number, Rows.single(rows), pa.table([ids[start:stop]], schema=IDS))

    return _built(folder, source, None, settings, write, lambda: sample, ONE_ROW, say)


def _built(
    folder: Path,
    source: CorpusRecord,
    model: ModelRecord | None,
    settings: BuildSettings,
    encode: Callable[[ShardStore], None],
    sample: Callable[[], tuple[Rows, str] | None],
    metric: Metric,
    say: Say,
) -> IndexManifest:
    """The index in a folder, built where it is not there: of the shards that `encode` completes.

    It is tuned on what `sample` gives, or on some of the documents where that is nothing.
    """
    folder, late = expanded(folder).absolute(), metric != ONE_ROW
    with building(folder) as site:
        existing = _existing(folder, source, model, settings, say, late=late)
        if existing is not None:
            return existing
        key = ShardKey.of(source, model, shard_size=settings.shard_size, texts=settings.texts, tokens=late)
        store = ShardStore(site / "shards", key)
        encode(store)

        def asked() -> tuple[Rows, str]:
            return sample() or (_own_rows(store, settings.seed), "documents")

        return assemble(site, folder, store, source, model, settings, asked, metric=metric, say=say)


def _rows(vectors: NDArray[np.floating[Any]], start: int, stop: int) -> NDArray[np.floating[Any]]:
    """Some rows of an array; those of a memory map by a map of their own, whose pages are given back with it."""
    if isinstance(vectors, np.memmap) and isinstance(vectors.base, mmap.mmap) and vectors.flags.c_contiguous:
        rows = slice(start, stop).indices(len(vectors))
        shape = (rows[1] - rows[0], vectors.shape[1])
        return np.memmap(vectors.filename, vectors.dtype, "r", vectors.offset + rows[0] * vectors.strides[0], shape)
    return vectors[start:stop]


def fill_shards(store: ShardStore, corpus: Corpus, encoder: Encoder, say: Say) -> None:
    """Encode the documents of the shards that are missing.

    Raises:
        InputError: A shard cannot be written.
    """
    missing = store.missing()
    if not missing:
        return
    finished = len(store) - len(missing)
    if finished:
        say(f"continues: {finished:,} of {len(store):,} shards are encoded already")
    # Of the first documents, whichever are missing: a build that goes on encodes as it began.
    precision = encoder.precision(corpus.texts(0, 64))
    with progress_line("encode", len(corpus), store.bounds(missing[0])[0], unit="documents") as advance:
        for number in missing:
            start, stop = store.bounds(number)
            encoded = encoder.documents(corpus.texts(start, stop), precision)
            advance(write_shard(store, number, corpus, encoder, encoded))


def write_shard(store: ShardStore, number: int, corpus: Corpus, encoder: Encoder, encoded: EncodedTexts) -> int:
    """Write the encoded documents of a shard; how many they are.

    Raises:
        InputError: The vector of a token has another length than 1, or the shard cannot be written.
    """
    documents = corpus.read(*store.bounds(number))
    rows = comparable(encoded.rows, documents["id"].to_pylist(), late=encoder.late, model=encoder.record.name)
    store.write(number, rows, documents, truncated=encoded.truncated)
    return len(documents)


def _existing(
    folder: Path,
    source: CorpusRecord,
    model: ModelRecord | None,
    settings: BuildSettings,
    say: Say,
    *,
    late: bool,
) -> IndexManifest | None:
    """The index that is there already, if it is the one to build."""
    if not (folder / MANIFEST).is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder}: exists and is not an index; choose another folder")
        return None
    try:
        found = IndexManifest.read(folder)
        found.check_files(folder, read_up_to=0)
        texts = Documents(folder / DOCUMENTS_FILE).has_texts
    except InputError as error:
        raise InputError(f"{error} (to build it here, remove {folder} first)") from error
    tuning = found.tuning
    alike = {
        "documents": found.corpus.fingerprint == source.fingerprint,
        "model or prompts": _same_model(found.model, model),
        "what has a vector": late == found.late,
        "spec": settings.spec in (AUTO, found.spec),
        "recall": (tuning.target, tuning.depth)
        == (settings.recall, min(settings.depth, source.count - found.corpus.left_out)),
        "seed": found.seed == settings.seed,
        "keeping texts": texts == settings.texts,
        "later changes": (found.count, found.removed) == (found.corpus.count, found.corpus.left_out),
    }
    other = ", ".join(what for what, same in alike.items() if not same)
    if other:
        by = f" by {found.model.name}" if found.model else ""
        raise InputError(
            f"{folder}: holds another index already, {found.spec} over {found.corpus.source}{by}, for recall "
            f"{tuning.target:g} (it differs in {other}); choose another folder, or remove this one"
        )
    say(f"{folder}: is complete already: {found.spec}, {found.count:,} documents")
    return found


def _same_model(found: ModelRecord | None, model: ModelRecord | None) -> bool:
    """Whether vectors of one are vectors of the other, by whatever name it was loaded."""
    if found is None or model is None:
        return found is model
    return found.model_copy(update={"name": model.name}) == model


def _own_rows(store: ShardStore, seed: int) -> Rows:
    """The rows of some documents, to tune on."""
    positions = np.random.default_rng(seed).permutation(store.key.count)
    kept = positions[~np.isin(positions, store.bare())]
    return store.at(np.sort(kept[: LATE_SAMPLE if store.key.tokens else SAMPLE]))


def _sample(corpus: Corpus, queries: Sequence[str], seed: int, size: int) -> tuple[list[str], str]:
    """Texts to tune on, and where they came from."""
    generator = np.random.default_rng(seed)
    for asked, sample in ((queries, "queries"), (corpus.queries, f"queries of {corpus.source}")):
        texts = [text for text in asked if text.strip()]
        if texts:
            chosen = np.sort(generator.permutation(len(texts))[:size])
            return [texts[index] for index in chosen], sample
    drawn: list[str] = []
    for position in np.sort(generator.permutation(len(corpus))[:size]).tolist():
        drawn += [text[:QUERY_CHARACTERS] for text in corpus.texts(position, position + 1) if text]
    return drawn or ["?"], "beginnings of documents"
