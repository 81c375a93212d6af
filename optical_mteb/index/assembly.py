"""From shards to the files of an index: trained on a sample, filled shard by shard, tuned, and put in its place."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import faiss
import numpy as np

from optical_mteb import __version__
from optical_mteb.errors import InputError
from optical_mteb.index.documents import Integers, writing
from optical_mteb.index.faiss_file import make_room, new_index, read_index, write_index
from optical_mteb.index.faiss_training import train, training_size
from optical_mteb.index.manifest import (
    DOCUMENTS_FILE,
    FAISS_FILE,
    REMOVED_FILE,
    VECTORS_FILE,
    CorpusRecord,
    FileRecord,
    IndexManifest,
    ModelRecord,
)
from optical_mteb.index.place import new_version, storing
from optical_mteb.index.searcher import Searcher
from optical_mteb.index.shards import ShardStore, Vectors, VectorShards
from optical_mteb.index.spec import AUTO, IndexSpec, choose
from optical_mteb.index.tuning import tune
from optical_mteb.index.vectors_file import VectorsWriter
from optical_mteb.progress import progress_line

SHARD_SIZE = 8192
"""Documents that are sorted by length and encoded together; those under way are encoded again after a kill."""

SAVE_EVERY = 600.0
"""Seconds of adding that may be lost when a process is killed."""


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
            InputError: The spec cannot be read, or the recall is no share.
        """
        if self.spec != AUTO:
            IndexSpec.parse(self.spec)
        if not 0 < self.recall <= 1:
            raise InputError(f"recall {self.recall:g}: expected a share of more than 0 and 1 at most")

    def check(self, count: int, width: int | None) -> None:
        """Check, before anything is encoded, that an index can be built over so many documents.

        Args:
            count: Documents.
            width: Components of a vector, where it is known.

        Raises:
            InputError: The spec needs more documents, or another width.
        """
        if self.spec != AUTO:
            spec = IndexSpec.parse(self.spec)
            spec.check(width or max(spec.parts, 1), count)


def assemble(
    site: Path,
    folder: Path,
    store: ShardStore,
    corpus: CorpusRecord,
    model: ModelRecord | None,
    settings: BuildSettings,
    queries: Vectors,
    *,
    sample: str,
    say: Callable[[str], None],
) -> IndexManifest:
    """Make an index of shards that are all there.

    Args:
        site: The folder that `building` gave.
        folder: Where the index goes.
        store: The shards.
        corpus: What they are of.
        model: What encoded them.
        settings: How to build it.
        queries: To tune on, [n, width].
        sample: Where they came from, in words.
        say: Takes the lines that report progress.

    Raises:
        InputError: The index cannot be built over so few documents, none of them has a vector, a shard is damaged, or
            there is no room on the disk.
    """
    count, width, truncated = store.key.count, store.width, store.truncated()
    say_truncated(store, model, say)
    bare = left_out(store, corpus.source, say)
    spec, chosen = choose_spec(settings, count, width)
    if chosen or spec.doubt(count):
        say(chosen or spec.doubt(count))
    index = filled(site, spec, store, settings.seed, say)
    with new_version(site, folder) as new:
        write_index(index, new / FAISS_FILE)
        del index
        write_documents(new, store)
        if spec.refine:
            write_vectors(new, store)
        searcher = Searcher(new, spec, count=count, width=width, removed=bare)
        tuning = tune(searcher, spec, store, queries, target=settings.recall, depth=settings.depth, sample=sample)
        names = [FAISS_FILE, DOCUMENTS_FILE, *([VECTORS_FILE] if spec.refine else [])]
        if len(bare):
            np.save(new / REMOVED_FILE, bare, allow_pickle=False)
            names.append(REMOVED_FILE)
        manifest = IndexManifest(
            spec=str(spec),
            chosen=chosen,
            width=width,
            count=count,
            removed=len(bare),
            model=model,
            corpus=corpus.model_copy(update={"truncated": truncated, "left_out": len(bare)}),
            tuning=tuning,
            seed=settings.seed,
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            versions=versions(),
            files={name: FileRecord.of(new / name) for name in names},
        )
        manifest.write(new)
    if tuning.recall < tuning.target:
        say(
            f"{spec}: finds {tuning.recall:.3f} of the exact best {tuning.depth} at most, {tuning.target:g} was asked for; "
            f"{'a code of more bytes' if spec.refine else '+refine'} finds more"
        )
    return manifest


def say_truncated(store: ShardStore, model: ModelRecord | None, say: Callable[[str], None]) -> None:
    """One line about documents that the model does not read to the end, where there are some."""
    truncated = store.truncated()
    if truncated and model is not None:
        say(
            f"{truncated:,} of {store.key.count:,} documents are longer than the {model.max_tokens:,} tokens that the "
            "model reads; what follows is not searched"
        )


