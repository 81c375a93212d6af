"""From shards to the files of an index: trained on a sample, filled shard by shard, tuned, and put in its place."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb import __version__
from optical_mteb.errors import InputError
from optical_mteb.index.build_folder import new_version, storing
from optical_mteb.index.choice import choose
from optical_mteb.index.documents import write_documents
from optical_mteb.index.faiss_file import make_room, new_index, read_index, sample_size, train, write_index
from optical_mteb.index.manifest import (
    DOCUMENTS_FILE,
    FAISS_FILE,
    REMOVED_FILE,
    CorpusRecord,
    FileRecord,
    IndexManifest,
    ModelRecord,
    Tuning,
)
from optical_mteb.index.rows import ONE_ROW, Integers, Metric, Rows
from optical_mteb.index.searcher import Searcher
from optical_mteb.index.shards import SHARD_SIZE, ShardStore
from optical_mteb.index.spec import AUTO, IndexSpec
from optical_mteb.index.stored_rows import write_rows
from optical_mteb.index.tuning import tune
from optical_mteb.progress import progress_line

SAVE_EVERY = 600.0
"""Seconds of adding that may be lost when a process is killed."""

Say = Callable[[str], None]
"""Takes the lines that report progress."""

Sample = Callable[[], tuple[Rows, str]]
"""Gives queries to tune on, of one row at least each, and where they came from, in words."""


@dataclass(frozen=True)
class BuildSettings:
    """How an index is built.

    Attributes:
        spec: What `IndexSpec.parse` reads, or `auto`.
        recall: Share of the exact best that searching should find.
        depth: Ranks that the recall counts.
        memory: Bytes that the index may take, for `auto`; half of the machine's by default.
        texts: Whether titles and texts are kept, for snippets.
        shard_size: Documents of a shard.
        seed: Of k-means and samples.
    """

    spec: str = AUTO
    recall: float = 0.99
    depth: int = 100
    memory: int | None = None
    texts: bool = True
    shard_size: int = SHARD_SIZE
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what needs no documents.

        Raises:
            InputError: The spec cannot be read, or the recall is not a share.
        """
        if self.spec != AUTO:
            IndexSpec.parse(self.spec)
        if not 0 < self.recall <= 1:
            raise InputError(f"recall {self.recall:g}: expected a share of more than 0 and 1 at most")

    def check(self, count: int, width: int | None) -> None:
        """Check, before anything is encoded, that an index can be built over `count` documents; `width` may be unknown.

        Raises:
            InputError: The spec needs more documents, or another width.
        """
        if self.spec != AUTO:
            spec = IndexSpec.parse(self.spec)
            spec.check(width or max(spec.codec.parts, 1), count)

    def for_late_interaction(self) -> BuildSettings:
        """The same for documents of many rows, which are scored again with all of them unless each is compared."""
        if self.spec == AUTO or IndexSpec.parse(self.spec).exact:
            return self
        return replace(self, spec=str(replace(IndexSpec.parse(self.spec), refine=True)))


def assemble(
    site: Path,
    folder: Path,
    store: ShardStore,
    corpus: CorpusRecord,
    model: ModelRecord | None,
    settings: BuildSettings,
    sample: Sample,
    *,
    metric: Metric = ONE_ROW,
    say: Say,
) -> IndexManifest:
    """Make an index of shards that are all there, in `site`, the folder that `building` gave, and put it into `folder`.

    `sample` is not called where nothing is tuned.

    Raises:
        InputError: The index cannot be built over so few documents, none of them has a vector, a shard is damaged, or
            there is no room on the disk.
    """
    count, width = store.key.count, store.width
    bare = left_out(store, corpus.source, model, say)
    tokens = store.total if store.key.tokens else None
    if settings.spec == AUTO:
        spec, chosen = choose(count, width, memory=settings.memory, recall=settings.recall, tokens=tokens)
    else:
        spec, chosen = IndexSpec.parse(settings.spec), ""
        spec.check(width, count)
    if chosen or spec.size_warning(count):
        say(chosen or spec.size_warning(count))
    index = _filled(site, spec, store, settings.seed, say)
    with new_version(site, folder) as new:
        write_index(index, new / FAISS_FILE)
        del index
        write_documents(new / DOCUMENTS_FILE, store.schema, map(store.documents, range(len(store))))
        if spec.refine or tokens is not None:
            # Where each document is compared, its scores are those of its rows as they were encoded.
            dtype = "float16" if spec.refine else store.key.dtype
            lengths = store.all_lengths() if tokens is not None else None
            write_rows(new, vectors_of(store), lengths, (store.total, width), dtype)
        if len(bare):
            np.save(new / REMOVED_FILE, bare, allow_pickle=False)
        manifest = IndexManifest(
            format=1 if tokens is None else 2,
            spec=str(spec),
            chosen=chosen,
            metric=metric,
            width=width,
            count=count,
            tokens=tokens,
            removed=len(bare),
            model=model,
            corpus=corpus.model_copy(update={"truncated": store.truncated(), "left_out": len(bare)}),
            tuning=Tuning(target=settings.recall, depth=min(settings.depth, count - len(bare))),
            seed=settings.seed,
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            versions=versions(),
            files=FileRecord.of_all(new),
        )
        searcher = Searcher(new, manifest)
        if not searcher.exact:
            queries, source = sample()
            start = manifest.tuning.model_copy(update={"queries": len(queries), "sample": source})
            manifest = manifest.model_copy(update={"tuning": tune(searcher, store, queries, start)})
        manifest.write(new)
    tuning = manifest.tuning
    if tuning.recall < tuning.target:
        say(
            f"{spec}: finds {tuning.recall:.3f} of the exact best {tuning.depth} at most, {tuning.target:g} was asked for; "
            f"{'a code of more bytes' if spec.refine else '+refine'} finds more"
        )
    return manifest


