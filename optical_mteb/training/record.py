"""What a training run puts on record: the sidecar and the model card."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sentence_transformers.multi_vector_encoder.model_card import MultiVectorEncoderModelCardData
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData

from optical_mteb import __citation__
from optical_mteb.bases import as_late_interaction, is_hub_id, pypi_bases
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.students.sidecar import BitextRecord, OverlapRecord, Sidecar
from optical_mteb.students.store import ORGANISATION
from optical_mteb.training.freezing import word_embeddings
from optical_mteb.training.models import Models
from optical_mteb.training.objective import describe
from optical_mteb.training.projection import embedding_width, token_width
from optical_mteb.training.recipe import Recipe

TRAINING_RECORD = (
    "train_datasets",
    "all_hyperparameters",
    "non_default_hyperparameters",
    "training_logs",
    "citations",
)
"""What sentence-transformers' trainer writes into a card about the training."""

_VERSIONS = ("optical-mteb", "mteb", "sentence-transformers", "transformers", "torch", "babel")


def card_data(recipe: Recipe, corpus: ParallelCorpus) -> SentenceTransformerModelCardData:
    """What the model card of a dense student says besides what sentence-transformers finds out by itself."""
    card = SentenceTransformerModelCardData(**_card(recipe, corpus))
    card.base_model = base_origin(recipe.student.base)
    return card


def late_interaction_card(
    recipe: Recipe, corpus: ParallelCorpus, trained: SentenceTransformerModelCardData
) -> MultiVectorEncoderModelCardData:
    """The same for a late-interaction student; `trained` is the card of the model that was trained."""
    card = MultiVectorEncoderModelCardData(**_card(recipe, corpus))
    card.base_model = base_origin(recipe.student.base)
    for name in TRAINING_RECORD:
        setattr(card, name, getattr(trained, name))
    return card


def _card(recipe: Recipe, corpus: ParallelCorpus) -> dict[str, Any]:
    return {
        "language": ["eng", *corpus.languages],
        "license": recipe.license,
        "model_name": f"{recipe.name}: {recipe.description or describe(recipe.objective)}",
        "model_id": f"{ORGANISATION}/{recipe.name}",
        "tags": ["mteb", "cross-lingual", "optical-mteb"],
        "local_files_only": True,
    }


def base_origin(spec: str) -> str | None:
    """Hub id of the model behind a base; None for a folder."""
    wheels = {base.spec: base.origin for base in pypi_bases()}
    return wheels.get(spec, spec if is_hub_id(spec) else None)


def add_to_card(folder: Path, recipe: Recipe, corpus: ParallelCorpus, metrics: Mapping[str, float]) -> None:
    """Write recipe, bitext and figures of the training at the end of a checkpoint's model card."""
    card = folder / "README.md"
    bitext = "\n".join(
        f"| {source.source} | {source.language} | {source.read:,} | {source.kept:,} |"
        for source in corpus.report.sources
    )
    figures = "\n".join(f"| {name} | {value:g} |" for name, value in metrics.items())
    settings = recipe.model_dump_json(indent=2, exclude_none=True, exclude_defaults=True)
    with card.open("a", encoding="utf-8") as stream:
        stream.write(
            "\n## Distillation\n\n"
            f"Objective: {describe(recipe.objective)}. Teacher: {base_origin(recipe.teacher.base) or recipe.teacher.base}. "
            f"Seed: {recipe.seed}. Trained with optical-mteb {version('optical-mteb')}.\n\n"
            f"| bitext | language | pairs read | pairs kept |\n|---|---|---|---|\n{bitext}\n\n"
            f"| figure | value |\n|---|---|\n{figures}\n\n"
            f"The recipe, keys at their defaults left out:\n\n```json\n{settings}\n```\n\n"
            f"```bibtex\n{__citation__}\n```\n"
        )


def sidecar(
    recipe: Recipe,
    corpus: ParallelCorpus,
    models: Models,
    weights: str,
    steps: int,
    metrics: dict[str, float],
    overlaps: list[OverlapRecord],
) -> Sidecar:
    """The record of a finished run, whose models are trained; `weights` is the hash of the saved ones."""
    late = recipe.student.kind == "late_interaction"
    student = as_late_interaction(models.student) if late else models.student
    return Sidecar(
        name=recipe.name,
        kind=recipe.student.kind,
        weights=weights,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        seed=recipe.seed,
        steps=steps,
        recipe=recipe.model_dump(mode="json", exclude_none=True),
        objective=describe(recipe.objective),
        base=recipe.student.base,
        base_revision=models.base_revision,
        base_origin=base_origin(recipe.student.base),
        teacher=recipe.teacher.base,
        teacher_revision=models.teacher_revision,
        teacher_origin=base_origin(recipe.teacher.base),
        bitext=[
            BitextRecord(source=source.source, language=source.language, read=source.read, kept=source.kept)
            for source in corpus.report.sources
        ],
        bitext_fingerprint=corpus.fingerprint,
        languages=["eng-Latn", *sorted({source.language_tag for source in recipe.bitext})],
        mteb_tasks=recipe.tasks_read,
        license=recipe.license,
        parameters=sum(parameter.numel() for parameter in student.parameters()),
        embedding_parameters=word_embeddings(models.student).weight.numel(),
        width=token_width(models.student) if late else embedding_width(models.student),
        max_tokens=int(student.max_seq_length or 0),
        versions={name: version(name) for name in _VERSIONS},
        metrics=metrics,
        overlaps=overlaps,
    )
