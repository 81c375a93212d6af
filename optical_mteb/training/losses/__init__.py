"""Losses that distil a student from a frozen teacher with bitext alone, in sentence-transformers' style."""

from optical_mteb.training.losses.combined import CombinedLoss
from optical_mteb.training.losses.contrastive import ContrastiveDistillationLoss
from optical_mteb.training.losses.english_anchor import EnglishAnchorLoss
from optical_mteb.training.losses.optical import OpticalLoss
from optical_mteb.training.losses.rank import Bank, DocumentRankDistillationLoss, RankDistillationLoss
from optical_mteb.training.losses.token_transport import TokenTransport
from optical_mteb.training.losses.transport_contrastive import TransportContrastiveLoss
from optical_mteb.training.losses.weights import IdfWeights, NormWeights, TokenWeights

__all__ = [
    "Bank",
    "CombinedLoss",
    "ContrastiveDistillationLoss",
    "DocumentRankDistillationLoss",
    "EnglishAnchorLoss",
    "IdfWeights",
    "NormWeights",
    "OpticalLoss",
    "RankDistillationLoss",
    "TokenTransport",
    "TokenWeights",
    "TransportContrastiveLoss",
]
