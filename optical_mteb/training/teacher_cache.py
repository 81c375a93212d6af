"""A frozen teacher's outputs on disk, so that no text goes through the teacher twice.

A store is a folder of shards, one for each call of `ensure` that found texts missing, and a shard is a folder of plain
`.npy` files, read as memory maps, beside a manifest. A shard that was not finished, or not by this format, is ignored.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from torch import Tensor

from optical_mteb.errors import InputError
from optical_mteb.storage import atomic_folder, home
from optical_mteb.training.examples import token_counts
from optical_mteb.training.losses.encoding import blank_tokens, content_mask, special_token_ids
from optical_mteb.training.teacher_shards import (
    CacheKey,
    Shard,
    ShardWriter,
    digest_of,
)

LARGEST = float(np.finfo(np.float16).max)


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
        # A name of its own: two processes that encode the same texts at once never touch each other's shard.
        target = self._folder / f"shard-{uuid.uuid4().hex}"
        with atomic_folder(target) as scratch, ShardWriter(scratch, target) as shard, self._encoding() as encode:
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
        return shard.row(row)

    def _read_shards(self) -> None:
        """Take in the shards that this or another process has finished since."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob("shard-*")):
            if path.name in self._shards or (shard := Shard.load(path, self._key)) is None:
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
                if not key.tokens:
                    return {"sentence": _half(output["sentence_embedding"], torch.arange(len(texts)), texts)}
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


def _beginning(text: str) -> str:
    """The first characters of a text for a message of one line."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def _padded(rows: list[NDArray[Any]], dtype: type[np.generic]) -> Tensor:
    """Rows of [n_i, ...] as one tensor, [B, n, ...], zero past the end of a row."""
    padded = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), dtype)
    for row, target in zip(rows, padded, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(padded)
