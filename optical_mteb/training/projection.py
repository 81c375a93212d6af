"""A learned projection for a student whose width differs from its teacher's."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Pooling


def project_tokens(model: SentenceTransformer, width: int) -> SentenceTransformer:
    """Give every token embedding a learned linear map to `width`, ahead of pooling.

    The map is a module of the model, so it is trained, saved and loaded with it, and pooled embeddings go through it.

    Args:
        model: A model whose second module is its pooling; changed in place.
        width: Width of the teacher's embeddings.

    Returns:
        The model.

    Raises:
        ValueError: The model is not of the form transformer, pooling, rest.
    """
    modules = [module for _, module in model.named_children()]
    if len(modules) < 2 or not isinstance(modules[1], Pooling):
        raise ValueError(
            f"cannot project the tokens of a model of the form {[type(module).__name__ for module in modules]}: "
            "expected a transformer followed by its pooling"
        )
    transformer, _, *rest = modules
    pooling = modules[1]
    dense = Dense(
        pooling.embedding_dimension, width, bias=False, activation_function=None, module_input_name="token_embeddings"
    )
    replaced = Pooling(width, pooling_mode=pooling.pooling_mode, include_prompt=pooling.include_prompt)
    model._modules.clear()
    for index, module in enumerate((transformer, dense.to(model.device), replaced, *rest)):
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
