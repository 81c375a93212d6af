"""What a student learns from one pair: the transport plan between two sentences' tokens, as text and as a picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers.convert_slow_tokenizer import bytes_to_unicode

from optical_mteb.bases import load_base
from optical_mteb.bitext import Pair, ParallelCorpus
from optical_mteb.errors import InputError
from optical_mteb.hardware import check_device
from optical_mteb.students import read_student, student_names, student_path
from optical_mteb.training.explain_picture import check_output, draw
from optical_mteb.training.losses.encoding import Encoded
from optical_mteb.training.losses.token_transport import TokenTransport
from optical_mteb.training.models import prompt_text
from optical_mteb.training.objective import weigh
from optical_mteb.training.projection import token_width
from optical_mteb.training.reader import Reader, token_counts
from optical_mteb.training.recipe import OpticalTerm, Recipe, TransportContrastiveTerm

STRONGEST = 3
"""English tokens that the text form names for a translation token."""

SHADES = " ░▒▓█"
"""Cells of the text form, by share: under 10, 25, 50 and 75 hundredths, and above."""


@dataclass(frozen=True)
class Alignment:
    """The transport plan between one translation and its English sentence.

    Attributes:
        label: Which model read the translation.
        english: The teacher's n content tokens, readable.
        translation: The student's m content tokens, readable.
        plan: Mass that moves from student token i to teacher token j, [m, n], float32, on the CPU; 1 in all, unless
            the solver is `unbalanced`.
        cost: <plan, C>_F, where C is 1 - cos of the tokens.
        entropy: -sum plan log plan, in nats.
        marginal_error: Mass that the plan's marginals miss.
    """

    label: str
    english: list[str]
    translation: list[str]
    plan: Tensor
    cost: float
    entropy: float
    marginal_error: float

    @property
    def shares(self) -> Tensor:
        """Shares of each student token's mass, [m, n]: rows add up to 1."""
        return self.plan / self.plan.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)

    @property
    def summary(self) -> str:
        """The figures in one line."""
        return f"cost {self.cost:.3f}, plan entropy {self.entropy:.2f} nats, marginal error {self.marginal_error:.1g}"


@torch.no_grad()
def align(
    student: SentenceTransformer,
    teacher: SentenceTransformer,
    english: str,
    translation: str,
    *,
    student_prompt: str = "",
    teacher_prompt: str = "",
    transport: TokenTransport | None = None,
    label: str = "student",
) -> Alignment:
    """Solve optimal transport between the tokens of a pair, as the losses do: no special, prompt or padding tokens.

    The student reads the translation and the teacher the English sentence, each after its prompt and cut at its
    `max_seq_length`; their token embeddings are equally wide. Without a `transport`, which both models must have the layers
    for, the defaults of `OpticalLoss` hold. Where it centers, the mean is that of this one English sentence.

    Raises:
        InputError: A sentence holds no content token.
    """
    transport = transport or TokenTransport()
    read = _read(student, translation, student_prompt, transport, "translation")
    taught = _read(teacher, english, teacher_prompt, transport, "English sentence")
    transport.to(read.tokens.device)
    cost, solved = transport.pairs(read, taught)
    figures = solved.figures()
    return Alignment(
        label=label,
        english=_readable(teacher, taught),
        translation=_readable(student, read),
        plan=solved.plan[0].cpu(),
        cost=cost.item(),
        entropy=figures["plan_entropy"],
        marginal_error=figures["marginal_error"],
    )


