"""The exceptions that stand for a mistake the person at the keyboard can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib.util import find_spec


class InputError(ValueError):
    """Bad input: its text is one line that says what was found, where, what was expected and what to do.

    The `optical-mteb` command prints the text alone and exits with code 2.
    """


class MissingExtraError(InputError, ImportError):
    """A part of this package needs a library that an extra installs."""


def reason_of(error: BaseException) -> str:
    """What an exception says, in one line of at most 300 characters; its type where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def require(module: str, extra: str, purpose: str) -> None:
    """Check that a library is installed which is not needed by all users; nothing is imported.

    Args:
        module: What is imported of it.
        extra: The extra of this package that installs it.
        purpose: What needs it, the beginning of a sentence: `an index`.

    Raises:
        MissingExtraError: It is not installed; the line names the command that installs it.
    """
    if find_spec(module) is None:
        raise MissingExtraError(
            f"{purpose} needs {module}, which is not installed; run: pip install 'optical-mteb[{extra}]'"
        )


def did_you_mean(word: str, known: Iterable[str], *, most: int = 1) -> str:
    """A hint for a name that is unknown: `did you mean 'swh'?`, or nothing where none is near; case does not count."""
    spelled = {name.casefold(): name for name in known}
    near = [spelled[found] for found in difflib.get_close_matches(word.casefold(), spelled, n=most)]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else ""
