"""What a training will read, counted before it runs: examples, tokens and padding by kind and language."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from optical_mteb.terminal_table import TerminalTable
from optical_mteb.training.batching import HybridBatchSampler, Pool


@dataclass
class Part:
    """What one kind and language contribute.

    Attributes:
        examples: Rows of batches.
        tokens: Tokens that the student reads with gradient.
        slots: The same with padding: the longest row of each batch times its rows.
    """

    examples: int = 0
    tokens: int = 0
    slots: int = 0

    @property
    def padding(self) -> float:
        """Share of the slots that is padding."""
        return 1 - self.tokens / self.slots if self.slots else 0.0


@dataclass
class Composition:
    """What the steps of a training are made of.

    Attributes:
        steps: Steps counted.
        steps_per_epoch: Steps in which as many examples are drawn as there are pairs.
        parts: By kind and language; English is that of monolingual examples.
    """

    steps: int
    steps_per_epoch: int
    parts: dict[tuple[str, str], Part]

    @property
    def total(self) -> Part:
        """All of it."""
        return Part(*map(sum, zip(*map(astuple, self.parts.values()), strict=True)))

    def table(self) -> TerminalTable:
        """As a table: a row a kind and language, and the sum."""
        numbers = ("examples", "share", "tokens", "padding")
        table = TerminalTable("kind", "language", *numbers, whole=range(2, 6))
        total = self.total
        rows = [*self.parts.items(), (("all", f"{len({language for _, language in self.parts})} languages"), total)]
        for (kind, language), part in rows:
            share = part.examples / total.examples if total.examples else 0.0
            table.add_row(
                kind.replace("_", "-"),
                language,
                f"{part.examples:,}",
                f"{share:.1%}",
                f"{part.tokens:,}",
                f"{part.padding:.1%}",
            )
        return table


def composition(sampler: HybridBatchSampler, pool: Pool, steps: int) -> Composition:
    """Count the first steps of a training."""
    parts: dict[tuple[str, str], Part] = {}
    for step in range(steps):
        batch = sampler.batch(step)
        longest = max(pool.length(example) for example in batch)
        for example in batch:
            language = "eng" if example.kind == "monolingual" else pool.languages[int(pool.language[example.pair])]
            part = parts.setdefault((example.kind, language), Part())
            part.examples += 1
            part.tokens += pool.length(example)
            part.slots += longest
    return Composition(steps, sampler.batches_per_epoch, dict(sorted(parts.items())))
