"""A frozen teacher's outputs on disk, so that no text goes through the teacher twice.

A store is a folder of shards, one for each call of `ensure` that found texts missing, and a shard is a folder of plain
`.npy` files, read as memory maps, beside a manifest. A shard that is damaged, or of another format, is ignored and then
removed; a text whose output is damaged goes through the teacher again.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import Tensor

from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, collect, home, remove
from optical_mteb.training.losses.encoding import Encoded
from optical_mteb.training.reader import Reader, token_counts
from optical_mteb.training.teacher_shards import (
    CacheKey,
    DamagedShardError,
    Shard,
    ShardWriter,
    digest_of,
)

LARGEST = float(np.finfo(np.float16).max)
_log = logging.getLogger(__name__)


class TeacherCache:
    """Outputs of a frozen teacher under one prompt and one length limit, kept as float16.

    A text takes 2·d·(1 + n) + 2·L·h·n + 5·n + 24 bytes on disk, for n tokens of width d and L layers of width h.
    Use `open`; the constructor is for it alone.
    """

    def __init__(self, teacher: SentenceTransformer, key: CacheKey, folder: Path) -> None:
        self._teacher = teacher
        self._key = key
        self._folder = folder
        self._shards: dict[str, Shard] = {}
        self._damaged: set[Path] = set()
        self._places: dict[bytes, tuple[Shard, int]] = {}
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
        tokens: bool = True,
        folder: Path | None = None,
    ) -> TeacherCache:
        """Open the store of a teacher; writes nothing.

        Args:
            teacher: The teacher; its weights must be those of `revision`.
            revision: What `base_revision` returns for the teacher.
            prompt: Text before every sentence, empty for none.
            max_tokens: Longest input in tokens; the teacher's own limit holds where that is lower.
            layers: Hidden layers to keep besides the token embeddings, as -1 for the last.
            tokens: Keep what the teacher says of tokens; without, 2·d + 16 bytes a text.
            folder: Folder of all stores, by default `teacher` in `optical_mteb.storage.home()`.

        Raises:
            InputError: A layer is not counted from the last one.
        """
        if any(layer >= 0 for layer in layers):
            raise InputError(f"layers {list(layers)}: expected negative numbers, counted from the last layer, -1")
        key = CacheKey(revision=revision, prompt=prompt, max_tokens=max_tokens, layers=tuple(layers), tokens=tokens)
        return cls(teacher, key, (folder or home() / "teacher") / key.digest())

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, text: str) -> bool:
        return digest_of(text) in self._places

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
        missing = [text for text in dict.fromkeys(texts) if text not in self]
        if not missing:
            return 0
        # Sentences of one length share a batch, and none is padded.
        lengths = token_counts(self._teacher, missing, self._key.prompt, self._key.max_tokens)
        missing = [missing[index] for index in np.argsort(-lengths, kind="stable")]
        for store in self._folder.parent.glob("*"):
            collect(store)
        # A name of its own: two processes that encode the same texts at once never touch each other's shard.
        target = self._folder / f"shard-{time.time_ns():020d}-{uuid.uuid4().hex[:12]}"
        with atomic_folder(target) as scratch, ShardWriter(scratch, target) as shard:
            reader = Reader(self._teacher, self._key.prompt, self._key.max_tokens)
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                encoded, attended = reader.read(batch, self._key.layers)
                flat = {"sentence": _half(encoded.sentence, torch.arange(len(batch)), batch)}
                shard.append(batch, flat | (_of_tokens(batch, encoded, attended) if self._key.tokens else {}))
                done = start + len(batch)
                if say is not None and 10 * done // len(missing) > 10 * start // len(missing):
                    say(f"teacher: {done:,} of {len(missing):,} new sentences encoded")
            shard.finish(self._key)
        for path in self._damaged:
            remove(path)
        self._damaged.clear()
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

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """The teacher's sentence embeddings of B texts, [B, d], float16.

        Raises:
            KeyError: A text was never given to `ensure`.
        """
        return torch.from_numpy(np.stack([self._row(text)["sentence"] for text in texts]))

    def _row(self, text: str) -> dict[str, NDArray[Any]]:
        place = self._places.get(digest_of(text))
        if place is None:
            raise KeyError(f"no teacher output for {_beginning(text)}; give the text to TeacherCache.ensure first")
        shard, row = place
        try:
            return shard.row(row)
        except DamagedShardError as error:
            _log.warning("teacher: %s: %s; reads it again", _beginning(text), error)
            del self._places[digest_of(text)]
            self.ensure([text])
            shard, row = self._places[digest_of(text)]
            return shard.row(row)

    def _read_shards(self) -> None:
        """Take in the shards that this or another process has finished since."""
        if not self._folder.is_dir():
            return
        # The newest first: it may hold the texts that are damaged in an older one.
        for path in sorted(self._folder.glob("shard-*"), reverse=True):
            if path.name in self._shards or path in self._damaged:
                continue
            try:
                shard = Shard.load(path, self._key)
            except DamagedShardError as error:
                _log.warning("teacher: %s; reads its sentences again", error)
                self._damaged.add(path)
                continue
            if shard is None:
                continue
            self._shards[path.name] = shard
            for row, digest in enumerate(shard.digests()):
                self._places.setdefault(digest, (shard, row))


def _of_tokens(texts: list[str], encoded: Encoded, attended: Tensor) -> dict[str, Tensor]:
    """What a shard keeps of the tokens of B texts: the N attended ones of all texts in a row, and `lengths`, [B]."""
    lengths = attended.sum(-1)
    owners = torch.arange(len(texts), device=lengths.device).repeat_interleave(lengths)
    flat = {
        "lengths": lengths,
        "ids": encoded.ids[attended].int(),
        "content": encoded.content[attended],
        "tokens": _half(encoded.tokens[attended], owners, texts),
    }
    if encoded.hidden is not None:
        flat["hidden"] = _half(torch.stack([layer[attended] for layer in encoded.hidden.values()], 1), owners, texts)
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


def _beginning(text: str) -> str:
    """The first characters of a text for a message of one line."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _padded(rows: list[NDArray[Any]], dtype: type[np.generic]) -> Tensor:
    """Rows of [n_i, ...] as one tensor, [B, n, ...], zero past the end of a row."""
    padded = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), dtype)
    for row, target in zip(rows, padded, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(padded)
