"""Commands in processes of their own, forks of one that has imported all that they need."""

from __future__ import annotations

import os
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import sentence_transformers  # noqa: F401 - loaded once, not by every process
import torch

import optical_mteb.training.run  # noqa: F401
from optical_mteb import cli
from tests.forkserver import CONTEXT


def started(arguments: list[str], log: Path, **environment: object) -> ForkServerProcess:
    """A process that runs `optical-mteb` with these arguments and adds what it says to a file."""
    environment |= {"OMP_NUM_THREADS": "1"}
    process = CONTEXT.Process(target=_command, args=(arguments, log, {k: str(v) for k, v in environment.items()}))
    process.start()
    return process


def ended(process: ForkServerProcess) -> int:
    """The exit code of a process, for which this waits."""
    process.join(300)
    assert process.exitcode is not None, "still runs after five minutes"
    return process.exitcode


def _command(arguments: list[str], log: Path, environment: dict[str, str]) -> None:
    torch.set_num_threads(1)
    os.environ |= environment
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    sys.argv = ["optical-mteb", *arguments]
    cli.main()
