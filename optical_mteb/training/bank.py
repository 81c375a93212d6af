"""The banks that a recipe's ranking terms ask for: which texts, read by the teacher once and kept on disk."""

from __future__ import annotations

import numpy as np

from optical_mteb.bitext import ParallelCorpus
from optical_mteb.bitext.passages import passages
from optical_mteb.errors import InputError
from optical_mteb.hardware import free_memory
from optical_mteb.training.losses.bank import Bank
from optical_mteb.training.recipe import RankTerm
from optical_mteb.training.teacher_cache import TeacherCache

PASSAGE_SENTENCES = (3, 5)
"""Fewest and most sentences of a passage in a bank."""

BANK_TOKENS = 256
"""Longest text of a bank, in tokens: a passage is longer than the sentences that are trained on."""

FLOAT32_BYTES = 4


def bank_texts(corpus: ParallelCorpus, term: RankTerm, *, seed: int) -> list[str]:
    """The texts of a bank: different English sentences and passages of a bitext, at most `bank_size` of them.

    Args:
        corpus: The bitext.
        term: What the recipe asks for.
        seed: Seed of the lengths of passages, and of the choice where there are too many texts.

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
    """The teacher's embeddings of texts that it has read.

    Args:
        texts: The texts.
        cache: What has read them.
        width: Width of an embedding.
        tokens: Give out the embeddings of tokens, too.

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
