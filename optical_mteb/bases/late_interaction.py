"""One transformer, two retrievers: a vector per text (dense), or a vector per token (late interaction, ColBERT)."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

_MASK = "_scoring_mask"


def as_late_interaction(model: SentenceTransformer) -> MultiVectorEncoder:
    """The same transformer as a late-interaction retriever, scored by MaxSim; the weights are shared.

    What takes part in the score is what did in the model that `as_dense` made this one from; else all but special
    tokens, for queries and documents alike, which match each other in every pair of texts and say nothing. The tokens
    of prompts do take part, as in every `MultiVectorEncoder`; the losses leave them out.

    Args:
        model: Transformer, token modules if any, pooling, and what follows it.

    Returns:
        The modules ahead of the pooling, a scoring mask, and unit-length token embeddings; prompts as the model's.

    Raises:
        ValueError: The model pools nothing.
    """
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [module for _, module in model.named_children()]
    ahead = list(takewhile(lambda module: not isinstance(module, Pooling), modules))
    if len(ahead) == len(modules):
        raise ValueError(
            f"a model of the form {[type(module).__name__ for module in modules]} has no pooling: "
            "its token embeddings are not known"
        )
    prompts = {name: prompt for name, prompt in model.prompts.items() if prompt}
    tokenizer = model.tokenizer
    special = sorted(set(tokenizer.all_special_tokens) - {tokenizer.unk_token})
    mask = model.__dict__.get(_MASK) or MultiVectorMask(special, skiplist_tasks=["query", "document"])
    return MultiVectorEncoder(
        modules=[*ahead, mask, Normalize(module_input_name="token_embeddings")],
        prompts=prompts,
        similarity_fn_name="maxsim",
        device=str(model.device),
    )


def as_dense(model: MultiVectorEncoder) -> SentenceTransformer:
    """A late-interaction retriever as one that pools its tokens: the form in which models are trained.

    Returns:
        The modules ahead of the scoring mask, mean pooling and unit length; prompts as the model's. The weights are
        shared.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Normalize
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Pooling

    children = [module for _, module in model.named_children()]
    modules = [module for module in children if not isinstance(module, MultiVectorMask | Normalize)]
    width = model.get_embedding_dimension()
    prompts = {name: prompt for name, prompt in model.prompts.items() if prompt}
    dense = SentenceTransformer(
        modules=[*modules, Pooling(width, "mean"), Normalize()],
        prompts=prompts,
        similarity_fn_name="cosine",
        device=str(model.device),
    )
    # Kept aside, not as a module: the mask is not part of the dense model's forward pass.
    dense.__dict__[_MASK] = next((module for module in children if isinstance(module, MultiVectorMask)), None)
    return dense
