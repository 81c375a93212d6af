"""What tests of training share: two tiny models, encoded sentences, bitext, and the tables of a recipe."""

from __future__ import annotations

import signal
from contextlib import contextmanager

import pytest
import torch

from optical_mteb.bitext import Pair, ParallelCorpus, Report
from optical_mteb.training.losses.encoding import Encoded
from optical_mteb.training.trainer import DistillationCollator


@pytest.fixture
def models(tiny_model):
    """A student and a teacher of the same form and other weights."""
    return tiny_model(seed=1), tiny_model(seed=2)


def collator(student, teacher, prompts, **others):
    """What makes a batch of rows for two models."""
    return DistillationCollator(student.preprocess, teacher_preprocess_fn=teacher.preprocess, prompts=prompts, **others)


@contextmanager
def full_disk(most):
    """Inside the block no file can grow beyond so many bytes."""
    resource = pytest.importorskip("resource")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def damages(content):
    """Contents that a power cut or a bad disk makes of a file."""
    yield from (b"", content[: len(content) // 2], bytes(len(content)))
    for place in (0, len(content) // 3, len(content) // 2, len(content) - 2):
        yield content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def handmade(lengths, seed, width=6):
    """Encoded sentences of random tokens, of so many tokens each; their embeddings are the means."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(len(lengths), max(lengths), width, generator=generator)
    content = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(-1)
    mean = (tokens * content.unsqueeze(-1)).sum(1) / content.sum(1, keepdim=True)
    ids = torch.randint(5, 1000, content.shape, generator=generator) * content
    return Encoded(tokens, content, mean, ids)


def bitext(rows, source="here"):
    """A corpus of (English, translation, language), and a record's id where a row has one."""
    pairs = [Pair(*row[:3], source, row[3] if len(row) > 3 else str(n)) for n, row in enumerate(rows)]
    return ParallelCorpus(pairs, Report())


def recipe_tables(base, *, student=None, training=None, **tables):
    """The tables of a recipe for a tiny student of a tiny base."""
    return {
        "name": "tiny-student",
        "student": {"base": str(base), "prompt": "query", **(student or {})},
        "teacher": {"base": str(base), "prompt": "document"},
        "bitext": [{"source": "cldr:swh"}, {"source": "cldr:som"}],
        "training": {"batch_size": 16, "learning_rate": 1e-3, "precision": "float32", **(training or {})},
        **tables,
    }
