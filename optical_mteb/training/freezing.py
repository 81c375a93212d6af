"""The weights of a student that training leaves as they are."""

from __future__ import annotations

from typing import cast

from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn
from transformers import PreTrainedModel

from optical_mteb.bases import transformer_layers
from optical_mteb.errors import InputError


def word_embeddings(model: SentenceTransformer) -> nn.Embedding:
    """The embedding layer of a model's transformer."""
    transformer = cast("PreTrainedModel", model.transformers_model)
    return cast("nn.Embedding", transformer.get_input_embeddings())


def embedding_modules(model: SentenceTransformer | MultiVectorEncoder) -> list[nn.Module]:
    """What embeds below the layers: positions and the norm beside the words, in a module where a model has one."""
    transformer = cast("PreTrainedModel", model.transformers_model)
    words = transformer.get_input_embeddings()
    return [
        module
        for module in transformer.modules()
        if module is not transformer and any(child is words for child in module.children())
    ]


def freeze(model: SentenceTransformer, *, words: bool, layers: int = 0) -> None:
    """Freeze what gets no gradient, in place: neither a backward pass nor an optimizer state is spent on it.

    BERT's own pooler is frozen where another pools.

    Args:
        model: The student.
        words: Freeze the word embeddings.
        layers: Freeze so many transformer layers, the first, and all that is embedded below them.

    Raises:
        InputError: The model has no more layers than that, or none that could be told apart.
    """
    word_embeddings(model).requires_grad_(not words)
    pooler = getattr(model.transformers_model, "pooler", None)
    if isinstance(pooler, nn.Module) and any(isinstance(module, Pooling) for module in model):
        pooler.requires_grad_(False)
    if not layers:
        return
    present = transformer_layers(model)
    if layers >= len(present):
        raise InputError(f"freeze_layers = {layers}: the student has {len(present)} layers; freeze fewer")
    for layer in present[:layers]:
        layer.requires_grad_(False)
    for module in embedding_modules(model):
        module.requires_grad_(False)
