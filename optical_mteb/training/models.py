"""The two models of a training run: loaded, made smaller and matched in width as the recipe says."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import nn

from optical_mteb.bases import (
    as_late_interaction,
    base_revision,
    layer_indices,
    load_base,
    prune_feed_forward,
    prune_vocabulary,
    select_layers,
    transformer_layers,
)
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.training.freezing import freeze, train_used_words, word_embeddings
from optical_mteb.training.narrowing import narrow
from optical_mteb.training.objective import compares_sentences
from optical_mteb.training.projection import (
    drop_behind_pooling,
    embedding_width,
    only_pools,
    project_sentences,
    project_tokens,
    token_width,
)
from optical_mteb.training.reader import token_counts
from optical_mteb.training.readings import Reading
from optical_mteb.training.recipe import ObjectiveSettings, Recipe, StudentSettings


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
        teacher_query_prompt: Text before an English sentence that the teacher reads as a query, empty for none.
        teacher_variant: What tells the teacher from others of its revision: a hash of the map that narrows its tokens;
            empty where there is none.
    """

    student: SentenceTransformer
    teacher: SentenceTransformer
    base_revision: str
    teacher_revision: str
    student_prompt: str
    teacher_prompt: str
    teacher_query_prompt: str = ""
    teacher_variant: str = ""

    def teacher_reads(self, reading: Reading) -> str:
        """Text before an English sentence that the teacher reads as a document or as a query."""
        return self.teacher_query_prompt if reading == "query" else self.teacher_prompt

    @property
    def target_prompt(self) -> str:
        """Text before a sentence that the student reads in a document's place: the teacher's prompt where it knows it."""
        known = list(self.student.prompts.values())
        return self.teacher_prompt if self.teacher_prompt in known else self.student.prompts.get("document") or ""

    def monolingual_prompt(self, objective: ObjectiveSettings) -> str:
        """Text before an English sentence that the student reads in a translation's place: as what it is compared with.

        It is that of queries, too, where the student's pooling leaves prompts out: it takes them all to be of one length.
        """
        asked = any(term.target == "query" for term in objective.terms.values())
        poolings = [module for module in self.student.modules() if isinstance(module, Pooling)]
        one_length = not all(module.include_prompt for module in poolings)
        return self.student_prompt if asked or one_length else self.target_prompt


def load_models(
    recipe: Recipe, corpus: ParallelCorpus, *, device: str | None = None, say: Callable[[str], None] = print
) -> Models:
    """Load student and teacher, make the student smaller and match the two in width.

    A teacher that is the student's own base has its vocabulary pruned with it: the texts that it reads keep their
    tokens. It keeps its layers.

    Raises:
        InputError: A base or a prompt of the recipe does not exist, or a base cannot be cut as the recipe says.
    """
    settings = recipe.student
    # A file may hold half precision, in which small steps of the optimizer round to none.
    student = load_base(settings.base, revision=settings.revision, device=device).float()
    student.prompts.update(settings.prompts)
    if settings.kind == "late_interaction":
        _check_tokens(student, settings.base)
    revision = teacher_revision = base_revision(student)
    if settings.prune_vocabulary:
        texts = chain(corpus.texts(), recipe.teacher.prompts.values())
        pruned = prune_vocabulary(student, texts, keep_most_frequent=settings.keep_most_frequent)
        say(f"vocabulary: {pruned.rows_before:,} rows, {pruned.rows_after:,} after pruning")
        _release_file(student)
    # What pruning took away needs no check, and checking it would read all of the file into memory.
    _finite(student, settings.base)
    same = (settings.base, settings.revision) == (recipe.teacher.base, recipe.teacher.revision)
    words = word_embeddings(student).weight
    # Frozen word embeddings are the largest part of both, and can be one.
    teacher = copy.deepcopy(student, {id(words): words} if settings.freeze_embeddings else {}) if same else None
    if settings.kind == "late_interaction":
        drop_behind_pooling(student)
    _cut(student, settings, say)
    _check_layers(recipe)
    if teacher is None:
        teacher = load_base(recipe.teacher.base, revision=recipe.teacher.revision, device=device).float()
        teacher = _finite(teacher, recipe.teacher.base)
        teacher_revision = base_revision(teacher)
    teacher.prompts.update(recipe.teacher.prompts)
    student_prompt = prompt_text(student, settings.prompt, f"[student] {settings.base}", settings.max_tokens)
    teacher_prompt = prompt_text(
        teacher, recipe.teacher.prompt, f"[teacher] {recipe.teacher.base}", settings.max_tokens
    )
    variant = ""
    if settings.width is not None:
        own, wide = token_width(student), token_width(teacher)
        english = (pair.english for pair in corpus)
        variant = narrow(
            student, teacher, settings.width, english, prompt=teacher_prompt, max_tokens=settings.max_tokens
        )
        say(
            f"width: tokens are projected to {settings.width} dimensions, the student's from {own}, the teacher's {wide}"
        )
    try:
        if settings.width is None:
            _match_widths(student, teacher, sentences=compares_sentences(recipe.objective, settings.kind), say=say)
        freeze(student, words=bool(settings.freeze_embeddings), layers=settings.freeze_layers)
    except ValueError as error:
        raise InputError(f"[student] {settings.base}: {error}") from error
    if settings.freeze_embeddings == "unused":
        rows = train_used_words(student, chain(corpus.texts(), filter(None, student.prompts.values())))
        say(f"word embeddings: {rows:,} rows are trained, those of the bitext's tokens")
    _set_dropout(student, settings.dropout)
    query_prompt = teacher.prompts.get(settings.prompt or "") or ""
    return Models(student, teacher, revision, teacher_revision, student_prompt, teacher_prompt, query_prompt, variant)


