"""The text of the two pull requests: the model for mteb, the scores for the results repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optical_mteb.mteb_compat import pull_request_body
from optical_mteb.submission.results_folder import Evaluated

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta

    from optical_mteb.submission.published import Published

LONGEST = 2000
"""Characters of a description that mteb does not close a pull request for."""

_ROWS = 12

_CHECKLIST = (
    "- [ ] I have filled out the ModelMeta object to the extent possible\n"
    "- [ ] I have ensured that my model can be loaded using\n"
    "  - [ ] `mteb.get_model(model_name, revision)` and\n"
    "  - [ ] `mteb.get_model_meta(model_name, revision)`\n"
    "- [ ] I have tested the implementation works on a representative set of tasks.\n"
    "- [ ] The model is public, i.e., is available either as an API or the weights are publicly available to download"
)
"""What mteb asks to be pasted into such a pull request, to be ticked by hand."""


def model_pull_request(student: Published, meta: ModelMeta, results: Sequence[Evaluated]) -> str:
    """Title and text of the pull request that adds a model to mteb."""
    sidecar = student.sidecar
    kind = "one vector per token" if sidecar.kind == "late_interaction" else "one vector per text"
    languages = ", ".join(tag.partition("-")[0] for tag in sidecar.languages)
    description = (
        f"`{meta.name}` ({sidecar.parameters / 1e6:.1f} million parameters, {kind}) retrieves across languages "
        f"({languages}). It starts from {sidecar.base_origin or 'a base of its own'} and was distilled from "
        f"{sidecar.teacher_origin or 'a teacher of its own'} on {sum(each.kept for each in sidecar.bitext):,} pairs of "
        f"bitext; the objective: {sidecar.objective}. "
        "It loads with MTEB's own wrapper."
    )
    parts = [
        f"# model: add {meta.name}",
        description,
        _table(results),
        "There is no paper with scores of this model. The report of `mteb mock-run` is part of the change.",
        _CHECKLIST,
    ]
    return "\n\n".join(parts) + "\n"


def _table(results: Sequence[Evaluated]) -> str:
    rows = [
        f"| {each.task}{'' if each.in_mteb else ' (not in MTEB)'} | {each.result.get_score():.4f} |"
        for each in results[:_ROWS]
    ]
    more = f"\n\nand {len(results) - _ROWS} tasks more." if len(results) > _ROWS else ""
    return "\n".join(["| Task | PR |", "|---|---|", *rows]) + more


def results_pull_request(student: Published, meta: ModelMeta, results: Sequence[Evaluated]) -> str:
    """Title and text of the pull request to the results repository: mteb's own, and what the training has seen."""
    submitted = [each for each in results if each.in_mteb]
    if not submitted:
        waiting = ", ".join(each.task for each in results)
        return f"# Nothing to submit yet\n\nMTEB does not have these tasks: {waiting}.\n"
    body = pull_request_body(meta, [each.path for each in submitted])
    seen = meta.training_datasets
    if seen is None:
        disclosed = "What the base or the teacher was trained on is unknown."
    else:
        common = sorted({each.task for each in submitted} & (meta.get_training_datasets() or seen))
        disclosed = (
            f"The training, the base or the teacher has seen data of: {', '.join(common)}."
            if common
            else "Neither the training nor the base nor the teacher has seen data of the tasks."
        )
    return (
        f"# Add results of {meta.name}\n\n{body}\n\n### Training data\n{disclosed} Bitext: "
        f"{', '.join(sorted({each.source for each in student.sidecar.bitext}))}.\n"
    )
