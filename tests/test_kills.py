"""A few random kills; `python -m tests.kills` makes more of them."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_kill_loses_nothing():
    """Guards against results that a kill loses, commands that do not go on after it, and scratch that stays."""
    command = [sys.executable, "-m", "tests.kills", "--kills", "9"]
    command += [part for name in ("train", "first use of a base", "tasks add") for part in ("--only", name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost=0" in done.stdout
