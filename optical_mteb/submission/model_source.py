"""The source of a model's `ModelMeta`, as a file for mteb's `models/model_implementations`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta


def source_name(meta: ModelMeta) -> str:
    """File name, after the owner of the model: `<owner>_models.py`."""
    return f"{_identifier(str(meta.name).partition('/')[0])}_models.py"


def model_source(meta: ModelMeta) -> str:
    """A module that defines the model: mteb's own `to_python`, with what it needs imported, in ruff's format if there."""
    loader = getattr(meta.loader, "__name__", "None")
    return _formatted(
        f"from mteb.models.model_meta import ModelMeta, ScoringFunction\n"
        f"from mteb.models.sentence_transformer_wrapper import {loader}\n\n"
        f"{_identifier(str(meta.name).partition('/')[2])} = {meta.to_python()}\n"
    )


def _identifier(name: str) -> str:
    word = re.sub(r"\W+", "_", name.lower()).strip("_")
    return word if word.isidentifier() else f"model_{word}"


def _formatted(source: str) -> str:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    if ruff is None:
        return source
    made = subprocess.run(  # noqa: S603 - ruff, on text of mteb
        [ruff, "format", "--isolated", "-"], input=source, capture_output=True, text=True, check=False
    )
    return made.stdout if made.returncode == 0 else source
