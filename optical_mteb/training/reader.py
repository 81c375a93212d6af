"""How a model reads texts outside of training steps: after a prompt, cut, in eval mode, its own tokens told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from torch import Tensor

from optical_mteb.training.losses.encoding import Encoded, blank_tokens, encode, read_texts, special_token_ids


class Reader:
    """A model, what it is shown before a text, and where it stops reading.

    Args:
        model: The model, not wrapped; reading leaves it as it was.
        prompt: Text before every text, empty for none.
        max_tokens: Longer inputs are cut, prompt and special tokens included; the model's own limit holds where that is
            lower.
    """

    def __init__(self, model: SentenceTransformer, prompt: str = "", max_tokens: int | None = None) -> None:
        self._model = model
        self._prompt = prompt
        self._max_tokens = max_tokens
        self._special_ids = special_token_ids(model)
        self._blank: int | None = None

    @torch.no_grad()
    def read(self, texts: Sequence[str], layers: Sequence[int] = ()) -> tuple[Encoded, Tensor]:
        """Read B texts of up to n tokens.

        Args:
            texts: Texts without the prompt.
            layers: Transformer layers to keep the outputs of, counted from the last.

        Returns:
            The texts as the losses see them, and which tokens are no padding, [B, n], boolean.
        """
        with self._reading():
            if self._blank is None:
                self._blank = blank_tokens(self._model.preprocess, self._prompt)
            features = read_texts(self._model.preprocess, texts, self._prompt, blank=self._blank)
            features = batch_to_device(features, self._model.device)
            return encode(self._model, features, self._special_ids, layers), features["attention_mask"].bool()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        model, training, longest = self._model, self._model.training, self._model.max_seq_length
        try:
            model.eval()
            model.max_seq_length = min((limit for limit in (self._max_tokens, longest) if limit), default=None)
            yield
        finally:
            model.train(training)
            model.max_seq_length = longest


def token_counts(
    model: SentenceTransformer,
    texts: Sequence[str],
    prompt: str = "",
    max_tokens: int | None = None,
    *,
    cut: bool = True,
) -> NDArray[np.int64]:
    """Tokens that a model reads of each text, special tokens and prompt included, [N].

    Longer texts are cut at `max_tokens`, or at the model's own limit where that is lower; without `cut`, all is counted.
    """
    tokenizer: Any = model.tokenizer
    limits = [limit for limit in (max_tokens, model.max_seq_length) if limit and cut]
    counts: list[int] = []
    for start in range(0, len(texts), 10_000):
        batch = [prompt + text for text in texts[start : start + 10_000]]
        encoded = tokenizer(batch, add_special_tokens=True, truncation=False, padding=False, verbose=False)
        counts += [len(ids) for ids in encoded["input_ids"]]
    return np.minimum(np.array(counts, np.int64), min(limits, default=np.iinfo(np.int64).max))
