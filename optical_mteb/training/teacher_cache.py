"""A frozen teacher's outputs on disk, so that no text goes through the teacher twice.

A store is a folder of shards, one for each call of `ensure` that found texts missing, and a shard is a folder of plain
`.npy` files, read as memory maps, beside a manifest. A shard that was not finished, or not by this format, is ignored.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from torch import Tensor

from optical_mteb.errors import InputError
from optical_mteb.storage import _not_writable, atomic_folder, home
from optical_mteb.training.losses.encoding import blank_tokens, content_mask, special_token_ids

MANIFEST_NAME = "manifest.json"
DIGEST_BYTES = 16
HEADER_BYTES = 128
LARGEST = float(np.finfo(np.float16).max)


class CacheKey(BaseModel):
    """What a teacher's output depends on besides the text; stores of two keys share nothing.

    Attributes:
        format: Version of the files.
        revision: Revision of the teacher.
        prompt: Text before every sentence, empty for none.
        max_tokens: Longest input that the teacher reads, prompt and special tokens counted in.
        layers: Hidden layers kept besides the token embeddings, counted from the last one, -1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    revision: str
    prompt: str
    max_tokens: int
    layers: tuple[int, ...]

    def digest(self) -> str:
        """Name of the folder of this key."""
        fields = [self.format, self.revision, self.prompt, self.max_tokens, self.layers]
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:16]


class Manifest(BaseModel):
    """What a finished shard holds.

    Attributes:
        key: The key of its store.
        count: Texts.
        sizes: Bytes of each of its files.
    """

    model_config = ConfigDict(extra="forbid")

    key: CacheKey
    count: NonNegativeInt
    sizes: dict[str, NonNegativeInt]


