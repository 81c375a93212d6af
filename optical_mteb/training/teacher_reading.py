"""What the teacher reads for a training, from disk where it is there: the targets of the steps, and banks to rank."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from optical_mteb.bitext import ParallelCorpus
from optical_mteb.bitext.passages import passages
from optical_mteb.errors import InputError
from optical_mteb.hardware import free_memory
from optical_mteb.training.batching import HybridBatchSampler
from optical_mteb.training.losses import Bank
from optical_mteb.training.models import Models
from optical_mteb.training.objective import score_of
from optical_mteb.training.projection import embedding_width
from optical_mteb.training.readings import Reading
from optical_mteb.training.recipe import DocumentRankTerm, RankTerm, Recipe
from optical_mteb.training.teacher_cache import CacheKey, TeacherCache

PASSAGE_SENTENCES = (3, 5)
"""Fewest and most sentences of a passage in a bank."""

BANK_TOKENS = 256
"""Longest text of a bank, in tokens, if the teacher reads as many: a passage is longer than a sentence."""

FLOAT32_BYTES = 4

Say = Callable[[str], None]


def taught(sampler: HybridBatchSampler, english: Sequence[str]) -> list[str]:
    """The English sentences that the teacher reads for the steps of a training, one for each pair that they draw."""
    batches = map(sampler.batch, range(len(sampler)))
    read = {example.pair for batch in batches for example in batch if example.kind != "multilingual"}
    return [english[pair] for pair in sorted(read)]


def teacher_cache(
    recipe: Recipe,
    models: Models,
    texts: Sequence[str],
    *,
    reading: Reading,
    layers: Sequence[int] = (),
    tokens: bool = True,
    max_tokens: int | None = None,
    say: Say = print,
) -> TeacherCache:
    """The teacher's outputs for English texts, from disk where they are there.

    Longer texts are cut at `max_tokens`, by default at `student.max_tokens`; `layers` and `tokens` are those of `CacheKey`.
    """
    tokenizer = models.teacher.tokenizer.backend_tokenizer.to_str()
    # A teacher that was pruned with its student gives the same tokens other ids.
    which = (models.teacher_revision, hashlib.sha256(tokenizer.encode()).hexdigest()[:16], models.teacher_variant)
    key = CacheKey(
        revision=" ".join(filter(None, which)),
        prompt=models.teacher_reads(reading),
        max_tokens=max_tokens or recipe.student.max_tokens,
        layers=tuple(layers),
        tokens=tokens,
    )
    cache = TeacherCache(models.teacher, key)
    read = cache.ensure(texts, say=say)
    say(f"teacher: read {read:,} texts, {len(cache):,} in the cache")
    return cache


def read_banks(recipe: Recipe, models: Models, corpus: ParallelCorpus, say: Say) -> dict[str, Bank]:
    """The bank of each ranking term, read by the teacher, by the term's name."""
    banks = {}
    longest = models.teacher.max_seq_length
    most = min(BANK_TOKENS, models.teacher.tokenizer.model_max_length)
    for name, term in recipe.objective.terms.items():
        if not isinstance(term, RankTerm):
            continue
        texts = bank_texts(corpus, term, seed=recipe.seed)
        tokens = score_of(term, recipe.student.kind) == "maxsim"
        models.teacher.max_seq_length = most
        cache = teacher_cache(
            recipe,
            models,
            texts,
            reading="query" if isinstance(term, DocumentRankTerm) else "document",
            tokens=tokens,
            max_tokens=most,
            say=say,
        )
        models.teacher.max_seq_length = longest
        banks[name] = read_bank(texts, cache, embedding_width(models.teacher), tokens=tokens)
    return banks


def bank_texts(corpus: ParallelCorpus, term: RankTerm, *, seed: int) -> list[str]:
    """The texts of a bank: different English sentences and passages of a bitext, at most `bank_size` of them.

    The seed decides on the lengths of passages, and on the choice where there are too many texts.

    Raises:
        InputError: Passages are asked for, and no source has documents.
    """
    texts: dict[str, None] = {}
    if term.bank != "passages":
        texts |= dict.fromkeys(pair.english for pair in corpus)
    if term.bank != "sentences":
        shortest, longest = PASSAGE_SENTENCES
        found = passages(corpus, shortest=shortest, longest=longest, seed=seed)
        if not found and term.bank == "passages":
            raise InputError(
                "objective: bank = 'passages', but no record of the bitext names its document; expected ids such as "
                "DOCUMENT:NUMBER, or files with a blank line between documents; use bank = 'sentences'"
            )
        texts |= dict.fromkeys(passage.english for passage in found)
    if term.bank_size is None or term.bank_size >= len(texts):
        return list(texts)
    every = list(texts)
    chosen = np.random.default_rng(seed).choice(len(every), term.bank_size, replace=False)
    return [every[place] for place in sorted(chosen.tolist())]


def read_bank(texts: list[str], cache: TeacherCache, width: int, *, tokens: bool) -> Bank:
    """The teacher's embeddings, of that width, of texts that it has read; with `tokens`, those of their tokens, too.

    Raises:
        InputError: The embeddings do not fit into the memory that is free.
    """
    needed, free = FLOAT32_BYTES * len(texts) * width, free_memory()
    # A step holds the scores of a batch beside the embeddings; twice their size is on the safe side.
    if 2 * needed > free:
        raise InputError(
            f"objective: a bank of {len(texts):,} texts takes {needed / 1e9:.1f} GB, twice while it is read, and "
            f"{free / 1e9:.1f} GB of memory are free; set bank_size to {int(free / 2 / FLOAT32_BYTES / width):,} or less"
        )
    return Bank(texts, cache.sentences(texts).float(), cache.features if tokens else None)
