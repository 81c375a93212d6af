"""What a training read, in what time and memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Summary:
    """Totals of a training, restarts included, all processes together.

    Attributes:
        steps: Optimizer steps.
        examples: Rows of batches.
        tokens: Tokens that the student read with gradient, padding left out.
        seconds: Wall-clock time.
        peak_memory: Largest resident memory of this process in bytes; that of the GPU where it trained on one.
    """

    steps: int
    examples: int
    tokens: int
    seconds: float
    peak_memory: int

    def __str__(self) -> str:
        """In one line."""
        rate = self.examples / self.seconds if self.seconds else 0.0
        return (
            f"trained {self.steps:,} steps: {self.examples:,} pairs, {self.tokens:,} tokens in {self.seconds:.0f} s, "
            f"{rate:.1f} pairs/s, peak memory {self.peak_memory / 1e9:.2f} GB"
        )

    def figures(self) -> dict[str, float]:
        """As figures for the record."""
        return {
            "pairs": float(self.examples),
            "tokens": float(self.tokens),
            "seconds": round(self.seconds, 1),
            "pairs_per_second": round(self.examples / self.seconds, 2) if self.seconds else 0.0,
            "peak_memory_gb": round(self.peak_memory / 1e9, 3),
        }


def peak_memory() -> int:
    """Largest memory that this process has held, in bytes: of the GPU where one is in use, resident otherwise."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return int(torch.cuda.max_memory_allocated())
    import resource

    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
