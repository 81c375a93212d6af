"""Embeddings narrower than the teacher's: both models' tokens go through a linear map that starts at the same values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from optical_mteb.errors import InputError
from optical_mteb.training.projection import only_pools, project_tokens, token_width
from optical_mteb.training.reader import Reader


def narrow(
    student: SentenceTransformer,
    teacher: SentenceTransformer,
    width: int,
    sentences: Iterable[str],
    *,
    prompt: str = "",
    max_tokens: int | None = None,
) -> str:
    """Map the tokens of student and teacher to `width` dimensions, in place, ahead of their pooling.

    The teacher's map has its principal directions as rows, and the student's starts there; a student whose tokens are
    not as wide as the teacher's starts at random.

    Sentences, prompt and limit are those of `principal_directions`.

    Returns:
        16 hexadecimal digits that stand for the teacher's map.

    Raises:
        InputError: The teacher is not wider, or a model does more than pool and normalise its tokens.
    """
    if width >= token_width(teacher):
        raise InputError(
            f"width = {width}: the teacher's tokens are {token_width(teacher)} wide; "
            "ask for less, or leave the key width out"
        )
    for model in (student, teacher):
        try:
            fits = only_pools(model)
        except ValueError:
            fits = False
        if not fits:
            raise InputError(
                f"width = {width}: cannot narrow a model of the form {[type(module).__name__ for module in model]}; "
                "expected pooling, and at most unit length behind it; leave the key width out, or use another base"
            )
    directions = principal_directions(teacher, sentences, width, prompt=prompt, max_tokens=max_tokens)
    project_tokens(student, width, weight=directions if token_width(student) == directions.shape[1] else None)
    project_tokens(teacher, width, weight=directions)
    return hashlib.sha256(directions.numpy().tobytes()).hexdigest()[:16]


@torch.no_grad()
def principal_directions(
    model: SentenceTransformer,
    sentences: Iterable[str],
    width: int,
    *,
    prompt: str = "",
    max_tokens: int | None = None,
    sample: int = 512,
) -> Tensor:
    """Orthonormal directions that keep most of a model's token embeddings: uncentred principal component analysis.

    They are the eigenvectors of sum_i x_i x_i^T, over the content tokens x_i of the sentences, that belong to its
    largest eigenvalues. As nothing is centred, the map is linear: inner products of tokens stay what they are in the
    subspace, and the mean of mapped tokens is the mapped mean. After the dimensionality reduction of sentence-transformers'
    model distillation (Reimers; examples/sentence_transformer/training/distillation), which takes the components of
    the teacher's sentence embeddings.

    Args:
        model: The model.
        sentences: Texts without the prompt; of the distinct ones, those that come first by SHA-256 are read.
        width: Directions to return.
        prompt: Text before every sentence, empty for none; its tokens are no content.
        max_tokens: Longest input in tokens; the model's own limit holds where that is lower.
        sample: How many sentences to read.

    Returns:
        Directions as rows, by falling eigenvalue, [width, d], float32, on the CPU; the entry of a row that is largest
        by magnitude is positive.
    """
    chosen = sorted(set(sentences), key=lambda text: hashlib.sha256(text.encode()).digest())[:sample]
    chosen.sort(key=len)
    moments = torch.zeros(token_width(model), token_width(model), dtype=torch.float64)
    reader = Reader(model, prompt, max_tokens)
    for start in range(0, len(chosen), 32):
        encoded, _ = reader.read(chosen[start : start + 32])
        tokens = encoded.tokens[encoded.content].cpu().double()
        moments += tokens.T @ tokens
    directions: Tensor = torch.linalg.eigh(moments).eigenvectors.T.flip(0)[:width]
    largest = directions.gather(1, directions.abs().argmax(1, keepdim=True))
    return (directions * largest.sign()).float().contiguous()
