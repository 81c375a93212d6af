"""Several processes train one student: the same loss, the same weights, one writer."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from optical_mteb.training.recipe import read_recipe
from optical_mteb.training.run import train
from tests.training.test_restart import write_recipe

pytestmark = pytest.mark.slow

LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "optical_mteb"],
    "accelerate": ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "-m", "optical_mteb"],
}


def begun(home: Path, recipe: Path, *launcher: str, **environment: object) -> subprocess.Popen[str]:
    """A process that trains the recipe."""
    command = [sys.executable, *(launcher or ("-m", "optical_mteb")), "train", str(recipe), "--device", "cpu"]
    # Without data there are few tasks to compare the bitext with.
    environment |= {"OPTICAL_MTEB_HOME": home, "OPTICAL_MTEB_DATA": "", "OMP_NUM_THREADS": 1}
    own = os.environ | {name: str(value) for name, value in environment.items()}
    return subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def last_loss(home: Path) -> float:
    """The loss of the last step, which the log has after every tenth."""
    metrics = json.loads((home / "students/tiny-student/optical.json").read_text(encoding="utf-8"))["metrics"]
    return float(metrics["loss"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_base):
    """Last loss and weights of one process, which reads batches of 16."""
    folder = tmp_path_factory.mktemp("alone")
    recipe = write_recipe(folder, tiny_base, 10, dropout=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTICAL_MTEB_HOME", str(folder / "home"))
        train(read_recipe(recipe), device="cpu", say=lambda _: None)
    return recipe, last_loss(folder / "home"), load_file(folder / "home/students/tiny-student/model.safetensors")


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_processes_are_as_good_as_one(tmp_path, alone, launcher):
    """Guards against halves of a batch that are contrasted alone, are drawn twice, or are averaged wrongly; and two writers."""
    recipe, expected, weights = alone
    process = begun(tmp_path / "home", recipe, *LAUNCHERS[launcher], MASTER_PORT=0)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert last_loss(tmp_path / "home") == pytest.approx(expected, abs=2e-3)
    found = load_file(tmp_path / "home/students/tiny-student/model.safetensors")
    for name, weight in weights.items():
        # Sums in another order, and AdamW divides small gradients by their own size.
        torch.testing.assert_close(found[name], weight, atol=2e-5, rtol=1e-4)
    for line in ("trained 10 steps", "evaluate it"):
        assert output.count(line) == 1
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["runs", "students"]


def test_a_batch_that_cannot_be_divided(tmp_path, tiny_base):
    """Guards against processes that wait for each other for ever: each ends with one line and exit code 2."""
    recipe = write_recipe(tmp_path, tiny_base, 10, batch_size=15)
    with socket.create_server(("127.0.0.1", 0)) as free:
        group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free.getsockname()[1], "WORLD_SIZE": 2}
    processes = [begun(tmp_path / "home", recipe, RANK=rank, LOCAL_RANK=rank, **group) for rank in (0, 1)]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 2, output
        assert "training.batch_size 15 cannot be divided among 2 processes; make it a multiple" in output
