"""From the `[objective]` of a recipe to a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss

from optical_mteb.errors import InputError
from optical_mteb.students.sidecar import Kind
from optical_mteb.training.losses import (
    Bank,
    CombinedLoss,
    ContrastiveDistillationLoss,
    DocumentRankDistillationLoss,
    EnglishAnchorLoss,
    IdfWeights,
    NormWeights,
    OpticalLoss,
    RankDistillationLoss,
    TransportContrastiveLoss,
)
from optical_mteb.training.losses.combined import Term
from optical_mteb.training.losses.distillation import DistillationLoss, check_widths
from optical_mteb.training.recipe import DocumentRankTerm, ObjectiveSettings, ObjectiveTerm

LOSSES: dict[str, type[DistillationLoss]] = {
    "optical": OpticalLoss,
    "contrastive": ContrastiveDistillationLoss,
    "transport_contrastive": TransportContrastiveLoss,
    "anchor": EnglishAnchorLoss,
    "rank": RankDistillationLoss,
    "rank_documents": DocumentRankDistillationLoss,
}
"""Loss of each table that `[objective]` may hold, but `sentence`, which is sentence-transformers' own."""


def build_loss(
    settings: ObjectiveSettings,
    student: SentenceTransformer,
    teacher: SentenceTransformer,
    *,
    kind: Kind = "dense",
    english: Sequence[str] = (),
    translations: Sequence[str] = (),
    banks: Mapping[str, Bank] | None = None,
) -> CombinedLoss:
    """The weighted sum of the terms of a recipe.

    Args:
        settings: The `[objective]` table.
        student: The student.
        teacher: The teacher.
        kind: Kind of the student, whose score a contrast takes where its table names none.
        english: English sides of the bitext, which `marginals = "idf"` counts the teacher's tokens in.
        translations: The other sides, for the student's tokens.
        banks: The bank of each ranking term, by the term's name.

    Raises:
        InputError: A term cannot compare student and teacher.
    """

    def term(name: str, table: ObjectiveTerm) -> Term:
        keys = table.model_dump(exclude={"weight", "target"})
        if name == "sentence":
            check_widths(student, teacher, "sentence")
            return EmbedDistillLoss(student, **keys)
        if "score" in keys:
            keys["score"] = score_of(table, kind)
        if "bank" in keys:
            del keys["bank_size"]
            keys["bank"] = (banks or {})[name]
        weigh(keys, student, teacher, english, translations)
        return LOSSES[name](student, teacher, **keys)

    try:
        terms = {name: (table.weight, term(name, table)) for name, table in settings.terms.items()}
        return CombinedLoss(student, teacher, terms, {name: table.target for name, table in settings.terms.items()})
    except ValueError as error:
        raise InputError(f"objective: {error}") from error


def weigh(
    keys: dict[str, Any],
    student: SentenceTransformer,
    teacher: SentenceTransformer,
    english: Sequence[str],
    translations: Sequence[str],
) -> None:
    """Put the weights of tokens in the place of their name, `marginals`, among the keys of a term, where it has some."""
    marginals = keys.pop("marginals", "uniform")
    for side, model, texts in (("student", student, translations), ("teacher", teacher, english)):
        if marginals == "idf":
            keys[f"{side}_weights"] = IdfWeights.count(model, texts)
        elif marginals == "norm":
            keys[f"{side}_weights"] = NormWeights()


def compares_sentences(settings: ObjectiveSettings, kind: Kind) -> bool:
    """Whether a term compares the sentence embeddings of student and teacher, which must be equally wide then."""
    sentence = {name for name, loss in LOSSES.items() if loss.compares == "sentence"} | {"sentence"}
    return any(name in sentence and score_of(table, kind) != "maxsim" for name, table in settings.terms.items())


def score_of(term: ObjectiveTerm, kind: Kind) -> str:
    """How a term scores: as its table says, or else as a student of this kind; documents are ranked by cosine alone."""
    if isinstance(term, DocumentRankTerm):
        return "cosine"
    named: str | None = getattr(term, "score", "cosine")
    return named or ("maxsim" if kind == "late_interaction" else "cosine")


def describe(settings: ObjectiveSettings) -> str:
    """The objective in words: `1 x transport_contrastive + 0.2 x optical`."""
    return " + ".join(f"{term.weight:g} x {name}" for name, term in settings.terms.items())
