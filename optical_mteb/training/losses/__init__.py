"""Losses that distil a student from a frozen teacher with bitext alone, in sentence-transformers' style."""

from optical_mteb.training.losses.combined import CombinedLoss
from optical_mteb.training.losses.contrastive import ContrastiveDistillationLoss
from optical_mteb.training.losses.optical import OpticalLoss
from optical_mteb.training.losses.transport_contrastive import TransportContrastiveLoss

__all__ = ["CombinedLoss", "ContrastiveDistillationLoss", "OpticalLoss", "TransportContrastiveLoss"]
