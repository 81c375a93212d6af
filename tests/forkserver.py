"""Processes that tests start and kill: forks of one interpreter, which has imported what all of them need."""

from __future__ import annotations

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.index.processes", "tests.study.processes"])
