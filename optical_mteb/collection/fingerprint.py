"""What a corpus in the cache was made of."""

from __future__ import annotations

from pathlib import Path


def fingerprint(revision: str, *files: Path) -> str:
    """Another one for another revision, or where a file has another name, size or time of change."""
    states = [(file.name, file.stat()) for file in files]
    return "\n".join([revision, *(f"{name} {state.st_size} {state.st_mtime_ns}" for name, state in states)])