def explain(
    recipe: Recipe,
    english: str,
    translation: str,
    *,
    recipe_folder: Path | None = None,
    device: str | None = None,
    output: Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Alignment]:
    """Align a pair as the recipe's training sees it: with its base, and with its student where that is in the store.

    Nothing is trained and nothing in the store changes. The solver is that of the recipe's transport term.

    Args:
        recipe: A checked recipe.
        english: What the teacher reads; cut at `student.max_tokens`.
        translation: What the student reads; cut likewise.
        recipe_folder: Folder that relative bitext paths are looked up in first; the bitext is read only for `idf`
            marginals.
        device: `cpu`, `cuda` or `mps`; the best one there is by default.
        output: Picture to write, in one of `SUFFIXES`; none by default.
        say: Takes lines on what was cut, left out or written.

    Returns:
        The untrained base's alignment, if it is as wide as the teacher, and the trained student's, if there is one.

    Raises:
        InputError: A sentence is empty, a base or prompt does not exist, the picture cannot be written, or there is no
            student to align.
    """
    for text, what in ((english, "English sentence"), (translation, "translation")):
        if not text.strip():
            raise InputError(f"{what} {text!r}: is empty; expected a sentence")
    if output is not None:
        check_output(output)
    check_device(device)
    settings = recipe.student
    teacher = load_base(recipe.teacher.base, revision=recipe.teacher.revision, device=device)
    same = (settings.base, settings.revision) == (recipe.teacher.base, recipe.teacher.revision)
    base = teacher if same else load_base(settings.base, revision=settings.revision, device=device)
    # The student's prompt is looked up before the teacher's prompts go into what may be the same model.
    base.prompts.update(settings.prompts)
    student_prompt = prompt_text(base, settings.prompt, f"[student] {settings.base}", settings.max_tokens)
    teacher.prompts.update(recipe.teacher.prompts)
    teacher_prompt = prompt_text(
        teacher, recipe.teacher.prompt, f"[teacher] {recipe.teacher.base}", settings.max_tokens
    )
    students = _students(recipe, base, teacher, device, say)
    for model in (teacher, *students.values()):
        model.max_seq_length = min(settings.max_tokens, model.max_seq_length or settings.max_tokens)
    _say_if_cut(teacher, teacher_prompt, english, "English sentence", say)
    for model in students.values():
        if _say_if_cut(model, student_prompt, translation, "translation", say):
            break
    objective = recipe.objective
    term = objective.optical or objective.transport_contrastive or OpticalTerm()
    corpus = ParallelCorpus.load(recipe.bitext, base_folder=recipe_folder) if term.marginals == "idf" else ()
    alignments = [
        align(
            model,
            teacher,
            english,
            translation,
            student_prompt=student_prompt,
            teacher_prompt=teacher_prompt,
            transport=_transport(term, model, teacher, corpus),
            label=label,
        )
        for label, model in students.items()
    ]
    if output is not None:
        draw(alignments, output, say=say)
        say(f"picture: {output}")
    return alignments


def as_text(alignments: Sequence[Alignment]) -> Group:
    """The alignments for a terminal, one below the other.

    Each translation token has a row, with the English tokens that take most of its mass and their shares of it. Where
    the terminal is wide enough, the row has a shaded cell for each English token, too.
    """
    return Group(*(_AlignmentText(alignment, last=alignment is alignments[-1]) for alignment in alignments))


@dataclass(frozen=True)
class _AlignmentText:
    """One alignment; chooses its form when it knows the width."""

    alignment: Alignment
    last: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.alignment.label, style="bold")
        yield Text(self.alignment.summary, style="dim")
        matrix = self._table(shaded=True)
        fits = console.measure(matrix, options=options.update(width=10_000)).maximum <= options.max_width
        yield matrix if fits else self._table(shaded=False)
        if not self.last:
            yield Text()

    def _table(self, *, shaded: bool) -> Table:
        alignment = self.alignment
        table = Table(box=None, show_header=shaded, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column(style="dim", justify="right", no_wrap=True)
        table.add_column(justify="right", no_wrap=shaded)
        for token in alignment.english if shaded else ():
            table.add_column(Text(token, style="bold"), justify="center", no_wrap=True)
        table.add_column(no_wrap=shaded)
        widths = [max(cell_len(token), 2) for token in alignment.english]
        for number, (token, shares) in enumerate(zip(alignment.translation, alignment.shares.tolist(), strict=True), 1):
            cells = [Text(_shade(share) * width, style="cyan") for share, width in zip(shares, widths, strict=True)]
            strongest = sorted(zip(shares, alignment.english, strict=True), key=lambda pair: -pair[0])[:STRONGEST]
            named = Text("  ").join(
                Text.assemble((english, "" if place else "bold"), (f" {share:.0%}", "dim"))
                for place, (share, english) in enumerate(strongest)
            )
            table.add_row(str(number), Text(token, style="bold"), *(cells if shaded else ()), named)
        if not shaded:
            table.add_row("", Text("English", style="dim"), Text(" ".join(alignment.english), style="dim"))
        return table


def _shade(share: float) -> str:
    return SHADES[sum(share >= bound for bound in (0.1, 0.25, 0.5, 0.75))]


def _read(model: SentenceTransformer, text: str, prompt: str, transport: TokenTransport, what: str) -> Encoded:
    """A sentence as the losses see it."""
    encoded, _ = Reader(model, prompt).read([text], transport.hidden_layers)
    if not encoded.content.any():
        raise InputError(f"{what} {text!r}: holds no token for the model to align; expected a sentence")
    return encoded


def _readable(model: SentenceTransformer, encoded: Encoded) -> list[str]:
    """Content tokens as a reader knows them: a dot for the space of a sub-word mark, bytes as characters."""
    tokenizer = model.tokenizer
    tokens = tokenizer.convert_ids_to_tokens(encoded.ids[0, encoded.content[0]].tolist())
    if "ByteLevel" in repr(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)):
        tokens = [_from_bytes(token) for token in tokens]
    return [_visible(token.replace("▁", "·")) for token in tokens]


