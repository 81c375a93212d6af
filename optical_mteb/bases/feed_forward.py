"""Feed-forward pruning: an encoder whose layers have fewer neurons between their two large matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from optical_mteb.bases.layer_selection import transformer_layers
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor
    from torch.nn import Linear, Module, Parameter
    from transformers import PreTrainedModel

_WIDTHS = ("intermediate_size", "hidden_dim")
"""What configurations call the feed-forward width: most, and DistilBERT's."""


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
