"""What the teacher reads for a training, from disk where it is there: the targets of the steps, and banks to rank."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from optical_mteb.bitext import ParallelCorpus
from optical_mteb.training.bank import BANK_TOKENS, bank_texts, read_bank
from optical_mteb.training.batching import HybridBatchSampler
from optical_mteb.training.losses import Bank
from optical_mteb.training.models import Models, embedding_width
from optical_mteb.training.readings import Reading
from optical_mteb.training.recipe import DocumentRankTerm, RankTerm, Recipe
from optical_mteb.training.teacher_cache import TeacherCache

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
    reading: Reading = "document",
    layers: Sequence[int] = (),
    tokens: bool = True,
    max_tokens: int | None = None,
    say: Say = print,
) -> TeacherCache:
    """The teacher's outputs for English texts, from disk where they are there.

    Args:
        recipe: The recipe.
        models: Student and teacher.
        texts: The texts.
        reading: How the teacher reads them.
        layers: Hidden layers to keep besides.
        tokens: Keep what the teacher says of tokens.
        max_tokens: Longer texts are cut; at `student.max_tokens` by default.
        say: Takes the lines that report progress.
    """
    tokenizer = models.teacher.tokenizer.backend_tokenizer.to_str()
    cache = TeacherCache.open(
        models.teacher,
        # A teacher that was pruned with its student gives the same tokens other ids.
        revision=" ".join(
            [
                models.teacher_revision,
                hashlib.sha256(tokenizer.encode()).hexdigest()[:16],
                *([models.teacher_variant] if models.teacher_variant else []),
            ]
        ),
        prompt=models.teacher_reads(reading),
        max_tokens=max_tokens or recipe.student.max_tokens,
        layers=layers,
        tokens=tokens,
    )
    read = cache.ensure(texts, say=say)
    say(f"teacher: read {read:,} texts, {len(cache):,} in the cache")
    return cache


def read_banks(recipe: Recipe, models: Models, corpus: ParallelCorpus, say: Say) -> dict[str, Bank]:
    """The bank of each ranking term, read by the teacher, by the term's name."""
    banks = {}
    longest = models.teacher.max_seq_length
    for name, term in recipe.objective.terms.items():
        if not isinstance(term, RankTerm):
            continue
        texts = bank_texts(corpus, term, seed=recipe.seed)
        by_token = (term.score or {"late_interaction": "maxsim"}.get(recipe.student.kind)) == "maxsim"
        tokens = by_token and not isinstance(term, DocumentRankTerm)
        models.teacher.max_seq_length = BANK_TOKENS
        cache = teacher_cache(
            recipe,
            models,
            texts,
            reading="query" if isinstance(term, DocumentRankTerm) else "document",
            tokens=tokens,
            max_tokens=BANK_TOKENS,
            say=say,
        )
        models.teacher.max_seq_length = longest
        banks[name] = read_bank(texts, cache, embedding_width(models.teacher), tokens=tokens)
    return banks
