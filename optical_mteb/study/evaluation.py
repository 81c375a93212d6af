"""Scores of a model on the tasks of a study, query by query."""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from mteb.types import PromptType

from optical_mteb.errors import InputError
from optical_mteb.index.encoder import Encoder
from optical_mteb.index.encoding import lowered
from optical_mteb.study.experiment import scored
from optical_mteb.study.jobs import load_task
from optical_mteb.study.settings import TaskSettings
from optical_mteb.training.frozen_layers import kept_outputs

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.models.model_meta import ModelMeta
    from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper
    from mteb.types import Array, BatchedInput
    from torch.utils.data import DataLoader

METRICS = ("map_at_100", "ndcg_at_10")
CUT_OFFS = (1, 10, 100)
"""Ranks that measures are taken at: those of `METRICS`, and the first, which MTEB asks for."""

QueryScores = dict[str, dict[str, float]]
"""Score by metric and query."""


def evaluate(
    model: SentenceTransformerEncoderWrapper | MultiVectorWrapper,
    tasks: Sequence[TaskSettings],
    *,
    batch_size: int,
    precision: torch.dtype = torch.float32,
    shared: int = 0,
    loaded: dict[str, AbsTaskRetrieval] | None = None,
) -> dict[str, dict[str, QueryScores]]:
    """Score a model by task, subset, metric and query, in fractions of 1.

    Args:
        model: MTEB's wrapper of a student.
        tasks: What it is scored on.
        batch_size: Texts that it reads at once.
        precision: What its transformer computes in.
        shared: Its lower layers that other students of a study share: what they give for a text is kept on disk.
        loaded: Tasks of earlier calls, with their data and cut down; those of this call are added.

    Raises:
        InputError: A task's data are not there, or it keeps no scores by query.
    """
    if precision != torch.float32:
        model = copy.copy(model)
        model.model = lowered(model.model, precision)
    searched = _SortedEncoder(model) if isinstance(model, SentenceTransformerEncoderWrapper) else model
    scores: dict[str, dict[str, QueryScores]] = {}
    loaded = {} if loaded is None else loaded
    with kept_outputs(model.model, shared), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        for settings in tasks:
            if settings.name not in loaded:
                loaded[settings.name] = _with_data(settings)
            rows = scored(
                searched, loaded[settings.name], encode_kwargs={"batch_size": batch_size, "show_progress_bar": False}
            )
            scores[settings.name] = {subset: _by_query(settings.name, rows[subset]) for subset in settings.subsets}
    return scores


def _with_data(settings: TaskSettings) -> AbsTaskRetrieval:
    """A task as a study asks for it, its data loaded."""
    task = load_task(settings)
    # MTEB computes an area under the abstention curve for each measure at each of these, and nobody reads it.
    task.k_values = CUT_OFFS
    task.load_data()
    reduce(task, settings)
    return task


def reduce(task: AbsTaskRetrieval, settings: TaskSettings) -> None:
    """Leave so many queries and documents of a loaded task as a study asks for.

    Queries are chosen by the hash of their id, so translations of the same sentence are chosen together; documents that
    are relevant to none of them likewise.
    """
    splits = [split for of_subset in task.dataset.values() for split in of_subset.values()]
    if settings.queries is not None:
        for split in splits:
            names = list(split["queries"]["id"])
            kept = _chosen(names, settings.queries)
            split["queries"] = split["queries"].select([row for row, name in enumerate(names) if name in kept])
            split["relevant_docs"] = {name: of for name, of in split["relevant_docs"].items() if name in kept}
    if settings.documents is not None:
        # Those that are relevant in any subset: subsets that share their documents still do.
        needed = {name for split in splits for found in split["relevant_docs"].values() for name in found}
        for split in splits:
            names = list(split["corpus"]["id"])
            others = [name for name in names if name not in needed]
            kept = needed | _chosen(others, max(0, settings.documents - (len(names) - len(others))))
            split["corpus"] = split["corpus"].select([row for row, name in enumerate(names) if name in kept])


def _chosen(names: Sequence[str], number: int) -> set[str]:
    return set(sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:number])


def _by_query(task: str, row: Mapping[str, Any]) -> QueryScores:
    found = row.get("per_query", {})
    if not all(found.get(metric) for metric in METRICS):
        raise InputError(
            f"tasks: {task} keeps no {' and '.join(METRICS)} of its queries; take one of this package's tasks"
        )
    return {metric: dict(found[metric]) for metric in METRICS}


class _SortedEncoder:
    """A dense model as mteb's `EncoderProtocol`: texts of one length are read together."""

    def __init__(self, model: SentenceTransformerEncoderWrapper) -> None:
        self.mteb_model_meta: ModelMeta = model.mteb_model_meta
        self._encoder = Encoder.of(model.model, name=str(model.mteb_model_meta.name))
        self.similarity = model.similarity
        self.similarity_pairwise = model.similarity_pairwise

    def encode(
        self,
        inputs: DataLoader[BatchedInput],
        *,
        task_metadata: TaskMetadata,
        hf_split: str,  # noqa: ARG002 - mteb's protocol
        hf_subset: str,  # noqa: ARG002
        prompt_type: PromptType | None = None,
        **kwargs: Any,  # noqa: ANN401, ARG002
    ) -> Array:
        """Vectors of length 1, [n, width]."""
        texts = [text for batch in inputs for text in batch["text"]]
        encoder = self._encoder.for_task(task_metadata)
        if prompt_type != PromptType.document:
            return encoder.queries(texts).vectors
        return encoder.documents(texts, torch.float32).rows.vectors
