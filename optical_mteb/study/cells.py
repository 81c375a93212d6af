"""What became of a training, on disk: one file a training, written whole, and a lock while one process makes it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from optical_mteb.errors import InputError
from optical_mteb.storage import not_writable, write_text
from optical_mteb.training.recipe import Recipe

DIGITS = 4
"""Digits of a score that are kept."""


def fingerprint_of(determined_by: dict[str, Any]) -> str:
    """The name of a training: SHA-256 of all that its scores depend on, the first 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()[:16]


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The keys of a recipe that scores depend on: all but names and the places that files are fetched from."""
    places = {"url", "sha256", "translation_url", "translation_sha256"}
    names = dict.fromkeys(("name", "description", "license", "mteb_tasks"), True)
    return recipe.model_dump(mode="json", exclude={**names, "bitext": {"__all__": places}})


class CellRecord(BaseModel):
    """A training that was scored.

    Attributes:
        fingerprint: Of `determined_by`.
        determined_by: All that the scores depend on but the versions.
        student: Revision of the student, or of the base for zero-shot.
        figures: Pairs, tokens, seconds and peak memory of the training; empty for zero-shot.
        evaluation_seconds: Time that scoring took.
        precision: What the student was trained and scored in.
        versions: Versions of libraries.
        queries: Ids of the queries, sorted, by task and subset.
        scores: Their scores by task, subset and metric, in the order of the ids.
    """

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    determined_by: dict[str, Any]
    student: str
    figures: dict[str, float]
    evaluation_seconds: float
    precision: Literal["float32", "bfloat16"] = "float32"
    versions: dict[str, str]
    queries: dict[str, dict[str, list[str]]]
    scores: dict[str, dict[str, dict[str, list[float]]]]

    def seconds(self) -> float:
        """What training and scoring took."""
        return self.figures.get("seconds", 0.0) + self.evaluation_seconds


class CellFolder:
    """The trainings of studies in one folder.

    Attributes:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, fingerprint: str) -> Path:
        """File of a training."""
        return self.folder / f"{fingerprint}.json"

    def read(self, fingerprint: str) -> CellRecord | None:
        """The record of a training, or None where it is not done.

        Raises:
            InputError: The file is damaged, or of another training.
        """
        path = self.path(fingerprint)
        if not path.is_file():
            record = self._earlier.get(fingerprint)
            return record.model_copy(update={"fingerprint": fingerprint}) if record is not None else None
        try:
            record = CellRecord.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError) as error:
            raise InputError(f"{path}: not a training's record; remove it and run the command again") from error
        whole = all(
            len(values) == len(record.queries.get(task, {}).get(subset, ()))
            for task, subsets in record.scores.items()
            for subset, metrics in subsets.items()
            for values in metrics.values()
        )
        if record.fingerprint != fingerprint or not whole:
            raise InputError(f"{path}: is of another training, or was changed; remove it and run the command again")
        return record

    @cached_property
    def _earlier(self) -> dict[str, CellRecord]:
        """Records of earlier versions by today's fingerprint: keys that a recipe did not have then are at their defaults."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                record = CellRecord.model_validate_json(path.read_text(encoding="utf-8"))
                recipe = Recipe.model_validate(record.determined_by["recipe"] | {"name": "earlier"})
            except (OSError, UnicodeDecodeError, ValidationError, KeyError):
                continue
            found[fingerprint_of(record.determined_by | {"recipe": settings_of(recipe)})] = record
        return found

    def write(self, record: CellRecord) -> None:
        """Write a record, whole or not at all.

        Raises:
            InputError: The folder cannot be written to.
        """
        write_text(self.path(record.fingerprint), json.dumps(record.model_dump(mode="json"), sort_keys=True) + "\n")

    @contextmanager
    def held(self, fingerprint: str, *, wait: bool = False) -> Iterator[bool]:
        """Whether this process has a training for itself as long as the block runs; a dead process's lock is free.

        Raises:
            InputError: The folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / f".{fingerprint}.lock")
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        except OSError as error:
            raise not_writable(self.folder, error) from error
        try:
            yield True
        finally:
            lock.release()
