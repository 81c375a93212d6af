"""What an interrupted training goes on from: weights that train, the optimizer's state, and how far it has come.

A run is a folder with a manifest, `run.json`, and one folder per checkpoint; tensors are safetensors, the rest is JSON.
A checkpoint is written under another name and renamed, so that one that has its name is complete.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder

WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
PROGRESS = "progress.json"
MANIFEST = "run.json"


class Manifest(BaseModel):
    """What a run was started with; another start goes on with it only if all of it is the same.

    Attributes:
        recipe: The validated recipe, defaults filled in.
        bitext_fingerprint: SHA-256 over the training pairs.
        base_revision: Revision of the student's base.
        teacher_revision: Revision of the teacher.
    """

    model_config = ConfigDict(extra="forbid")

    recipe: dict[str, Any]
    bitext_fingerprint: str
    base_revision: str
    teacher_revision: str

    def difference(self, other: Manifest) -> str | None:
        """What another start has otherwise, in words; None where nothing is."""
        if self.recipe != other.recipe:
            key, own, theirs = next(_differences(self.recipe, other.recipe))
            return f"with {key} = {_shown(own)}, now {_shown(theirs)}"
        if self.bitext_fingerprint != other.bitext_fingerprint:
            return "on other bitext: the files of the recipe have changed since"
        for name in ("base_revision", "teacher_revision"):
            if getattr(self, name) != getattr(other, name):
                return f"from another {name.replace('_', ' ')} ({getattr(self, name)}, now {getattr(other, name)})"
        return None


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Folder of the run.
        keep: Checkpoints that are kept, the newest ones.

    Attributes:
        progress: Further JSON to save with a checkpoint; what the last one had, once `latest` was asked for.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep
        self.progress: dict[str, Any] = {}

    def begin(self, manifest: Manifest, *, resume: bool = False, fresh: bool = False) -> None:
        """Take up the run that is there, or begin one.

        Args:
            manifest: What this start has.
            resume: There must be a checkpoint to go on from.
            fresh: Forget one that is there.

        Raises:
            InputError: There is nothing to resume, or the run that is there was started with something else, or the
                folder cannot be written to.
        """
        try:
            if fresh:
                shutil.rmtree(self._folder, ignore_errors=True)
            path = self._folder / MANIFEST
            if self.latest() is not None:
                self._check(path, manifest)
            elif resume:
                raise InputError(
                    f"nothing to resume: {self._folder} has no checkpoint; leave --resume out to start the training"
                )
            self._folder.mkdir(parents=True, exist_ok=True)
            for scratch in self._folder.glob(".*"):
                shutil.rmtree(scratch, ignore_errors=True)
            part = path.with_suffix(".part")
            part.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            part.rename(path)
        except OSError as error:
            raise _unwritable(self._folder, error, None) from error

    def _check(self, path: Path, manifest: Manifest) -> None:
        try:
            found = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as error:
            raise InputError(f"{path}: not the record of a run that can go on; start over with --fresh") from error
        if (difference := found.difference(manifest)) is not None:
            raise InputError(
                f"an interrupted training of {self._folder.name!r} was started {difference}; "
                "undo that to go on with it, or start over with --fresh"
            )

    def latest(self) -> Path | None:
        """The newest checkpoint."""
        found = self._saved("checkpoint")
        if not found:
            return None
        self.progress = json.loads((found[-1] / PROGRESS).read_text(encoding="utf-8"))["progress"]
        return found[-1]

    def save(
        self,
        model: SentenceTransformer,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        state: TrainerState,
        *,
        first_cosine: float | None,
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
            "first_cosine": first_cosine,
            "scheduler": scheduler.state_dict(),
            "learning_rates": [group["lr"] for group in optimizer.param_groups],
            "progress": self.progress,
        }

        def write(scratch: Path) -> None:
            save_file(trained_weights(model), scratch / WEIGHTS)
            save_file(moments, scratch / OPTIMIZER)
            (scratch / PROGRESS).write_text(json.dumps(progress) + "\n", encoding="utf-8")
            state.save_to_json(str(scratch / TRAINER_STATE_NAME))

        self._write("checkpoint", state.global_step, write)
        for old in self._saved("checkpoint")[: -self._keep]:
            _remove(old)

    def save_best(self, model: SentenceTransformer, step: int) -> None:
        """Keep the weights of the best student so far, and no longer those of one that no checkpoint speaks of."""
        self._write("best", step, lambda scratch: save_file(trained_weights(model), scratch / WEIGHTS))

    def restore_best(self, model: SentenceTransformer, step: int) -> None:
        """Load the weights that `save_best` wrote at a step."""
        _load_weights(self._folder / f"best-{step:08d}" / WEIGHTS, model)

    def remove_best_but(self, steps: set[int]) -> None:
        """Remove the best students of all other steps."""
        for folder in self._saved("best"):
            if int(folder.name.partition("-")[2]) not in steps:
                _remove(folder)

    def end(self) -> None:
        """Remove the run."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, kind: str, step: int, write: Any) -> None:  # noqa: ANN401 - a function of the scratch folder
        try:
            with atomic_folder(self._folder / f"{kind}-{step:08d}") as scratch:
                write(scratch)
        except (OSError, SafetensorError) as error:
            raise _unwritable(self._folder, error, self._saved("checkpoint")) from error

    def _saved(self, kind: str) -> list[Path]:
        """Complete folders of a kind, oldest first."""
        return sorted(path for path in self._folder.glob(f"{kind}-*") if (path / WEIGHTS).is_file())


def trained_weights(model: SentenceTransformer) -> dict[str, torch.Tensor]:
    """The weights that train, by name; frozen ones come from the base again."""
    return {
        name: parameter.detach().contiguous() for name, parameter in model.named_parameters() if parameter.requires_grad
    }


def restore_weights(checkpoint: Path, model: SentenceTransformer) -> float | None:
    """Load the weights of a checkpoint; returns the student's `first_cosine`."""
    _load_weights(checkpoint / WEIGHTS, model)
    cosine: float | None = json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))["first_cosine"]
    return cosine


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


@torch.no_grad()
def _load_weights(path: Path, model: SentenceTransformer) -> None:
    parameters = dict(model.named_parameters())
    for name, value in load_file(path).items():
        parameters[name].copy_(value)


def _remove(folder: Path) -> None:
    """Remove a checkpoint, under a name of none: an interrupted removal leaves no half of one."""
    hidden = folder.with_name(f".{folder.name}")
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _differences(own: dict[str, Any], other: dict[str, Any], path: str = "") -> Any:  # noqa: ANN401
    for key in [*own, *(key for key in other if key not in own)]:
        left, right = own.get(key), other.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differences(left, right, f"{path}{key}.")
        elif left != right:
            yield f"{path}{key}", left, right


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _unwritable(folder: Path, error: Exception, saved: list[Path] | None) -> InputError:
    step = int(saved[-1].name.partition("-")[2]) if saved else None
    kept = f"the checkpoint of step {step} is whole" if step is not None else "there is no checkpoint yet"
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(
        f"{folder}: cannot write there ({reason}); {kept}: "
        "free the place, or set OPTICAL_MTEB_HOME to another folder, and run the same command again"
    )
