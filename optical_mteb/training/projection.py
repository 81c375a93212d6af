"""A linear map of a model's tokens ahead of their pooling, to another width."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor


def project_tokens(model: SentenceTransformer, width: int, *, weight: Tensor | None = None) -> SentenceTransformer:
    """Give every token embedding a learned linear map to `width`, ahead of pooling.

    The map is a module of the model, so it is trained, saved and loaded with it, and pooled embeddings go through it.

    Args:
        model: A model with one pooling; changed in place.
        width: Width of the mapped tokens.
        weight: Values that the map starts at, [width, d], for tokens of width d; random ones by default.

    Returns:
        The model.

    Raises:
        ValueError: The model has no pooling, or more than one.
    """
    modules = [module for _, module in model.named_children()]
    poolings = [(place, module) for place, module in enumerate(modules) if isinstance(module, Pooling)]
    if len(poolings) != 1:
        raise ValueError(
            f"cannot project the tokens of a model of the form {[type(module).__name__ for module in modules]}: "
            "expected one pooling"
        )
    place, pooling = poolings[0]
    dense = Dense(
        pooling.embedding_dimension,
        width,
        bias=False,
        activation_function=None,
        init_weight=None if weight is None else weight.detach().clone(),
        module_input_name="token_embeddings",
    )
    replaced = Pooling(width, pooling_mode=pooling.pooling_mode, include_prompt=pooling.include_prompt)
    modules[place : place + 1] = [dense.to(model.device), replaced]
    model._modules.clear()
    for index, module in enumerate(modules):
        model.add_module(str(index), module)
    return model


def token_width(model: SentenceTransformer) -> int:
    """Width of the token embeddings that a model pools; that of its embeddings where it has no pooling.

    Raises:
        ValueError: The model does not say.
    """
    widths = [module.embedding_dimension for module in model.modules() if isinstance(module, Pooling)]
    width = widths[0] if widths else model.get_embedding_dimension()
    if width is None:
        raise ValueError(f"a model of the form {[type(module).__name__ for module in model]} does not say its width")
    return int(width)
