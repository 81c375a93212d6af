"""What an interrupted training goes on from: weights that train, the optimizer's state, and how far it has come.

A run is a folder with one folder per checkpoint; tensors are safetensors, the rest is JSON. A checkpoint is written
under another name and renamed, so that one that has its name is complete. It records what the run was started with, and
the hashes of its files: a damaged one counts as not there, and the one before it is taken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, collect, remove
from optical_mteb.students.tensors import mean_tensor
from optical_mteb.training.checkpoint_record import DamagedError, RunRecord, check, write_checksums

WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"
RUN = "run.json"


class Checkpoints:
    """The checkpoints of one run, of which the newest `keep` are kept; `record` is what this start has.

    Attributes:
        progress: Further JSON to save with a checkpoint; what the last one had, once `latest` was asked for.
    """

    def __init__(self, folder: Path, record: RunRecord, keep: int = 2) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._record = record
        self._keep = keep
        self.progress: dict[str, Any] = {}

    def begin(self, *, resume: bool = False, fresh: bool = False, say: Callable[[str], None] = print) -> None:
        """Take up the run that is there, or begin one; no other process may have it.

        Args:
            resume: There must be a checkpoint to go on from.
            fresh: Forget one that is there.
            say: Takes a line for each checkpoint that is damaged.

        Raises:
            InputError: There is nothing to resume, or the run that is there was started with something else, or the
                folder cannot be written to.
        """
        try:
            collect(self._folder.parent)
            if fresh:
                remove(self._folder)
            found = self._newest_whole(say)
            if found is not None:
                self._check(found)
            elif resume:
                raise InputError(
                    f"nothing to resume: {self._folder} has no checkpoint; leave --resume out to start the training"
                )
            else:
                # The best student of another recipe, perhaps.
                remove(self._folder)
            self._folder.mkdir(parents=True, exist_ok=True)
            collect(self._folder)
        except OSError as error:
            raise _unwritable(self._folder, error, None) from error

    def _newest_whole(self, say: Callable[[str], None]) -> Path | None:
        """The newest checkpoint that is whole; newer ones are removed."""
        damaged = False
        for checkpoint in reversed(self._saved("checkpoint")):
            try:
                check(checkpoint)
                if (best := _best_step(_progress(checkpoint))) is not None:
                    check(self._best(best))
            except DamagedError as error:
                say(f"{checkpoint}: {error}; this checkpoint counts as not there")
                remove(checkpoint)
                damaged = True
            else:
                return checkpoint
        if damaged:
            say(f"no checkpoint of {self._folder.name!r} is whole: the training starts over")
        return None

    def _check(self, checkpoint: Path) -> None:
        found = RunRecord.model_validate_json((checkpoint / RUN).read_bytes())
        if (difference := found.difference(self._record)) is not None:
            raise InputError(
                f"an interrupted training of {self._folder.name!r} was started {difference}; "
                "undo that to continue it, or start over with --fresh"
            )

    def latest(self) -> Path | None:
        """The newest checkpoint."""
        found = self._saved("checkpoint")
        if not found:
            return None
        self.progress = _progress(found[-1])
        return found[-1]

    def save(
        self,
        model: SentenceTransformer,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        state: TrainerState,
    ) -> None:
        """Write a checkpoint and remove the oldest ones.

        Raises:
            InputError: The folder cannot be written to, or the disk is full; the last checkpoint is whole.
        """
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        moments = {
            f"{names[id(parameter)]}/{key}": value.contiguous()
            for parameter, values in optimizer.state.items()
            for key, value in values.items()
        }
        progress = {
            "scheduler": scheduler.state_dict(),
            "learning_rates": [group["lr"] for group in optimizer.param_groups],
            "progress": self.progress,
        }

        def write(scratch: Path) -> None:
            save_file(trained_weights(model), scratch / WEIGHTS)
            save_file(moments, scratch / OPTIMIZER)
            (scratch / PROGRESS).write_text(json.dumps(progress) + "\n", encoding="utf-8")
            (scratch / RUN).write_text(self._record.model_dump_json(indent=2) + "\n", encoding="utf-8")
            state.save_to_json(str(scratch / TRAINER_STATE_NAME))

        self._write("checkpoint", state.global_step, write)
        saved = self._saved("checkpoint")
        for old in saved[: -self._keep]:
            remove(old)
        best = set()
        for checkpoint in saved[-self._keep :]:
            # A damaged one is found when the training is taken up.
            with suppress(OSError, ValueError):
                best.add(_best_step(_progress(checkpoint)))
        for folder in self._saved("best"):
            if int(folder.name.partition("-")[2]) not in best:
                remove(folder)

    def save_best(self, model: SentenceTransformer, step: int) -> None:
        """Keep the weights of the best student so far, until no checkpoint speaks of them any more."""
        self._write("best", step, lambda scratch: save_file(trained_weights(model), scratch / WEIGHTS))

    def restore_best(self, model: SentenceTransformer, step: int) -> None:
        """Load the weights that `save_best` wrote at a step.

        Raises:
            InputError: They are damaged.
        """
        folder = self._best(step)
        try:
            check(folder)
        except DamagedError as error:
            raise InputError(
                f"{folder}: {error}; run the same command again: it continues from a checkpoint before that step"
            ) from error
        restore_weights(folder, model)

    def restore_average(self, model: SentenceTransformer, number: int) -> None:
        """Load the mean of the weights of the newest checkpoints.

        Raises:
            InputError: There are fewer, or one is damaged.
        """
        folders = self._saved("checkpoint")[-number:]
        if len(folders) < number:
            raise InputError(
                f"{self._folder}: has {len(folders)} checkpoints, and training.average asks for {number}; "
                "train again with --fresh"
            )
        for folder in folders:
            try:
                check(folder)
            except DamagedError as error:
                raise InputError(f"{folder}: {error}; training.average reads it: train again with --fresh") from error
        paths = [folder / WEIGHTS for folder in folders]
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    parameter.copy_(mean_tensor(paths, [1 / number] * number, name))

    def end(self) -> None:
        """Remove the run."""
        remove(self._folder)

    def _best(self, step: int) -> Path:
        return self._folder / f"best-{step:08d}"

    def _write(self, kind: str, step: int, write: Callable[[Path], None]) -> None:
        try:
            with atomic_folder(self._folder / f"{kind}-{step:08d}") as scratch:
                write(scratch)
                write_checksums(scratch)
        except (OSError, SafetensorError) as error:
            raise _unwritable(self._folder, error, self._saved("checkpoint")) from error

    def _saved(self, kind: str) -> list[Path]:
        """Folders of a kind, oldest first."""
        return sorted(self._folder.glob(f"{kind}-*"))


def _progress(checkpoint: Path) -> dict[str, Any]:
    progress: dict[str, Any] = json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))["progress"]
    return progress


def _best_step(progress: dict[str, Any]) -> int | None:
    step: int | None = progress.get("best", {}).get("step")
    return step


def trained_weights(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    """The weights that train, by name; frozen ones come from the base again."""
    return {
        name: parameter.detach().contiguous() for name, parameter in model.named_parameters() if parameter.requires_grad
    }


@torch.no_grad()
def restore_weights(folder: Path, model: SentenceTransformer) -> None:
    """Load the weights of a checkpoint, or of the best student."""
    parameters = dict(model.named_parameters())
    for name, value in load_file(folder / WEIGHTS).items():
        parameters[name].copy_(value)


def restore_optimizer(
    checkpoint: Path,
    model: SentenceTransformer,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Load the state of optimizer and scheduler from a checkpoint."""
    parameters = dict(model.named_parameters())
    for key, value in load_file(checkpoint / OPTIMIZER).items():
        name, _, field = key.rpartition("/")
        parameter = parameters[name]
        optimizer.state[parameter][field] = value if field == "step" else value.to(parameter.device)
    progress = json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))
    scheduler.load_state_dict(progress["scheduler"])
    for group, rate in zip(optimizer.param_groups, progress["learning_rates"], strict=True):
        group["lr"] = rate


def _unwritable(folder: Path, error: Exception, saved: list[Path] | None) -> InputError:
    step = int(saved[-1].name.partition("-")[2]) if saved else None
    kept = f"the checkpoint of step {step} is whole" if step is not None else "there is no checkpoint yet"
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        f"{folder}: cannot write there ({reason}); {kept}: "
        "free the place, or set OPTICAL_MTEB_HOME to another folder, and run the same command again"
    )