def left_out(store: ShardStore, source: str, model: ModelRecord | None, say: Say) -> Integers:
    """Positions of the documents that no search is to find, as they have no vector.

    A line says how many they are, and another one how many documents the model does not read to the end.

    Raises:
        InputError: No document has a vector, or a shard is damaged.
    """
    truncated = store.truncated()
    if truncated and model is not None:
        say(
            f"{truncated:,} of {store.key.count:,} documents are longer than the {model.max_tokens:,} tokens that the "
            "model reads; what follows is not searched"
        )
    bare, count = store.bare(), store.key.count
    if len(bare) == count:
        raise InputError(f"{source}: no document has a vector that is finite and not zero; use another model")
    if len(bare):
        number = int(bare[0]) // store.key.shard_size
        first = store.documents(number)["id"][int(bare[0]) - store.bounds(number)[0]].as_py()
        say(
            f"left out {len(bare):,} of {count:,} documents, the first {first!r}: their vectors are zero or not finite, "
            "as of an empty text"
        )
    return bare


def versions() -> dict[str, str]:
    """Versions of the libraries that write an index."""
    others = ("numpy", "pyarrow", "sentence-transformers", "torch")
    return {"optical-mteb": __version__, "faiss": faiss.__version__, **{name: version(name) for name in others}}


def _filled(site: Path, spec: IndexSpec, store: ShardStore, seed: int, say: Say) -> faiss.Index:
    """The index with all shards in it, from where it was last saved on the way."""
    saved = site / f"{str(spec).removesuffix('+refine')}-{seed}.faiss"
    index = _saved(saved, spec, store, say)
    if index is None:
        index = new_index(spec, store.width, seed)
        if not index.is_trained:
            size = min(sample_size(spec), store.key.count)
            say(f"trains {spec} on {size:,} of {store.key.count:,} vectors")
            train(index, spec, store.key.count, store.summaries, seed)
        with storing(site):
            write_index(index, saved)
    make_room(index, spec, store.key.count)
    add_shards(index, store, math.ceil(index.ntotal / store.key.shard_size), saved)
    return index


def _saved(path: Path, spec: IndexSpec, store: ShardStore, say: Say) -> faiss.Index | None:
    """The index as it was last saved, with whole shards in it; None where it has to be trained."""
    with storing(path.parent):
        for file in path.parent.glob("*.faiss"):
            if file != path:
                file.unlink()
    if not path.is_file():
        return None
    try:
        index = read_index(path, spec, mapped=False)
    except InputError:
        say(f"{path.name}: is not whole; trains and adds again")
        return None
    whole = index.ntotal == store.key.count or index.ntotal % store.key.shard_size == 0
    return index if index.d == store.width and whole else None


def add_shards(index: faiss.Index, store: ShardStore, first: int = 0, saved: Path | None = None) -> None:
    """Add the shards from number `first` on; the index is saved now and then in `saved`, if anywhere."""
    last = time.monotonic()
    with progress_line(
        "add", store.key.count, min(store.bounds(first)[0], store.key.count), unit="documents"
    ) as advance:
        for number in range(first, len(store)):
            vectors = store.rows(number).summaries().astype(np.float32)
            index.add(vectors)
            advance(len(vectors))
            if saved is not None and time.monotonic() - last > SAVE_EVERY:
                with storing(saved.parent):
                    write_index(index, saved)
                last = time.monotonic()


def vectors_of(store: ShardStore) -> Iterator[NDArray[Any]]:
    """The rows of all documents, shard by shard."""
    return (store.rows(number).vectors for number in range(len(store)))
