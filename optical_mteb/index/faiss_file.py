"""FAISS's own objects: made from a spec, trained, written and opened memory-mapped; always by inner product."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError
from optical_mteb.index.spec import IndexSpec
from optical_mteb.storage import take_place


def new_index(spec: IndexSpec, width: int, seed: int) -> faiss.Index:
    """An empty index that is to be trained."""
    index = faiss.index_factory(width, spec.factory, faiss.METRIC_INNER_PRODUCT)
    spec.kind.prepare(index, seed)
    if spec.codec.parts:
        index.pq.cp.seed, index.pq.cp.min_points_per_centroid = seed, 1
    if spec.codec.bits == 4:
        # Codes of the differences from the lists' centroids, as of 8 bits; FAISS's default here is the vectors' own.
        index.by_residual = True
    return index


def sample_size(spec: IndexSpec) -> int:
    """Vectors to train an index on."""
    return max(spec.kind.sample_size(), spec.codec.sample_size)


def train(
    index: faiss.Index, spec: IndexSpec, count: int, rows: Callable[[NDArray[np.int64], Any], NDArray[Any]], seed: int
) -> None:
    """Train an index on a sample, which is in memory as float16: where its lists lie, then what its codes stand for.

    The sample is drawn from `count` vectors; `rows` gives those at some positions, in a type.

    Raises:
        InputError: A shard is missing.
    """
    drawn = np.random.default_rng(seed).choice(count, min(sample_size(spec), count), replace=False)
    if spec.kind.sample_size():
        spec.kind.place(index, rows(np.sort(drawn[: spec.kind.sample_size()]), np.float16))
    index.train(rows(np.sort(drawn[: spec.codec.sample_size]), np.float32))


def make_room(index: faiss.Index, spec: IndexSpec, count: int) -> None:
    """Have an index take the memory of `count` vectors at once: as it grows, it would be copied, and twice in memory."""
    for vector, size in spec.kind.grown(index, count):
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
    """Open an index of a spec; mapped, it is left on disk, to be read as it is searched, and cannot be changed.

    `written_by` is the version of FAISS that wrote it, for the error message.

    Raises:
        InputError: FAISS cannot read it, or it is of another spec.
    """
    try:
        index = faiss.read_index(str(path), spec.kind.open_flags if mapped else 0)
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
    if spec.kind.form(index) != (spec.kind.size, spec.codec.size(index.d)):
        raise InputError(f"{path}: is not {str(spec).removesuffix('+refine')}; copy or build the index again")
    return index


def rescored(index: faiss.Index, vectors: NDArray[np.float16]) -> faiss.Index:
    """An index whose best are scored again with a memory map, [n, width], which the caller keeps as long as the index."""
    count, width = vectors.shape
    exact = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    nobody = faiss.MaybeOwnedVectorUInt8()
    codes: Any = np.asarray(vectors).view(np.uint8).reshape(-1)
    # A view of the map: FAISS scores in place, and in threads.
    exact.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), codes.size, nobody.owner)
    exact.ntotal = count
    return faiss.IndexRefine(index, exact)