def left_out(store: ShardStore, source: str, say: Callable[[str], None]) -> Integers:
    """Positions of the documents that no search is to find, as they have no vector; a line says how many they are.

    Args:
        store: The shards.
        source: Where the documents came from, in words.
        say: Takes the line.

    Raises:
        InputError: No document has a vector, or a shard is damaged.
    """
    bare, count = store.bare(), store.key.count
    if len(bare) == count:
        raise InputError(f"{source}: no document has a vector that is finite and not zero; use another model")
    if len(bare):
        number = int(bare[0]) // store.key.shard_size
        first = store.documents(number).column("id")[int(bare[0]) - store.bounds(number)[0]].as_py()
        say(
            f"left out {len(bare):,} of {count:,} documents, the first {first!r}: their vectors are zero or not finite, "
            "as of an empty text"
        )
    return bare


def versions() -> dict[str, str]:
    """Versions of the libraries that write an index."""
    others = ("numpy", "pyarrow", "sentence-transformers", "torch")
    return {"optical-mteb": __version__, "faiss": faiss.__version__, **{name: version(name) for name in others}}


def choose_spec(settings: BuildSettings, count: int, width: int, *, tokens: bool = False) -> tuple[IndexSpec, str]:
    """The spec, and why where it was chosen.

    Args:
        settings: How to build the index.
        count: Vectors.
        width: Components of a vector.
        tokens: Whether they are of tokens, not of documents.

    Raises:
        InputError: The index cannot be built over so few vectors, or none fits into the memory.
    """
    if settings.spec == AUTO:
        memory = settings.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
        choice = choose(count, width, memory=memory, recall=settings.recall, tokens=tokens)
        return choice.spec, choice.reason
    spec = IndexSpec.parse(settings.spec)
    spec.check(width, count, "tokens" if tokens else "documents")
    return spec, ""


def filled(site: Path, spec: IndexSpec, store: VectorShards, seed: int, say: Callable[[str], None]) -> faiss.Index:
    """The index with all shards in it, from where it was last saved.

    Args:
        site: The folder that `building` gave, where it is saved on the way.
        spec: Of the index.
        store: The vectors.
        seed: Of k-means and samples.
        say: Takes the lines that report progress.

    Raises:
        InputError: A shard is damaged, or there is no room on the disk.
    """
    name = f"{str(spec).removesuffix('+refine')}-{seed}"
    index, done = _saved(site, spec, store, name, say)
    if index is None:
        index = _trained(spec, store, seed, say)
        _save(index, site, name, done)
    make_room(index, spec, store.total)
    saved = time.monotonic()
    with progress_line("add", store.total, index.ntotal, unit="documents") as advance:
        for number in range(done, len(store)):
            vectors = store.vectors(number).astype(np.float32)
            index.add(vectors)
            advance(len(vectors))
            if time.monotonic() - saved > SAVE_EVERY:
                _save(index, site, name, number + 1)
                saved = time.monotonic()
    return index


def _saved(
    site: Path, spec: IndexSpec, store: VectorShards, name: str, say: Callable[[str], None]
) -> tuple[faiss.Index | None, int]:
    """The index as it was last saved, and how many shards it has; None where it has to be trained."""
    with storing(site):
        for file in site.glob("*.faiss"):
            if not file.name.startswith(f"{name}-"):
                file.unlink()
    last = max(site.glob(f"{name}-*.faiss"), default=None)
    if last is None:
        return None, 0
    done = int(last.stem.rpartition("-")[2])
    filled = store.bounds(done - 1)[1] if done else 0
    try:
        index = read_index(last, spec, mapped=False)
    except InputError:
        say(f"{last.name}: is not whole; trains and adds again")
        return None, 0
    return (index, done) if (index.d, index.ntotal) == (store.width, filled) else (None, 0)


def _trained(spec: IndexSpec, store: VectorShards, seed: int, say: Callable[[str], None]) -> faiss.Index:
    index = new_index(spec, store.width, seed)
    if not index.is_trained:
        count = store.total
        size = min(training_size(spec), count)
        say(f"trains {spec} on {size:,} of {count:,} vectors")
        train(index, spec, store, seed)
    return index


def _save(index: faiss.Index, site: Path, name: str, done: int) -> None:
    """Save an index with the first `done` shards in it, and remove what was saved before."""
    with storing(site):
        write_index(index, site / f"{name}-{done:06d}.faiss")
        for file in site.glob(f"{name}-*.faiss"):
            if file.stem != f"{name}-{done:06d}":
                file.unlink()


def write_documents(new: Path, store: ShardStore) -> None:
    """Write the documents of all shards into an index."""
    with writing(new / DOCUMENTS_FILE, store.schema) as documents:
        for number in range(len(store)):
            documents.write_batch(store.documents(number))


def write_vectors(new: Path, store: VectorShards) -> None:
    """Write the vectors of all shards into an index, in float16."""
    with VectorsWriter(new / VECTORS_FILE, store.total, store.width) as vectors:
        for number in range(len(store)):
            vectors.append(store.vectors(number))