def _visible(token: str) -> str:
    if not any(character.isprintable() and not character.isspace() for character in token):
        return " ".join(f"U+{ord(character):04X}" for character in token)
    # A combining mark alone would sit on whatever stands before it.
    return f"◌{token}" if unicodedata.category(token[0]).startswith("M") else token


def _from_bytes(token: str) -> str:
    """A byte-level token as text; pieces of a character as hexadecimal bytes."""
    shifted = {character: byte for byte, character in bytes_to_unicode().items()}  # type: ignore[no-untyped-call]
    if any(character not in shifted for character in token):
        return token
    raw = bytes(shifted[character] for character in token)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return f"<{raw.hex(' ').upper()}>"
    return "·" + text[1:] if text.startswith(" ") else text


def _students(
    recipe: Recipe,
    base: SentenceTransformer,
    teacher: SentenceTransformer,
    device: str | None,
    say: Callable[[str], None],
) -> dict[str, SentenceTransformer]:
    """The students that can be aligned with the teacher, by label: untrained, then trained."""
    wide = token_width(teacher)
    students = {}
    if token_width(base) == wide:
        students[f"{recipe.student.base}, untrained"] = base
    else:
        say(
            f"{recipe.student.base}: its tokens have {token_width(base)} dimensions, the teacher's {wide}; "
            "it cannot be aligned before it is trained"
        )
    if recipe.name in student_names():
        trained, record = load_base(str(student_path(recipe.name)), device=device), read_student(recipe.name)
        if not recipe.is_recorded_as(record.recipe):
            say(f"student {recipe.name} in the store was trained with other settings than this recipe's")
        if len(trained.tokenizer) < len(base.tokenizer):
            say(
                f"student {recipe.name}: its vocabulary is pruned to its bitext, other words are split into more tokens"
            )
        if token_width(trained) == wide:
            students[f"{recipe.name}, trained {record.steps} steps"] = trained
        else:
            say(
                f"student {recipe.name} in the store: its tokens have {token_width(trained)} dimensions, the teacher's "
                f"{wide}; it cannot be aligned with the teacher's own and is left out"
            )
    if not students:
        raise InputError(f"recipe {recipe.name!r}: no student to align; train it first, without --explain")
    return students


def _say_if_cut(model: SentenceTransformer, prompt: str, text: str, what: str, say: Callable[[str], None]) -> bool:
    """Say so if a model does not read the whole text."""
    taken, longest = int(token_counts(model, [text], prompt, cut=False)[0]), model.max_seq_length
    cut = longest is not None and taken > longest
    if cut:
        say(f"{what}: cut to {longest} of {taken} tokens, prompt and special tokens included (student.max_tokens)")
    return cut


def _transport(
    term: OpticalTerm | TransportContrastiveTerm,
    student: SentenceTransformer,
    teacher: SentenceTransformer,
    corpus: Sequence[Pair],
) -> TokenTransport:
    """What the recipe's transport term does to tokens; its weights may count those of a corpus."""
    keys = term.model_dump(exclude={"weight", "temperature", "target"})
    weigh(keys, student, teacher, [pair.english for pair in corpus], [pair.translation for pair in corpus])
    transport = TokenTransport(**keys)
    try:
        transport.check(student, teacher)
    except ValueError as error:
        raise InputError(f"objective: {error}") from error
    return transport
