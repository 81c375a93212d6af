"""Layer selection: an encoder without some of its transformer layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch.nn import Module, ModuleList
    from transformers import PreTrainedModel

LayerSelection = Literal["spaced", "first"]
"""Which layers stay: evenly spaced ones, the last among them, or the first."""


def layer_indices(layers: int, present: int, selection: LayerSelection = "spaced") -> list[int]:
    """The layers to keep, counted from 0, in ascending order.

    Args:
        layers: How many to keep.
        present: How many the model has.
        selection: `spaced` keeps the last of each of `layers` equal parts: 1, 3, 5, 7, 9, 11 for 6 of 12, one layer out
            of two as in DistilBERT (https://arxiv.org/abs/1910.01108, section 3). `first` keeps the first.

    Raises:
        InputError: The model has fewer layers.
    """
    if not 1 <= layers <= present:
        raise InputError(f"layers = {layers}: the model has {present} transformer layers; ask for 1 to {present}")
    if selection == "first":
        return list(range(layers))
    return [(part + 1) * present // layers - 1 for part in range(layers)]


def select_layers(model: SentenceTransformer, keep: Sequence[int]) -> None:
    """Remove, in place, all transformer layers but some; on an error the model is untouched.

    Args:
        model: A model that starts with a transformer of equal layers, as BERT, XLM-R, MPNet and DistilBERT are.
        keep: The layers that stay, counted from 0, ascending.

    Raises:
        InputError: There is no such layer, or the model's layers cannot be told or are not alike.
    """
    layers = transformer_layers(model)
    if not keep or sorted(set(keep)) != list(keep) or keep[0] < 0 or keep[-1] >= len(layers):
        raise InputError(f"layers {list(keep)}: expected ascending numbers from 0 to {len(layers) - 1}")
    for index in reversed(range(len(layers))):
        if index not in keep:
            del layers[index]
    cast("PreTrainedModel", model.transformers_model).config.get_text_config().num_hidden_layers = len(layers)
    for index, layer in enumerate(layers):
        module: Any
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index


def transformer_layers(model: SentenceTransformer | MultiVectorEncoder) -> ModuleList:
    """The layers of a model's transformer, all of the same parameters.

    Raises:
        InputError: There is no single list of as many such layers as the configuration says.
    """
    from torch.nn import ModuleList
    from transformers import PreTrainedModel

    transformer = model.transformers_model
    if isinstance(transformer, PreTrainedModel):
        config = transformer.config.get_text_config()
        count = getattr(config, "num_hidden_layers", None)
        lists = [module for module in transformer.modules() if isinstance(module, ModuleList) and len(module) == count]
        # Layers that differ by their place would be built differently when the model is loaded again.
        if len(lists) == 1 and len({_form(layer) for layer in lists[0]}) == 1 and not hasattr(config, "layer_types"):
            return lists[0]
    raise InputError(
        f"layers of {type(transformer).__name__}: cannot be cut; expected one list of equal transformer layers, "
        "as in BERT, XLM-R, MPNet or DistilBERT; use another base, or leave its layers as they are"
    )


def _form(layer: Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Names and shapes of a layer's parameters."""
    return tuple((name, tuple(parameter.shape)) for name, parameter in layer.named_parameters())
