"""Fitting an empty index to a sample of the documents: where its lists lie, then what its codes stand for."""

from __future__ import annotations

import faiss
import numpy as np

from optical_mteb.index.shards import VectorShards
from optical_mteb.index.spec import IndexSpec

POINTS_PER_LIST = 64
"""Vectors a list that k-means sees: more cost time, and place the centroids hardly better."""

CODE_POINTS = {"whole": 0, "sq8": 16_384, "pq": 32_768}
"""Vectors that the ranges of `sq8` and the centroids of `pq` are fitted to."""

DECODED_AT_ONCE = 8192
"""Vectors of the sample that are in memory as float32."""


def training_size(spec: IndexSpec) -> int:
    """Vectors to train an index on."""
    return max(POINTS_PER_LIST * spec.size if spec.kind == "ivf" else 0, CODE_POINTS[spec.codec])


def train(index: faiss.Index, spec: IndexSpec, store: VectorShards, seed: int) -> None:
    """Train an index on a sample, which is in memory as float16.

    Args:
        index: What `new_index` made.
        spec: Of the index.
        store: The vectors.
        seed: Of the sample.

    Raises:
        InputError: A shard is missing.
    """
    count = store.total
    drawn = np.random.default_rng(seed).choice(count, min(training_size(spec), count), replace=False)
    if spec.kind == "ivf":
        index.cp.decode_block_size = DECODED_AT_ONCE
        sample = store.rows(np.sort(drawn[: POINTS_PER_LIST * spec.size]), np.float16)
        as_float16 = faiss.IndexScalarQuantizer(store.width, faiss.ScalarQuantizer.QT_fp16)
        faiss.Clustering(store.width, spec.size, index.cp).train_encoded(
            sample.view(np.uint8), as_float16, index.quantizer
        )
        del sample
    # FAISS leaves lists that have their centroids as they are, and trains the codes.
    points = max(CODE_POINTS[spec.codec], 1)
    index.train(store.rows(np.sort(drawn[:points])))
