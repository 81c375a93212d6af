"""A frozen teacher's outputs on disk, so that no text goes through the teacher twice.

A store has one shard for each call of `ensure` that found texts missing. A text whose output is damaged goes through the
teacher again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NegativeInt
from sentence_transformers import SentenceTransformer
from torch import Tensor

from optical_mteb.errors import InputError
from optical_mteb.storage import home
from optical_mteb.training.losses.encoding import Encoded
from optical_mteb.training.reader import Reader, token_counts
from optical_mteb.training.shards import DamagedShardError, ShardStore, StoreKey, digest_of

LARGEST = float(np.finfo(np.float16).max)
_log = logging.getLogger(__name__)


class CacheKey(StoreKey):
    """What a teacher's output depends on besides the text.

    Attributes:
        revision: What `base_revision` returns for the teacher.
        prompt: Text before every sentence, empty for none.
        max_tokens: Longest input that the teacher reads, prompt and special tokens counted in; the teacher's own limit
            holds where that is lower.
        layers: Hidden layers kept besides the token embeddings, counted from the last one, -1.
        tokens: Whether outputs of tokens are kept; without, the sentence embeddings alone, 2·d + 20 bytes a text.
    """

    revision: str
    prompt: str
    max_tokens: int
    layers: tuple[NegativeInt, ...] = ()
    tokens: bool = True

    def digest(self) -> str:
        """Name of the folder of this key."""
        fields: list[Any] = [self.format, self.revision, self.prompt, self.max_tokens, self.layers]
        if not self.tokens:
            fields.append("sentences")
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()[:16]

    @property
    def columns(self) -> list[str]:
        """Those of the sentence and, where they are kept, of its tokens."""
        of_tokens = ["ids", "content", "tokens", "offsets", *(["hidden"] if self.layers else [])]
        return ["sentence", *(of_tokens if self.tokens else [])]


class TeacherCache:
    """Outputs of a frozen teacher under one prompt and one length limit, kept as float16 in `optical_mteb.storage.home()`.

    A text takes 2·d·(1 + n) + 2·L·h·n + 5·n + 28 bytes on disk, for n tokens of width d and L layers of width h. Opening
    a store writes nothing.

    Args:
        teacher: The teacher; its weights must be those of the key's revision.
        key: What else the outputs depend on.
    """

    def __init__(self, teacher: SentenceTransformer, key: CacheKey) -> None:
        self._teacher = teacher
        self._key = key
        self._store = ShardStore(home() / "teacher" / key.digest(), key, "teacher")

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, text: str) -> bool:
        return digest_of(text) in self._store

    def ensure(self, texts: Iterable[str], *, batch_size: int = 32, say: Callable[[str], None] | None = None) -> int:
        """Encode the texts that are missing, repeated ones once, and write them as one new shard.

        Memory holds one batch of outputs, and of the texts the missing ones and 16 bytes for each.

        Returns:
            Texts encoded.

        Raises:
            InputError: The store cannot be written to, or an output is not finite in float16, or the teacher has not
                the layers; the store then is as it was.
        """
        self._store.refresh()
        missing = [text for text in dict.fromkeys(texts) if text not in self]
        if not missing:
            return 0
        # Sentences of one length share a batch, and none is padded.
        lengths = token_counts(self._teacher, missing, self._key.prompt, self._key.max_tokens)
        missing = [missing[index] for index in np.argsort(-lengths, kind="stable")]
        with self._store.writing() as shard:
            reader = Reader(self._teacher, self._key.prompt, self._key.max_tokens)
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                encoded, attended = reader.read(batch, self._key.layers)
                flat = {"sentence": _half(encoded.sentence, torch.arange(len(batch)), batch)}
                of_tokens = _of_tokens(batch, encoded, attended) if self._key.tokens else {}
                shard.append([digest_of(text) for text in batch], flat | of_tokens)
                done = start + len(batch)
                if say is not None and 10 * done // len(missing) > 10 * start // len(missing):
                    say(f"teacher: {done:,} of {len(missing):,} new sentences encoded")
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
        digest = digest_of(text)
        if digest not in self._store:
            raise KeyError(f"no teacher output for {_beginning(text)}; give the text to TeacherCache.ensure first")
        try:
            return self._store.row(digest)
        except DamagedShardError as error:
            _log.warning("teacher: %s: %s; reads it again", _beginning(text), error)
            self.ensure([text])
            return self._store.row(digest)


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
