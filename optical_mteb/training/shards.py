"""Outputs of frozen weights on disk: shards of `.npy` columns, complete when their manifest is, each text with a checksum.

A store is a folder of shards, which several processes may write at once. A shard that is damaged, or of another format,
is ignored and then removed.
"""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from optical_mteb.storage import atomic_folder, collect, remove, writing

MANIFEST_NAME = "manifest.json"
DIGEST_BYTES = 16
HEADER_BYTES = 128
PER_TOKEN = ("ids", "content", "tokens", "hidden")
_READ_WHOLE = ("keys", "offsets", "checks")
_log = logging.getLogger(__name__)


class StoreKey(BaseModel):
    """What an output depends on besides the text; stores of two keys share nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1

    def digest(self) -> str:
        """Name of the folder of this key."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def columns(self) -> list[str]:
        """What a shard keeps of a text, besides the key that it is found by and its checksum."""
        return ["hidden", "offsets"]


class ShardManifest(BaseModel):
    """What a finished shard holds; earlier versions wrote more.

    Attributes:
        key: The key of its store.
        checksums: SHA-256, in hex, of the header of each file; of all of it where it is read whole when it is opened.
    """

    key: dict[str, Any]
    checksums: dict[str, str]


@dataclass(frozen=True)
class Shard:
    """A finished shard: memory maps, by name of file."""

    arrays: dict[str, NDArray[Any]]

    @classmethod
    def load(cls, path: Path, key: StoreKey) -> Shard | None:
        """The shard at a folder, or None where that cannot be read or belongs to another key.

        Raises:
            DamagedShardError: It is not whole.
        """
        try:
            manifest = ShardManifest.model_validate_json((path / MANIFEST_NAME).read_bytes())
            if type(key).model_validate(manifest.key) != key:
                return None
            names = file_names(key)
            if manifest.checksums != _checksums(path, names):
                raise DamagedShardError(f"{path}: its files have changed since they were written")
            arrays = {
                name.removesuffix(".npy"): np.load(path / name, mmap_mode="r", allow_pickle=False) for name in names
            }
        except (FileNotFoundError, ValueError) as error:
            raise DamagedShardError(f"{path}: is not whole") from error
        except OSError:
            return None
        return cls(arrays)

    def digests(self) -> Iterator[bytes]:
        """What each text is found by."""
        digests = self.arrays["keys"].tobytes()
        return (digests[start : start + DIGEST_BYTES] for start in range(0, len(digests), DIGEST_BYTES))

    def row(self, index: int) -> dict[str, NDArray[Any]]:
        """What the shard holds of one text.

        Raises:
            DamagedShardError: It is not what was written.
        """
        start, end = self.arrays["offsets"][index : index + 2] if "offsets" in self.arrays else (0, 0)
        row = _row(self.arrays, index, start, end)
        if _checksum(row) != self.arrays["checks"][index]:
            raise DamagedShardError("a text's output has changed since it was written")
        return row


class DamagedShardError(Exception):
    """A shard, or a text's output in it, is not what was written."""


class ShardStore:
    """The shards of one key in a folder.

    Args:
        folder: The folder, which need not be there.
        key: The key.
        of: What the outputs are of, in a word, for warnings.
    """

    def __init__(self, folder: Path, key: StoreKey, of: str) -> None:
        self._folder = folder
        self._key = key
        self._of = of
        self._shards: dict[str, Shard] = {}
        self._damaged: set[Path] = set()
        self._places: dict[bytes, tuple[Shard, int]] = {}
        self.refresh()

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places

    def row(self, digest: bytes) -> dict[str, NDArray[Any]]:
        """What is kept of one text, by column.

        Raises:
            KeyError: There is none.
            DamagedShardError: It is not what was written; there is none from now on.
        """
        shard, row = self._places[digest]
        try:
            return shard.row(row)
        except DamagedShardError:
            del self._places[digest]
            raise

    @contextmanager
    def writing(self) -> Iterator[ShardWriter]:
        """A new shard, which is complete when the block ends without an exception; damaged ones are removed then.

        Raises:
            InputError: The folder cannot be written to; the store is as it was.
        """
        for store in self._folder.parent.glob("*"):
            collect(store)
        # A name of its own: two processes that write the same texts at once never touch each other's shard.
        target = self._folder / f"shard-{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
        with writing(target), atomic_folder(target) as scratch, closing(ShardWriter(scratch)) as shard:
            yield shard
            shard.finish(self._key)
        for path in self._damaged:
            remove(path)
        self._damaged.clear()
        self.refresh()

    def refresh(self) -> None:
        """Take in the shards that this or another process has finished since."""
        # The newest first: it may hold the texts that are damaged in an older one.
        for path in sorted(self._folder.glob("shard-*"), reverse=True):
            if path.name in self._shards or path in self._damaged:
                continue
            try:
                shard = Shard.load(path, self._key)
            except DamagedShardError as error:
                _log.warning("%s: %s; reads its sentences again", self._of, error)
                self._damaged.add(path)
                continue
            if shard is None:
                continue
            self._shards[path.name] = shard
            for row, digest in enumerate(shard.digests()):
                self._places.setdefault(digest, (shard, row))