def _match_widths(
    student: SentenceTransformer, teacher: SentenceTransformer, *, sentences: bool, say: Callable[[str], None]
) -> None:
    """Give the student, in place, projections to the teacher's width: of its tokens, and of what it pools of them."""
    own, wide = token_width(student), token_width(teacher)
    if own != wide:
        say(f"student: tokens are projected from {own} to the teacher's {wide} dimensions")
        project_tokens(student, wide)
    if not sentences:
        return
    own, wide = embedding_width(student), embedding_width(teacher)
    if own != wide:
        say(f"student: sentence embeddings are projected from {own} to the teacher's {wide} dimensions")
        project_sentences(student, wide)


def _cut(student: SentenceTransformer, settings: StudentSettings, say: Callable[[str], None]) -> None:
    """Take layers and feed-forward neurons from the student, in place."""
    if settings.layers is None and settings.feed_forward is None:
        return
    before, cut = _parameters(student), []
    try:
        if settings.layers is not None:
            present = len(transformer_layers(student))
            keep = layer_indices(settings.layers, present, settings.layer_selection)
            select_layers(student, keep)
            cut.append(f"layers {', '.join(map(str, keep))} (from 0) of {present}")
        if settings.feed_forward is not None:
            neurons = prune_feed_forward(student, settings.feed_forward)
            cut.append(f"{settings.feed_forward:,} of {neurons:,} feed-forward neurons a layer")
    except InputError as error:
        raise InputError(f"[student] {settings.base}: {error}") from error
    say(f"student: keeps {' and '.join(cut)}; {before:,} parameters before, {_parameters(student):,} after")


def _check_layers(recipe: Recipe) -> None:
    """Check that a student that lost layers has those that the objective compares."""
    kept = recipe.student.layers
    deepest = min(
        (layer for term in recipe.objective.terms.values() for layer in getattr(term, "layers", [])), default=-1
    )
    # The word embeddings count as a layer.
    if kept is not None and -deepest > kept + 1:
        raise InputError(
            f"[student] layers = {kept}: the objective compares layer {deepest}, which the student would not have; "
            f"keep {-deepest - 1} layers, or compare layers from {-kept - 1} to -1"
        )


def _release_file(model: SentenceTransformer) -> None:
    """Copy all weights: as views of the mapped file, they would keep all of it in memory."""
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()


def _parameters(model: SentenceTransformer) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _set_dropout(model: SentenceTransformer, share: float) -> None:
    """Set the dropout of a model's modules; its configuration, which is saved, keeps what the base had."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
        elif isinstance(getattr(module, "attention_dropout", None), float):
            vars(module)["attention_dropout"] = share


def _finite(model: SentenceTransformer, spec: str) -> SentenceTransformer:
    """The model, if all its weights are numbers."""
    # Smallest and largest value: a mask of a whole embedding matrix would take as much memory again.
    extremes = {name: torch.stack(torch.aminmax(weight.detach())) for name, weight in model.named_parameters()}
    broken = next((name for name, pair in extremes.items() if not torch.isfinite(pair).all()), None)
    if broken is not None:
        raise InputError(f"{spec}: weight {broken!r} is not finite everywhere; get the model again, or use another")
    return model


def _check_tokens(model: SentenceTransformer, spec: str) -> None:
    """Check, ahead of the training, that a model can become a late-interaction retriever."""
    try:
        as_late_interaction(model)
        only_pools(model)
    except ValueError as error:
        raise InputError(f"[student] {spec}: {error}; use kind = 'dense', or another base") from error


def prompt_text(model: SentenceTransformer, name: str | None, where: str, max_tokens: int) -> str:
    """The prompt of that name, which leaves room for a text."""
    if name is None:
        return ""
    prompt = model.prompts.get(name)
    if not prompt:
        known = ", ".join(repr(known) for known, text in model.prompts.items() if text) or "none"
        raise InputError(
            f"{where}: has no recorded prompt {name!r} (it has {known}); "
            f"give it one as prompts = {{{name} = 'text '}}, or leave the key prompt out"
        )
    taken = int(token_counts(model, [""], prompt, cut=False)[0])
    if taken >= max_tokens:
        raise InputError(
            f"{where}: max_tokens = {max_tokens} leaves no room after a prompt of {taken} tokens; raise it"
        )
    return prompt
