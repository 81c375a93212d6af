"""Runs of a study in processes of their own, which can be killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import datasets  # noqa: F401 - loaded once, not by every process
import torch

from optical_mteb.study import experiment, running
from optical_mteb.study.cells import CellFolder
from optical_mteb.study.jobs import load_study
from tests.forkserver import CONTEXT


def run_study(path, folder, home, log, killed_at=None):
    """Run a study, note what is trained and scored in a file, and SIGKILL at the beginning of a step's n-th call."""
    torch.set_num_threads(1)
    os.environ["OPTICAL_MTEB_HOME"] = str(home)
    for module, name in ((experiment, "train"), (running, "evaluate")):
        setattr(module, name, _noted(name, getattr(module, name), log, killed_at))
    study = load_study(Path(path))
    running.run(study, CellFolder(Path(folder)), list(study.jobs.values()), say=lambda line: None)


def _noted(name, function, log, killed_at):
    calls = []

    def noted(*args, **kwargs):
        calls.append(1)
        if killed_at == (name, len(calls)):
            os.kill(os.getpid(), signal.SIGKILL)
        with Path(log).open("a") as file:
            file.write(f"{name} {args[0].name if name == 'train' else ''}\n")
        return function(*args, **kwargs)

    return noted


def in_processes(number, *arguments, **more):
    """Exit codes of several processes that run the same study at once, negative where a signal ended one."""
    processes = [CONTEXT.Process(target=run_study, args=arguments, kwargs=more) for _ in range(number)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]
