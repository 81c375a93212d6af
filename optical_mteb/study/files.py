"""How a study writes a file: whole or not at all."""

from __future__ import annotations

from pathlib import Path

from optical_mteb.storage import atomic_file


def write_text(path: Path, text: str) -> None:
    """Write a file, its folder with it, and put it in the place of an older one once it is whole.

    Raises:
        InputError: The place cannot be written to.
    """
    with atomic_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
