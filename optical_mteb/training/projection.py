"""Linear maps of a model's tokens, and of its sentences, to another width."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from torch import Tensor, nn

_TOKENS = "token_embeddings"


def project_tokens(model: SentenceTransformer, width: int, *, weight: Tensor | None = None) -> None:
    """Give every token embedding a learned linear map to `width`.

    The map is a module of the model, so it is trained, saved and loaded with it. It stands ahead of the pooling, so that
    pooled embeddings go through it; but behind it where modules follow that take pooled embeddings of the old width.

    Args:
        model: A model with one pooling; changed in place.
        width: Width of the mapped tokens.
        weight: Values that the map starts at, [width, d], for tokens of width d; random ones by default.

    Raises:
        ValueError: The model has no pooling, or more than one.
    """
    modules, place = _modules(model)
    pooling = modules[place]
    dense = Dense(
        token_width(model),
        width,
        bias=False,
        activation_function=None,
        init_weight=None if weight is None else weight.detach().clone(),
        module_input_name=_TOKENS,
    ).to(model.device)
    if only_pools(model):
        replaced = Pooling(width, pooling_mode=pooling.pooling_mode, include_prompt=pooling.include_prompt)
        modules[place : place + 1] = [dense, replaced]
    else:
        modules.insert(place + 1, dense)
    _put(model, modules)


def project_sentences(model: SentenceTransformer, width: int) -> None:
    """Give sentence embeddings, in place, a learned linear map to `width`, ahead of a last change to unit length.

    Raises:
        ValueError: The model has no pooling, or more than one.
    """
    modules, _ = _modules(model)
    place = len(modules) - int(isinstance(modules[-1], Normalize))
    modules.insert(place, Dense(embedding_width(model), width, bias=False, activation_function=None).to(model.device))
    _put(model, modules)


def drop_behind_pooling(model: SentenceTransformer) -> None:
    """Take away, in place, what changes pooled embeddings but for their length: late interaction has no use for it.

    Raises:
        ValueError: The model has no pooling, or more than one.
    """
    modules, place = _modules(model)
    behind = [module for module in modules[place + 1 :] if isinstance(module, Normalize)]
    _put(model, [*modules[: place + 1], *behind])


def only_pools(model: SentenceTransformer) -> bool:
    """Whether nothing but a change to unit length follows the pooling.

    Raises:
        ValueError: The model has no pooling, or more than one.
    """
    modules, place = _modules(model)
    return all(isinstance(module, Normalize) for module in modules[place + 1 :])


def embedding_width(model: SentenceTransformer) -> int:
    """Width of a model's embeddings, which every model with a transformer can say."""
    return cast("int", model.get_embedding_dimension())


def token_width(model: SentenceTransformer) -> int:
    """Width of the token embeddings that a model gives out; that of its embeddings where it has no pooling."""
    width = None
    for module in model.modules():
        if isinstance(module, Pooling):
            width = module.embedding_dimension
        elif isinstance(module, Dense) and module.module_output_name == _TOKENS:
            width = module.out_features
    return embedding_width(model) if width is None else int(width)


def _modules(model: SentenceTransformer) -> tuple[list[nn.Module], int]:
    """The modules of a model, and the place of its pooling."""
    modules = [module for _, module in model.named_children()]
    places = [place for place, module in enumerate(modules) if isinstance(module, Pooling)]
    if len(places) != 1:
        raise ValueError(
            f"cannot change a model of the form {[type(module).__name__ for module in modules]}: expected one pooling"
        )
    return modules, places[0]


def _put(model: SentenceTransformer, modules: Iterable[nn.Module]) -> None:
    model._modules.clear()
    for index, module in enumerate(modules):
        model.add_module(str(index), module)
