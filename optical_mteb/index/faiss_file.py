"""FAISS's own objects: made from a spec, trained, written and opened memory-mapped; always by inner product."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.spec import IndexSpec
from optical_mteb.storage import take_place

EF_CONSTRUCTION = 100
"""Nodes that are kept in view while one is linked into a graph; FAISS's own 40 makes poorer graphs."""


def new_index(spec: IndexSpec, width: int, seed: int) -> faiss.Index:
    """An empty index that is to be trained."""
    index = faiss.index_factory(width, spec.factory(), faiss.METRIC_INNER_PRODUCT)
    if spec.kind == "hnsw":
        index.hnsw.efConstruction = EF_CONSTRUCTION
    if spec.bits == 4:
        # Codes of the differences from the lists' centroids, as of 8 bits; FAISS's default here is the vectors' own.
        index.by_residual = True
    for clustering in ([index.cp] if spec.kind == "ivf" else []) + ([index.pq.cp] if spec.codec == "pq" else []):
        clustering.seed = seed
        # Fewer than it likes are said in one line when an index is built.
        clustering.min_points_per_centroid = 1
    return index


def make_room(index: faiss.Index, spec: IndexSpec, count: int) -> None:
    """Have an index take the memory of `count` vectors at once: as it grows, it would be copied, and twice in memory.

    The lists of `ivf` grow one by one, and are small.
    """
    if spec.kind == "ivf":
        return
    own = faiss.downcast_index(index.storage) if spec.kind == "hnsw" else index
    grown = [(own.codes, count * own.code_size)]
    if spec.kind == "hnsw":
        # A node has twice its links on the lowest level, and one in `size` nodes as many again above.
        grown.append((index.hnsw.neighbors, count * (2 * spec.size + 2)))
    for vector, size in grown:
        filled = vector.size()
        vector.resize(max(size, filled))
        vector.resize(filled)


def write_index(index: faiss.Index, path: Path) -> None:
    """Write an index under another name and rename it once it is on the disk.

    Raises:
        OSError: It cannot be written.
    """
    scratch = path.with_name(f"{path.name}.new")
    try:
        # FAISS's own writer does not notice where the disk is full for the last few bytes.
        with scratch.open("wb") as file:
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
        take_place(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def read_index(path: Path, spec: IndexSpec, *, mapped: bool = True, written_by: str = "") -> faiss.Index:
    """Open an index.

    Args:
        path: The file.
        spec: Of the index.
        mapped: Leave it on disk, to be read as it is searched; it cannot be changed then.
        written_by: Version of FAISS that wrote it, for the error message.

    Raises:
        InputError: FAISS cannot read it, or it is of another spec.
    """
    try:
        # FAISS maps lists of vectors and all else in two different ways.
        lists = faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY
        how = (lists if spec.kind == "ivf" else faiss.IO_FLAG_MMAP_IFC) if mapped else 0
        index = faiss.read_index(str(path), how)
        if mapped and isinstance(index, faiss.IndexIVF):
            # Its threads that read ahead cost a query more than they gain once the file is in the page cache.
            faiss.downcast_InvertedLists(faiss.extract_index_ivf(index).invlists).prefetch_nthread = 0
    # A length that was edited may ask for more memory than there is.
    except (RuntimeError, MemoryError) as error:
        wrote = f"by FAISS {written_by}, " if written_by else ""
        raise InputError(
            f"{path}: FAISS {faiss.__version__} cannot read it (written {wrote}truncated, edited or of another version); "
            "copy or build the index again"
        ) from error
    if _form(index) != (spec.kind, spec.size, spec.code_size(index.d)):
        raise InputError(f"{path}: is no {str(spec).removesuffix('+refine')}; copy or build the index again")
    return index


def _form(index: faiss.Index) -> tuple[str, int, int]:
    """Kind, size and bytes of a vector's code, as in a spec."""
    if isinstance(index, faiss.IndexHNSW):
        return "hnsw", index.hnsw.nb_neighbors(1), faiss.downcast_index(index.storage).code_size
    if isinstance(index, faiss.IndexIVF):
        return "ivf", index.nlist, index.code_size
    return "flat", 0, index.code_size if isinstance(index, faiss.IndexFlat) else 0


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
