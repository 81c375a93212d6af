"""The one exception that stands for a mistake the person at the keyboard can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input: its text is one line that says what was found, where, what was expected and what to do.

    The `optical-mteb` command prints the text alone and exits with code 2.
    """
