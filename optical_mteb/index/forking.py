"""Searching in a forked process: OpenMP's threads do not outlive a fork, and waiting for them would never end."""

from __future__ import annotations

import os
import sys

import faiss

from optical_mteb.errors import InputError

_opened = _one_thread = False


def note_opened() -> None:
    """Note that this process may have threads of OpenMP from now on."""
    global _opened
    _opened = True


def set_threads(number: int) -> None:
    """Set the threads that FAISS uses in this process.

    Args:
        number: Threads.

    Raises:
        InputError: It is less than 1, or more than 1 in a process that was forked from one that had an index open.
    """
    if number < 1:
        raise InputError(f"threads {number}: expected 1 at least")
    if _one_thread and number > 1:
        raise InputError(
            f"threads {number}: a process that was forked from one with an open index searches in one thread; "
            "leave threads out, or start the process by multiprocessing's spawn"
        )
    faiss.omp_set_num_threads(number)


def _after_fork() -> None:
    global _one_thread
    if _opened:
        _one_thread = True
        faiss.omp_set_num_threads(1)
        if "torch" in sys.modules:
            # Queries are encoded by it.
            sys.modules["torch"].set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
