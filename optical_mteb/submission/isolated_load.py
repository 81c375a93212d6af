"""A script that loads a published model where this package cannot be imported; run in a process of its own.

Arguments: the source of the model's `ModelMeta`, and the folder to upload. Prints what it found as one line of JSON.
"""

from __future__ import annotations

import json
import sys
from importlib.util import module_from_spec, spec_from_file_location


def main(source: str, folder: str) -> None:
    """Import the source, and load the folder in sentence-transformers alone and in MTEB's wrapper."""
    # No import of this package succeeds from here on.
    sys.modules["optical_mteb"] = None  # type: ignore[assignment]
    spec = spec_from_file_location("published", source)
    if spec is None or spec.loader is None:
        raise ImportError(source)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    import sentence_transformers
    import torch
    from mteb.models.model_meta import ModelMeta

    metas = [value for value in vars(module).values() if isinstance(value, ModelMeta)]
    meta = metas[0]
    late = "late-interaction" in meta.model_type
    model = (sentence_transformers.MultiVectorEncoder if late else sentence_transformers.SentenceTransformer)(
        folder, device="cpu"
    )
    embedding = torch.as_tensor(next(iter(model.encode(["a text"]))))
    if meta.loader is None:
        raise ValueError(f"{meta.name} has no loader")
    wrapped = meta.loader(folder, device="cpu", **meta.loader_kwargs)
    print(
        json.dumps(
            {
                "metas": len(metas),
                "name": meta.name,
                "revision": meta.revision,
                "embed_dim": meta.embed_dim,
                "width": embedding.shape[-1],
                "finite": bool(torch.isfinite(embedding).all()),
                "wrapper": type(wrapped).__name__,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
