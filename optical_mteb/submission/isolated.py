"""Whether others can load what is published: in a process where this package cannot be imported, and without network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from optical_mteb.submission.checks import SubmissionCheck

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta


def check_isolated(source: Path, folder: Path, meta: ModelMeta) -> SubmissionCheck:
    """Import the source of a `ModelMeta` and load the folder, in sentence-transformers and as MTEB does.

    Args:
        source: The module that defines the model.
        folder: The folder to upload.
        meta: What the module must define.
    """
    environment = {**os.environ, "OPTICAL_MTEB_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as elsewhere:
        script = Path(__file__).with_name("isolated_load.py")
        run = subprocess.run(  # noqa: S603 - this package's own script
            [sys.executable, "-P", str(script), str(source.resolve()), str(folder.resolve())],
            capture_output=True,
            text=True,
            check=False,
            cwd=elsewhere,
            env=environment,
        )
    name = "the source imports and hub/ loads without this package"
    if run.returncode:
        return SubmissionCheck.of(name, [(run.stderr.strip().splitlines() or ["no output"])[-1]])
    found = json.loads(run.stdout.splitlines()[-1])
    expected = {
        "metas": 1,
        "name": meta.name,
        "revision": meta.revision,
        "embed_dim": meta.embed_dim,
        "width": meta.embed_dim,
        "finite": True,
        "wrapper": getattr(meta.loader, "__name__", None),
    }
    return SubmissionCheck.of(
        name, [f"{key} is {found.get(key)}, expected {value}" for key, value in expected.items() if found[key] != value]
    )
