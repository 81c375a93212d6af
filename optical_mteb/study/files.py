"""How a study writes a file: whole or not at all."""

from __future__ import annotations

from pathlib import Path

from optical_mteb.errors import InputError


def write_text(path: Path, text: str) -> None:
    """Write a file, its folder with it, and put it in the place of an older one once it is whole.

    Raises:
        InputError: The place cannot be written to.
    """
    scratch = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError as error:
        raise no_place(path, error) from error


def no_place(path: Path, error: OSError) -> InputError:
    """The line for a place that cannot be written to."""
    return InputError(
        f"{path}: cannot write there ({error.strerror or error}); free the place or choose another --output"
    )