class ShardWriter:
    """Writes the files of a shard batch by batch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._columns: dict[str, _Column] = {}
        self._offsets = [0]

    def append(self, digests: Sequence[bytes], flat: Mapping[str, Tensor]) -> None:
        """Write the outputs for some texts by column, and `lengths`, the tokens of each, where they have columns.

        Args:
            digests: What each text is found by, `DIGEST_BYTES` long.
            flat: Columns; those of tokens have the tokens of all texts in a row.
        """
        arrays: dict[str, NDArray[Any]] = {name: tensor.cpu().numpy() for name, tensor in flat.items()}
        ends = np.cumsum(arrays.pop("lengths", np.zeros(len(digests), np.int64))).tolist()
        rows = [_row(arrays, row, *bounds) for row, bounds in enumerate(zip([0, *ends[:-1]], ends, strict=True))]
        arrays["checks"] = np.array([_checksum(row) for row in rows], np.uint32)
        before = self._offsets[-1]
        self._offsets.extend(before + end for end in ends)
        arrays["keys"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)
        for name, values in arrays.items():
            if name not in self._columns:
                self._columns[name] = _Column(self._folder / f"{name}.npy", values)
            self._columns[name].append(values)

    def finish(self, key: StoreKey) -> None:
        """Complete the files and write the manifest."""
        self.close()
        if "offsets" in key.columns:
            np.save(self._folder / "offsets.npy", np.array(self._offsets, np.int64), allow_pickle=False)
        names = file_names(key)
        manifest = ShardManifest(key=key.model_dump(mode="json"), checksums=_checksums(self._folder, names))
        (self._folder / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Close the files; an error of one leaves none open."""
        with ExitStack() as stack:
            for column in self._columns.values():
                stack.callback(column.close)
            self._columns = {}


class _Column:
    """A `.npy` file that grows: its header, which holds the number of rows, is written last.

    Appending beats a writable memory map, which ends the process where the disk is full.
    """

    def __init__(self, path: Path, like: NDArray[Any]) -> None:
        self._dtype = like.dtype.newbyteorder("<")
        self._shape = like.shape[1:]
        self._rows = 0
        self._file = path.open("wb")
        self._file.write(bytes(HEADER_BYTES))

    def append(self, rows: NDArray[Any]) -> None:
        self._file.write(rows.astype(self._dtype, copy=False).tobytes())
        self._rows += len(rows)

    def close(self) -> None:
        with self._file:
            fields = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, *self._shape)}
            magic = np.lib.format.magic(1, 0)
            length = HEADER_BYTES - len(magic) - 2
            self._file.seek(0)
            self._file.write(magic + length.to_bytes(2, "little") + repr(fields).encode().ljust(length - 1) + b"\n")


def file_names(key: StoreKey) -> list[str]:
    """Files of a shard besides the manifest."""
    return [f"{name}.npy" for name in ("keys", "checks", *key.columns)]


def digest_of(text: str) -> bytes:
    """What a text is found by."""
    return hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES]


def _row(arrays: Mapping[str, NDArray[Any]], index: int, start: int, end: int) -> dict[str, NDArray[Any]]:
    """What columns hold of one text, whose tokens are those from `start` to `end`."""
    row = {name: arrays[name][start:end] for name in PER_TOKEN if name in arrays}
    return row | ({"sentence": arrays["sentence"][index]} if "sentence" in arrays else {})


def _checksum(row: Mapping[str, NDArray[Any]]) -> int:
    """CRC-32 of what is kept of one text, which costs little beside reading it."""
    checksum = 0
    for name in sorted(row):
        checksum = zlib.crc32(np.ascontiguousarray(row[name]).tobytes(), checksum)
    return checksum


def _checksums(folder: Path, names: list[str]) -> dict[str, str]:
    checksums = {}
    for name in names:
        with (folder / name).open("rb") as file:
            start = file.read(-1 if name.removesuffix(".npy") in _READ_WHOLE else HEADER_BYTES)
        checksums[name] = hashlib.sha256(start).hexdigest()
    return checksums
