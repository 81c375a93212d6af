"""FAISS's own objects: made from a spec, trained, written and opened memory-mapped; always by inner product."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.spec import PQ_CENTROIDS, IndexSpec

EF_CONSTRUCTION = 100
"""Nodes that are kept in view while one is linked into a graph; FAISS's own 40 makes poorer graphs."""

POINTS_PER_LIST = 64
"""Vectors a list that k-means sees: more cost time, and place the centroids hardly better."""

CODE_POINTS = 65_536
"""Vectors that the ranges of `sq8` and the centroids of `pq` are fitted to."""


def new_index(spec: IndexSpec, width: int, seed: int) -> faiss.Index:
    """An empty index that is to be trained."""
    index = faiss.index_factory(width, spec.factory(), faiss.METRIC_INNER_PRODUCT)
    if spec.kind == "hnsw":
        index.hnsw.efConstruction = EF_CONSTRUCTION
    if spec.kind == "ivf":
        _set_clustering(index.cp, seed, POINTS_PER_LIST)
    if spec.codec == "pq":
        _set_clustering(index.pq.cp, seed, CODE_POINTS // PQ_CENTROIDS)
    return index


def training_size(spec: IndexSpec) -> int:
    """Vectors to train an index on."""
    lists = POINTS_PER_LIST * spec.size if spec.kind == "ivf" else 0
    return max(lists, CODE_POINTS if spec.codec != "whole" else 0)


def write_index(index: faiss.Index, path: Path) -> None:
    """Write an index under another name and rename it.

    Raises:
        OSError: It cannot be written.
    """
    scratch = path.with_name(f"{path.name}.new")
    try:
        faiss.write_index(index, str(scratch))
    except RuntimeError as error:
        scratch.unlink(missing_ok=True)
        # FAISS says why at the end, as in "write error in PATH: 0 != 8 (No space left on device)".
        last = str(error).rpartition(": ")[2]
        raise OSError(errno.EIO, last.rpartition("(")[2].rstrip(")"), str(path)) from error
    scratch.replace(path)


def read_index(path: Path, spec: IndexSpec, *, mapped: bool = True, written_by: str = "") -> faiss.Index:
    """Open an index.

    Args:
        path: The file.
        spec: Of the index.
        mapped: Leave it on disk, to be read as it is searched; it cannot be changed then.
        written_by: Version of FAISS that wrote it, for the error message.

    Raises:
        InputError: FAISS cannot read it.
    """
    try:
        # FAISS maps lists of vectors and all else in two different ways.
        lists = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
        how = (lists if spec.kind == "ivf" else faiss.IO_FLAG_MMAP_IFC) if mapped else 0
        index = faiss.read_index(str(path), how)
        if mapped and spec.kind == "ivf":
            # Its threads that read ahead cost a query more than they gain once the file is in the page cache.
            faiss.downcast_InvertedLists(faiss.extract_index_ivf(index).invlists).prefetch_nthread = 0
    except RuntimeError as error:
        wrote = f"by FAISS {written_by}, " if written_by else ""
        raise InputError(
            f"{path}: FAISS {faiss.__version__} cannot read it (written {wrote}truncated, edited or of another version); "
            "copy or build the index again"
        ) from error
    return index


def rescored(index: faiss.Index, vectors: NDArray[np.float16]) -> faiss.Index:
    """An index whose best are scored again with other vectors.

    Args:
        index: What finds them.
        vectors: A memory map, [n, width]; the caller keeps it as long as the index.
    """
    count, width = vectors.shape
    exact = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    nobody = faiss.MaybeOwnedVectorUInt8()
    codes: Any = np.asarray(vectors).view(np.uint8).reshape(-1)
    # A view of the map: FAISS scores in place, and in threads.
    exact.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), codes.size, nobody.owner)
    exact.ntotal = count
    return faiss.IndexRefine(index, exact)


def _set_clustering(clustering: faiss.ClusteringParameters, seed: int, points: int) -> None:
    clustering.seed = seed
    clustering.max_points_per_centroid = points
    # Fewer than it likes are said in one line when an index is built.
    clustering.min_points_per_centroid = 1
