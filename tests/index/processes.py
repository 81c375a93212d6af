"""Builds in processes of their own, which can be killed at any step of them."""

from __future__ import annotations

import importlib
import os
import signal
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import datasets  # noqa: F401 - loaded once, not by every process
import faiss
import numpy as np

from optical_mteb.index.assembly import BuildSettings
from optical_mteb.index.build import build_from_vectors, build_index
from optical_mteb.index.build_folder import building, new_version
from optical_mteb.index.corpus import Corpus
from optical_mteb.index.manifest import CorpusRecord, ModelRecord
from optical_mteb.index.rows import Rows
from optical_mteb.index.stored_corpus import StoredCorpus
from tests.forkserver import CONTEXT

WIDTH = 32


def in_process(function, *arguments):
    """Run a function of a module in a process of its own; its exit code, negative where a signal ended it."""
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    process.join(60)
    assert process.exitcode is not None, "still runs after a minute"
    return process.exitcode


def killed_at(step, number, function, *arguments):
    """In this process: run a function, and SIGKILL at the beginning of a step's `number`-th call.

    A step is `module:name` or `module:Class.name` under `optical_mteb.index`; a module with a dot before it is beside it.
    """
    module, _, name = step.partition(":")
    *owner, name = name.split(".")
    place = importlib.import_module(f".{module}", "optical_mteb.index")
    for part in owner:
        place = getattr(place, part)
    original, calls = getattr(place, name), []

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(place, name, counted)
    function(*arguments)


def settings(spec, **more):
    return BuildSettings(**{"spec": spec, "depth": 10, "shard_size": 512} | more)


def build_vectors(folder, spec, ids, vectors, queries, save_every=600.0):
    """Build an index over vectors."""
    from optical_mteb.index import assembly

    faiss.omp_set_num_threads(1)
    assembly.SAVE_EVERY = save_every
    build_from_vectors(Path(folder), ids, vectors, settings=settings(spec), queries=queries, say=str)


def corpus_of(texts):
    """Texts as documents `d0`, `d1` and so on."""
    return Corpus.of([f"d{number}" for number in range(len(texts))], texts)


def index_texts(folder, documents, spec="flat", encoder=None, *, queries=(), say=str, **more):
    """Build an index over texts by a stub; returns its manifest."""
    corpus, encoder = corpus_of(documents), encoder or stub_encoder()
    return build_index(Path(folder), corpus, encoder, settings=settings(spec, **more), queries=queries, say=say)


def build_texts(folder, texts, spec, late):
    """Build an index over texts, or their tokens, which is saved after every shard; no torch is loaded."""
    from optical_mteb.index import assembly

    faiss.omp_set_num_threads(1)
    assembly.SAVE_EVERY = -1.0
    index_texts(folder, texts, spec, stub_token_encoder() if late else stub_encoder(), shard_size=100)


def replace_version(target, text):
    """Put a folder with one file in the place of an index."""
    with building(target) as site, new_version(site, target) as new:
        (new / "file").write_text(text)
        (new / "manifest.json").write_text(f'"{text}"')


def hold_stored(place):
    """Have a place of the store for this process alone."""
    with StoredCorpus(place, CorpusRecord(source="", fingerprint="", count=1), None, settings("flat")).held():
        pass


@dataclass(frozen=True)
class StubEncoder:
    """As `Encoder`, with a vector that each text's bytes draw; keeps what it encodes."""

    record: ModelRecord
    encoded: list = field(default_factory=list)

    metric, late, width = "inner product", False, WIDTH
    model = SimpleNamespace(similarity_fn_name="cosine", device=SimpleNamespace(type="cpu"))

    def precision(self, texts):
        return None

    def documents(self, texts, precision):
        self.encoded.extend(texts)
        longest = self.record.max_tokens or 1000
        return SimpleNamespace(rows=self.queries(texts), truncated=sum(len(text.split()) > longest for text in texts))

    def queries(self, texts):
        return Rows.single(stub_vectors(texts))


def stub_vectors(texts):
    """A vector of length 1 for each text, always the same; not a number for one that says so."""
    rows = [np.random.default_rng(list(text.encode())).standard_normal(WIDTH) for text in texts]
    vectors = (np.stack(rows) / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    vectors[["not a number" in text for text in texts]] = np.nan
    return vectors


class StubTokenEncoder(StubEncoder):
    """The same for late interaction, with a row for each word that depends a little on the text."""

    metric, late = "maxsim", True
    model = SimpleNamespace(similarity_fn_name="maxsim")

    def queries(self, texts):
        return Rows.joined([stub_tokens(text) for text in texts], WIDTH)


def stub_encoder(*, kind=StubEncoder, **record):
    """A stub, with what is on record about it."""
    return kind(ModelRecord(**{"name": "stub", "revision": "1" * 40, "max_tokens": 8} | record))


stub_token_encoder = partial(stub_encoder, kind=StubTokenEncoder, max_tokens=None)


def stub_tokens(text):
    """A vector of length 1 for each word, [words, WIDTH]; a text of dots has none."""
    words = text.replace(".", "").split()
    rows = [
        np.random.default_rng(list(word.encode())).standard_normal(WIDTH)
        + 0.5 * np.random.default_rng([place, *text.encode()]).standard_normal(WIDTH)
        for place, word in enumerate(words)
    ]
    vectors = np.array(rows).reshape(-1, WIDTH)
    # As an index keeps them.
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)
