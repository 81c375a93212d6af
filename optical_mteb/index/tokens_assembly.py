"""From encoded documents of a late-interaction model to the files of an index of their tokens."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optical_mteb.errors import InputError
from optical_mteb.index.assembly import (
    BuildSettings,
    choose_spec,
    filled,
    say_truncated,
    versions,
    write_documents,
    write_vectors,
)
from optical_mteb.index.documents import as_batch
from optical_mteb.index.faiss_file import write_index
from optical_mteb.index.manifest import (
    DOCUMENTS_FILE,
    FAISS_FILE,
    OFFSETS_FILE,
    VECTORS_FILE,
    CorpusRecord,
    FileRecord,
    IndexManifest,
)
from optical_mteb.index.place import new_version
from optical_mteb.index.searcher import Searcher
from optical_mteb.index.shards import ShardStore, Vectors
from optical_mteb.index.spec import AUTO, IndexSpec
from optical_mteb.index.tokens_search import MaxSimSearcher
from optical_mteb.index.tokens_shards import TOKEN_SHARD_SIZE, TokenShards
from optical_mteb.index.tokens_tuning import TOKEN_SAMPLE, tune_tokens
from optical_mteb.progress import progress_line

if TYPE_CHECKING:
    from optical_mteb.index.corpus import Corpus
    from optical_mteb.index.tokens_encoder import TokenEncoder

Say = Callable[[str], None]


def of_tokens(settings: BuildSettings, width: int | None) -> BuildSettings:
    """Settings of a build by a late-interaction model: its shards have fewer documents, as each has many vectors.

    Args:
        settings: What was asked for.
        width: Components of a vector, where that is known.

    Raises:
        InputError: The spec asks for `+refine`, or for another width.
    """
    if settings.spec != AUTO:
        spec = IndexSpec.parse(settings.spec)
        if spec.refine:
            raise InputError(
                f"index spec {spec}: documents of a late-interaction model are scored by their stored vectors anyway; "
                "leave +refine out"
            )
        # Only its tokens, not its documents, say whether a corpus is large enough.
        spec.check(width or max(spec.parts, 1), np.iinfo(np.int64).max)
    return replace(settings, shard_size=min(settings.shard_size, TOKEN_SHARD_SIZE))


def fill_token_shards(store: ShardStore, corpus: Corpus, encoder: TokenEncoder, say: Say) -> None:
    """Encode the documents of the shards that are missing.

    Raises:
        InputError: The vector of a token is not finite, or a shard cannot be written.
    """
    missing = store.missing()
    if not missing:
        return
    finished = len(store) - len(missing)
    if finished:
        say(f"goes on: {finished:,} of {len(store):,} shards are encoded already")
    with progress_line("encode", len(corpus), store.bounds(missing[0])[0], unit="documents") as advance:
        for number in missing:
            start, stop = store.bounds(number)
            part = corpus.read(start, stop)
            encoded = encoder.documents(part.ids, part.as_read())
            documents = as_batch(part.ids, part.titles, part.texts, store.schema)
            store.write(number, encoded.vectors, documents, truncated=encoded.truncated, lengths=encoded.lengths)
            advance(stop - start)


def assemble_tokens(
    site: Path,
    folder: Path,
    store: ShardStore,
    corpus: CorpusRecord,
    encoder: TokenEncoder,
    settings: BuildSettings,
    asked: Sequence[str],
    *,
    sample: str,
    say: Say,
) -> IndexManifest:
    """Make an index of shards of token vectors that are all there.

    Args:
        site: The folder that `building` gave.
        folder: Where the index goes.
        store: The shards.
        corpus: What they are of.
        encoder: What encoded them.
        settings: How to build it.
        asked: Queries to tune on.
        sample: Where they came from, in words.
        say: Takes the lines that report progress.

    Raises:
        InputError: The index cannot be built over so few tokens, a shard is damaged, or there is no room on the disk.
    """
    shards = TokenShards(store)
    if not shards.total:
        raise InputError(f"{corpus.source}: the model scores no token of any document; use another model")
    bare = int((np.diff(shards.offsets) == 0).sum())
    if bare:
        say(f"{bare:,} of {store.key.count:,} documents have no token that the model scores; no search finds them")
    say_truncated(store, encoder.record, say)
    spec, chosen = choose_spec(settings, shards.total, shards.width, tokens=True)
    if chosen or spec.doubt(shards.total, "tokens"):
        say(chosen or spec.doubt(shards.total, "tokens"))
    queries = [query for query in encoder.queries(asked[:TOKEN_SAMPLE]) if len(query)]
    if not queries:
        queries, sample = _own_tokens(shards, settings.seed), "documents"
    index = filled(site, spec, shards, settings.seed, say)
    with new_version(site, folder) as new:
        write_index(index, new / FAISS_FILE)
        del index
        write_documents(new, store)
        write_vectors(new, shards)
        np.save(new / OFFSETS_FILE, shards.offsets, allow_pickle=False)
        tokens = Searcher(new, spec, count=shards.total, width=shards.width)
        searcher = MaxSimSearcher(new, tokens, count=store.key.count, width=shards.width)
        tuning = tune_tokens(
            searcher, spec, shards, queries, target=settings.recall, depth=settings.depth, sample=sample
        )
        names = (FAISS_FILE, DOCUMENTS_FILE, VECTORS_FILE, OFFSETS_FILE)
        manifest = IndexManifest(
            spec=str(spec),
            chosen=chosen,
            metric=encoder.metric,
            width=shards.width,
            count=store.key.count,
            tokens=shards.total,
            model=encoder.record,
            corpus=corpus.model_copy(update={"truncated": store.truncated()}),
            tuning=tuning,
            seed=settings.seed,
            created=datetime.datetime.now(datetime.UTC).date().isoformat(),
            versions=versions(),
            files={name: FileRecord.of(new / name) for name in names},
        )
        manifest.write(new)
    if tuning.recall < tuning.target:
        say(
            f"{spec}: finds {tuning.recall:.3f} of the best {tuning.depth} by MaxSim at most, {tuning.target:g} was "
            "asked for; a code of more bytes finds more"
        )
    return manifest


def _own_tokens(shards: TokenShards, seed: int) -> list[Vectors]:
    """The tokens of some documents, to tune on."""
    full = np.random.default_rng(seed).permutation(np.flatnonzero(np.diff(shards.offsets)))[:TOKEN_SAMPLE]
    return [shards.rows(np.arange(*shards.offsets[[document, document + 1]])) for document in np.sort(full)]
