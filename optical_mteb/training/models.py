"""The two models of a training run: loaded, pruned and matched in width as the recipe says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import cast

import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import PreTrainedModel

from optical_mteb.bases import as_late_interaction, base_revision, load_base, prune_vocabulary
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.training.projection import project_tokens, token_width
from optical_mteb.training.recipe import Recipe


@dataclass(frozen=True)
class Models:
    """Student and teacher, the revisions that they came from, and the prompts of the recipe.

    Attributes:
        student: The student, not trained yet.
        teacher: The teacher.
        base_revision: Revision of the student's base.
        teacher_revision: Revision of the teacher.
        student_prompt: Text before every translation, empty for none.
        teacher_prompt: Text before every English sentence, empty for none.
    """

    student: SentenceTransformer
    teacher: SentenceTransformer
    base_revision: str
    teacher_revision: str
    student_prompt: str
    teacher_prompt: str


def load_models(
    recipe: Recipe, corpus: ParallelCorpus, *, device: str | None = None, say: Callable[[str], None] = print
) -> Models:
    """Load student and teacher, prune the student's vocabulary and match its width.

    A teacher that is the student's own base is pruned with it: the texts that it reads keep their tokens.

    Raises:
        InputError: A base or a prompt of the recipe does not exist.
    """
    settings = recipe.student
    student = _finite(load_base(settings.base, revision=settings.revision, device=device), settings.base)
    student.prompts.update(settings.prompts)
    if settings.kind == "late_interaction":
        _check_tokens(student, settings.base)
    revision = teacher_revision = base_revision(student)
    if settings.prune_vocabulary:
        texts = chain(corpus.texts(), recipe.teacher.prompts.values())
        pruned = prune_vocabulary(student, texts, keep_most_frequent=settings.keep_most_frequent)
        say(f"vocabulary: {pruned.rows_before:,} rows, {pruned.rows_after:,} after pruning")
    if (settings.base, settings.revision) == (recipe.teacher.base, recipe.teacher.revision):
        teacher = copy.deepcopy(student)
    else:
        teacher = load_base(recipe.teacher.base, revision=recipe.teacher.revision, device=device)
        teacher = _finite(teacher, recipe.teacher.base)
        teacher_revision = base_revision(teacher)
    teacher.prompts.update(recipe.teacher.prompts)
    student_prompt = prompt_text(student, settings.prompt, f"[student] {settings.base}", settings.max_tokens)
    teacher_prompt = prompt_text(
        teacher, recipe.teacher.prompt, f"[teacher] {recipe.teacher.base}", settings.max_tokens
    )
    narrow, wide = token_width(student), token_width(teacher)
    if narrow != wide:
        say(f"student: tokens are projected from {narrow} to the teacher's {wide} dimensions")
        project_tokens(student, wide)
    word_embeddings(student).requires_grad_(not settings.freeze_embeddings)
    return Models(student, teacher, revision, teacher_revision, student_prompt, teacher_prompt)


def _finite(model: SentenceTransformer, spec: str) -> SentenceTransformer:
    """The model, if all its weights are numbers."""
    broken = next((name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()), None)
    if broken is not None:
        raise InputError(f"{spec}: weight {broken!r} is not finite everywhere; get the model again, or use another")
    return model


def _check_tokens(model: SentenceTransformer, spec: str) -> None:
    """Check, ahead of the training, that a model can become a late-interaction retriever."""
    try:
        as_late_interaction(model)
    except ValueError as error:
        raise InputError(f"[student] {spec}: {error}; use kind = 'dense', or another base") from error


def word_embeddings(model: SentenceTransformer) -> nn.Embedding:
    """The embedding layer of a model's transformer."""
    transformer = cast("PreTrainedModel", model.transformers_model)
    return cast("nn.Embedding", transformer.get_input_embeddings())


def embedding_width(model: SentenceTransformer) -> int:
    """Width of a model's embeddings.

    Raises:
        InputError: The model does not say.
    """
    width = model.get_embedding_dimension()
    if width is None:
        raise InputError(f"{model}: does not say how wide its embeddings are; expected a transformer with pooling")
    return width


def prompt_text(model: SentenceTransformer, name: str | None, where: str, max_tokens: int) -> str:
    """The prompt of that name, which leaves room for a text."""
    if name is None:
        return ""
    prompt = model.prompts.get(name)
    if not prompt:
        known = ", ".join(repr(known) for known, text in model.prompts.items() if text) or "none"
        raise InputError(
            f"{where}: has no prompt {name!r} on record (it has {known}); "
            f"give it one as prompts = {{{name} = 'text '}}, or leave the key prompt out"
        )
    taken = len(model.tokenizer(prompt)["input_ids"])
    if taken >= max_tokens:
        raise InputError(
            f"{where}: max_tokens = {max_tokens} leaves no room after a prompt of {taken} tokens; raise it"
        )
    return prompt
