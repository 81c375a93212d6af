"""Smaller encoders: fewer transformer layers, or fewer neurons in the feed-forward block of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch import Tensor
    from torch.nn import Linear, Module, ModuleList, Parameter
    from transformers import PreTrainedModel

LayerSelection = Literal["spaced", "first"]
"""Which layers stay: evenly spaced ones, the last among them, or the first."""

_WIDTHS = ("intermediate_size", "hidden_dim")
"""What configurations call the feed-forward width: most, and DistilBERT's."""


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


def prune_feed_forward(model: SentenceTransformer, width: int) -> int:
    """Keep, in place, the `width` strongest feed-forward neurons of every transformer layer.

    A layer adds sum_i f(<u_i, x> + b_i) v_i to its input x; with |f(a)| <= |a|, as of GELU and ReLU, the share of
    neuron i is bounded by ||u_i|| ||v_i|| ||x|| but for its bias. Those with the largest ||u_i|| ||v_i|| stay, in their
    order: pruning by magnitude (https://arxiv.org/abs/1608.08710, section 3.1), of both matrices at once. On an error
    the model is untouched.

    Args:
        model: A model that starts with a transformer of equal layers, each with one feed-forward block.
        width: Neurons of a layer that stay.

    Returns:
        The neurons that a layer had.

    Raises:
        InputError: A layer has fewer neurons, or is not of this form.
    """
    layers = transformer_layers(model)
    config = cast("PreTrainedModel", model.transformers_model).config.get_text_config()
    name = next((name for name in _WIDTHS if isinstance(getattr(config, name, None), int)), None)
    before = getattr(config, name) if name is not None else 0
    blocks = [_block(layer, before) for layer in layers]
    if name is None or not all(blocks):
        raise InputError(
            f"feed-forward blocks of {type(model.transformers_model).__name__}: cannot be cut; expected two linear maps "
            "a layer, to one width and back; use another base, or leave feed_forward out"
        )
    if not 1 <= width <= before:
        raise InputError(f"feed_forward = {width}: the model has {before} neurons a layer; ask for 1 to {before}")
    for inwards, outwards in filter(None, blocks):
        score = inwards.weight.detach().norm(dim=1) * outwards.weight.detach().norm(dim=0)
        kept = score.topk(width).indices.sort().values
        inwards.weight = _rows(inwards.weight, kept)
        if inwards.bias is not None:
            inwards.bias = _rows(inwards.bias, kept)
        outwards.weight = _rows(outwards.weight, kept, dim=1)
        inwards.out_features = outwards.in_features = width
    setattr(config, name, width)
    return int(before)


def _block(layer: Module, width: int) -> tuple[Linear, Linear] | None:
    """The maps of a layer's feed-forward block to `width` and back, if there is one of each."""
    from torch.nn import Linear

    linear = [module for module in layer.modules() if isinstance(module, Linear)]
    inwards = [module for module in linear if module.out_features == width]
    outwards = [module for module in linear if module.in_features == width]
    if len(inwards) != 1 or len(outwards) != 1 or inwards == outwards:
        return None
    return inwards[0], outwards[0]


def _rows(weight: Tensor, kept: Tensor, dim: int = 0) -> Parameter:
    from torch.nn import Parameter

    return Parameter(weight.detach().index_select(dim, kept), requires_grad=weight.requires_grad)
