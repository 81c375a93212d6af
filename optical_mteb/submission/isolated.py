"""Whether others can load what is published: in a process where this package cannot be imported, and without network.

That process runs this file as a script, so nothing of this package is imported at its top.
"""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

    from optical_mteb.submission.checks import SubmissionCheck


def check_isolated(source: Path, folder: Path, meta: ModelMeta) -> SubmissionCheck:
    """Import the module that defines `meta`, and load the folder in sentence-transformers and as MTEB does."""
    from optical_mteb.submission.checks import SubmissionCheck

    environment = {**os.environ, "OPTICAL_MTEB_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as elsewhere:
        run = subprocess.run(  # noqa: S603 - this file
            [sys.executable, "-P", __file__, str(source.resolve()), str(folder.resolve())],
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


def _load(source: str, folder: str) -> dict[str, Any]:
    """What is found when the source is imported, and the folder loaded without and with MTEB's wrapper."""
    # No import of this package succeeds from here on.
    sys.modules["optical_mteb"] = None  # type: ignore[assignment]
    defined = runpy.run_path(source)
    import sentence_transformers
    import torch
    from mteb.models.model_meta import ModelMeta

    metas = [value for value in defined.values() if isinstance(value, ModelMeta)]
    meta = metas[0]
    late = "late-interaction" in meta.model_type
    kind = sentence_transformers.MultiVectorEncoder if late else sentence_transformers.SentenceTransformer
    embedding = torch.as_tensor(next(iter(kind(folder, device="cpu").encode(["a text"]))))
    if meta.loader is None:
        raise ValueError(f"{meta.name} has no loader")
    return {
        "metas": len(metas),
        "name": meta.name,
        "revision": meta.revision,
        "embed_dim": meta.embed_dim,
        "width": embedding.shape[-1],
        "finite": bool(torch.isfinite(embedding).all()),
        "wrapper": type(meta.loader(folder, device="cpu", **meta.loader_kwargs)).__name__,
    }


if __name__ == "__main__":
    print(json.dumps(_load(*sys.argv[1:])))
