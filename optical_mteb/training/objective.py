"""From the `[objective]` of a recipe to a loss."""

from __future__ import annotations

from sentence_transformers import SentenceTransformer

from optical_mteb.errors import InputError
from optical_mteb.training.losses import (
    CombinedLoss,
    ContrastiveDistillationLoss,
    OpticalLoss,
    TransportContrastiveLoss,
)
from optical_mteb.training.losses.distillation import DistillationLoss
from optical_mteb.training.recipe import ObjectiveSettings

LOSSES: dict[str, type[DistillationLoss]] = {
    "optical": OpticalLoss,
    "contrastive": ContrastiveDistillationLoss,
    "transport_contrastive": TransportContrastiveLoss,
}
"""Loss of each table that `[objective]` may hold."""


def build_loss(settings: ObjectiveSettings, student: SentenceTransformer, teacher: SentenceTransformer) -> CombinedLoss:
    """The weighted sum of the terms of a recipe.

    Raises:
        InputError: A term cannot compare student and teacher.
    """
    try:
        terms = {
            name: (term.weight, LOSSES[name](student, teacher, **term.model_dump(exclude={"weight"})))
            for name, term in settings.terms.items()
        }
    except ValueError as error:
        raise InputError(f"objective: {error}") from error
    return CombinedLoss(terms)


def describe(settings: ObjectiveSettings) -> str:
    """The objective in words: `1 x transport_contrastive + 0.2 x optical`."""
    return " + ".join(f"{term.weight:g} x {name}" for name, term in settings.terms.items())