class TeacherCache:
    """Outputs of a frozen teacher under one prompt and one length limit, kept as float16.

    A text takes 2·d·(1 + n) + 2·L·h·n + 5·n + 24 bytes on disk, for n tokens of width d and L layers of width h.
    Use `open`; the constructor is for it alone.
    """

    def __init__(self, teacher: SentenceTransformer, key: CacheKey, folder: Path) -> None:
        self._teacher = teacher
        self._key = key
        self._folder = folder
        self._shards: dict[str, _Shard] = {}
        self._places: dict[bytes, tuple[_Shard, int]] = {}
        self._read_shards()

    @classmethod
    def open(
        cls,
        teacher: SentenceTransformer,
        *,
        revision: str,
        prompt: str,
        max_tokens: int,
        layers: Sequence[int] = (),
        folder: Path | None = None,
    ) -> TeacherCache:
        """Open the store of a teacher; writes nothing.

        Args:
            teacher: The teacher; its weights must be those of `revision`.
            revision: What `base_revision` returns for the teacher.
            prompt: Text before every sentence, empty for none.
            max_tokens: Longest input in tokens; the teacher's own limit holds where that is lower.
            layers: Hidden layers to keep besides the token embeddings, as -1 for the last.
            folder: Folder of all stores, by default `teacher` in `optical_mteb.storage.home()`.

        Raises:
            InputError: A layer is not counted from the last one.
        """
        if any(layer >= 0 for layer in layers):
            raise InputError(f"layers {list(layers)}: expected negative numbers, counted from the last layer, -1")
        key = CacheKey(revision=revision, prompt=prompt, max_tokens=max_tokens, layers=tuple(layers))
        return cls(teacher, key, (folder or home() / "teacher") / key.digest())

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, text: str) -> bool:
        return _digest(text) in self._places

    def ensure(self, texts: Iterable[str], *, batch_size: int = 32, say: Callable[[str], None] | None = None) -> int:
        """Encode the texts that are missing and write them as one new shard.

        Memory holds one batch of outputs, and of the texts the missing ones and 16 bytes for each.

        Args:
            texts: Texts without the prompt; repeated ones count once.
            batch_size: Texts that the teacher reads at once.
            say: Takes the lines that report progress.

        Returns:
            Texts encoded.

        Raises:
            InputError: The store cannot be written to, or an output is not finite in float16, or the teacher has not
                the layers; the store then is as it was.
        """
        self._read_shards()
        missing = sorted((text for text in dict.fromkeys(texts) if text not in self), key=len, reverse=True)
        if not missing:
            return 0
        # A name of its own: two processes that encode the same texts at once never touch each other's shard.
        target = self._folder / f"shard-{uuid.uuid4().hex}"
        with atomic_folder(target) as scratch, _ShardWriter(scratch, target) as shard, self._encoding() as encode:
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                shard.append(batch, encode(batch))
                done = start + len(batch)
                if say is not None and 10 * done // len(missing) > 10 * start // len(missing):
                    say(f"teacher: {done:,} of {len(missing):,} new sentences encoded")
            shard.finish(self._key)
        self._read_shards()
        return len(missing)

    def features(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """The teacher's outputs for a batch of B texts of up to n tokens, zero on padding, padded on the right.

        Returns:
            `input_ids` and `attention_mask`, [B, n], int64; `content_mask`, [B, n], boolean, as
            `losses.encoding.content_mask`; `token_embeddings`, [B, n, d], float32; `sentence_embedding`, [B, d],
            float32; and where the store keeps L layers, `hidden_layers`, [B, n, L, h], float32, in their order.

        Raises:
            KeyError: A text was never given to `ensure`.
        """
        rows = [self._row(text) for text in texts]
        batch = {
            "input_ids": _padded([row["ids"] for row in rows], np.int64),
            "attention_mask": _padded([np.ones(len(row["ids"])) for row in rows], np.int64),
            "content_mask": _padded([row["content"] for row in rows], np.bool_),
            "token_embeddings": _padded([row["tokens"] for row in rows], np.float32),
            "sentence_embedding": _padded([row["sentence"] for row in rows], np.float32),
        }
        if self._key.layers:
            batch["hidden_layers"] = _padded([row["hidden"] for row in rows], np.float32)
        return batch

    def _row(self, text: str) -> dict[str, NDArray[Any]]:
        place = self._places.get(_digest(text))
        if place is None:
            raise KeyError(f"no teacher output for {_beginning(text)}; give the text to TeacherCache.ensure first")
        shard, row = place
        return shard.row(row)

    def _read_shards(self) -> None:
        """Take in the shards that this or another process has finished since."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("shard-*")):
            if path.name in self._shards or (shard := _Shard.load(path, self._key)) is None:
                continue
            self._shards[path.name] = shard
            for row, digest in enumerate(shard.digests()):
                self._places.setdefault(digest, (shard, row))

    @contextmanager
    def _encoding(self) -> Iterator[Callable[[list[str]], dict[str, Tensor]]]:
        """The teacher as a function of a batch of texts, set up for the key as long as the block runs."""
        teacher, key = self._teacher, self._key
        special_ids = special_token_ids(teacher)
        config = getattr(teacher.transformers_model, "config", None) if key.layers else None
        training, longest = teacher.training, teacher.max_seq_length
        outputs_layers = getattr(config, "output_hidden_states", False)
        try:
            teacher.eval()
            teacher.max_seq_length = min(key.max_tokens, longest or key.max_tokens)
            if config is not None:
                config.output_hidden_states = True
            blank = blank_tokens(teacher.preprocess, key.prompt) if key.prompt else 0

            def encode(texts: list[str]) -> dict[str, Tensor]:
                features: dict[str, Any] = teacher.preprocess(texts, prompt=key.prompt or None)
                if key.prompt:
                    features["prompt_length"] -= blank
                features = batch_to_device(features, teacher.device)
                with torch.no_grad():
                    output = teacher(dict(features))
                return _flattened(texts, features, output, special_ids, key.layers)

            yield encode
        finally:
            teacher.train(training)
            teacher.max_seq_length = longest
            if config is not None:
                config.output_hidden_states = outputs_layers


def _flattened(
    texts: list[str], features: dict[str, Any], output: dict[str, Any], special_ids: Tensor, layers: tuple[int, ...]
) -> dict[str, Tensor]:
    """What a shard keeps of a batch of B texts: the N attended tokens of all texts in a row, and `lengths`, [B]."""
    ids, attended = features["input_ids"], features["attention_mask"].bool()
    content = content_mask(ids, attended, special_ids, features.get("prompt_length"))
    lengths = attended.sum(-1)
    owners = torch.arange(len(texts), device=lengths.device).repeat_interleave(lengths)
    flat = {
        "lengths": lengths,
        "ids": ids[attended].int(),
        "content": content[attended],
        "tokens": _half(output["token_embeddings"][attended], owners, texts),
        "sentence": _half(output["sentence_embedding"], torch.arange(len(texts)), texts),
    }
    if layers:
        hidden = output.get("all_layer_embeddings", ())
        if -min(layers) > len(hidden):
            raise InputError(f"layers {list(layers)}: the teacher has {len(hidden)}, its word embeddings counted in")
        flat["hidden"] = _half(torch.stack([hidden[layer][attended] for layer in layers], 1), owners, texts)
    return flat


def _half(values: Tensor, owners: Tensor, texts: list[str]) -> Tensor:
    """Values, [N, ...], as float16; `owners`, [N], says which text a row comes from.

    Raises:
        InputError: A value is not finite, or too large for float16.
    """
    rounded = values.half()
    bad = ~rounded.isfinite().flatten(1).all(1)
    if bad.any():
        first = int(bad.long().argmax())
        if values[first].isfinite().all():
            found = f"reaches {float(values[first].abs().max()):g}, and the cache holds up to {LARGEST:g}"
        else:
            found = "is not finite"
        text = _beginning(texts[int(owners[first])])
        raise InputError(f"teacher: its output for {text} {found}; leave the text out, or train without the cache")
    return rounded


@dataclass(frozen=True)
class _Shard:
    """A finished shard: memory maps, by name of file."""

    arrays: dict[str, NDArray[Any]]

    @classmethod
    def load(cls, path: Path, key: CacheKey) -> _Shard | None:
        """The shard at a folder, or None where that is not one, is not whole, or belongs to another key."""
        try:
            manifest = Manifest.model_validate_json((path / MANIFEST_NAME).read_bytes())
            names = _names(key.layers)
            sizes = {name: (path / name).stat().st_size for name in names}
            if manifest.key != key or manifest.sizes != sizes:
                return None
            arrays = {
                name.removesuffix(".npy"): np.load(path / name, mmap_mode="r", allow_pickle=False) for name in names
            }
        except (OSError, ValidationError, ValueError):
            return None
        return cls(arrays) if len(arrays["keys"]) == manifest.count else None

    def digests(self) -> Iterator[bytes]:
        """What `_digest` returned for each text."""
        digests = self.arrays["keys"].tobytes()
        return (digests[start : start + DIGEST_BYTES] for start in range(0, len(digests), DIGEST_BYTES))

    def row(self, index: int) -> dict[str, NDArray[Any]]:
        """What the shard holds of one text."""
        start, end = self.arrays["offsets"][index : index + 2]
        per_token = ("ids", "content", "tokens", "hidden")
        row = {name: self.arrays[name][start:end] for name in per_token if name in self.arrays}
        return row | {"sentence": self.arrays["sentence"][index]}


class _ShardWriter:
    """Writes the files of a shard batch by batch, to `scratch`, which will stand at `target`."""

    def __init__(self, scratch: Path, target: Path) -> None:
        self._scratch = scratch
        self._target = target
        self._columns: dict[str, _Column] = {}
        self._offsets = [0]

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._storing():
            self._close()

    def append(self, texts: list[str], flat: dict[str, Tensor]) -> None:
        """Write what `_flattened` returned for the texts."""
        arrays: dict[str, NDArray[Any]] = {name: tensor.cpu().numpy() for name, tensor in flat.items()}
        for length in arrays.pop("lengths"):
            self._offsets.append(self._offsets[-1] + int(length))
        arrays["keys"] = np.frombuffer(b"".join(map(_digest, texts)), np.uint8).reshape(-1, DIGEST_BYTES)
        with self._storing():
            for name, rows in arrays.items():
                if name not in self._columns:
                    self._columns[name] = _Column(self._scratch / f"{name}.npy", rows)
                self._columns[name].append(rows)

    def finish(self, key: CacheKey) -> None:
        """Complete the files and write the manifest."""
        with self._storing():
            self._close()
            np.save(self._scratch / "offsets.npy", np.array(self._offsets, np.int64), allow_pickle=False)
            sizes = {name: (self._scratch / name).stat().st_size for name in _names(key.layers)}
            manifest = Manifest(key=key, count=len(self._offsets) - 1, sizes=sizes)
            (self._scratch / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _close(self) -> None:
        with ExitStack() as stack:
            for column in self._columns.values():
                stack.callback(column.close)
            self._columns = {}

    @contextmanager
    def _storing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _not_writable(self._target, error) from error


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


def _names(layers: tuple[int, ...]) -> list[str]:
    """Files of a shard besides the manifest."""
    names = ["ids", "content", "tokens", "sentence", "offsets", "keys", *(["hidden"] if layers else [])]
    return [f"{name}.npy" for name in names]


def _digest(text: str) -> bytes:
    """What a text is found by."""
    return hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES]


def _beginning(text: str) -> str:
    """The first characters of a text for a message of one line."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _padded(rows: list[NDArray[Any]], dtype: type[np.generic]) -> Tensor:
    """Rows of [n_i, ...] as one tensor, [B, n, ...], zero past the end of a row."""
    padded = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), dtype)
    for row, target in zip(rows, padded, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(padded)
