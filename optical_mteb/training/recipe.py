"""Training recipes: what a TOML file may say, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from optical_mteb.bases import LayerSelection
from optical_mteb.bitext import BitextSource
from optical_mteb.errors import InputError
from optical_mteb.languages import find_language
from optical_mteb.recipes import shipped_recipes
from optical_mteb.students.sidecar import Kind
from optical_mteb.students.store import NAME_PATTERN
from optical_mteb.toml_file import MOST, Count, Seed, find_toml, read_table, read_toml
from optical_mteb.training.readings import Reading

Length = Annotated[int, Field(ge=0, le=MOST)]
Iterations = Annotated[int, Field(ge=1, le=1_000_000)]
Scale = Annotated[float, Field(ge=1e-6, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1e6)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class StudentSettings(_Table):
    """`[student]`: what is trained.

    Attributes:
        base: Spec of the model to start from: a Hub id, a folder, or `pypi:<name>`.
        revision: Commit, tag or branch of a Hub id.
        kind: `dense`, a vector per text, or `late_interaction`, a vector per token, scored by MaxSim.
        prompt: Name of the prompt to put before every translation, or nothing.
        prompts: Prompts by name for a base that has none recorded; the student keeps them.
        prune_vocabulary: Keep only the vocabulary that the bitext uses, single characters and special tokens.
        keep_most_frequent: With pruning, keep this many of the vocabulary's most frequent tokens as well.
        layers: Keep this many transformer layers; all by default. The teacher keeps its own.
        layer_selection: Which: `spaced`, the last of each of `layers` equal parts, or `first`.
        feed_forward: Keep this many feed-forward neurons in every layer, those of the largest weights; all by default.
        width: Width of the embeddings, below the teacher's, by a projection of both models' tokens; the teacher's
            by default.
        freeze_embeddings: Leave the word embeddings as they are: all of them, or with `unused` those of tokens that the
            bitext does not have; false to train all.
        freeze_layers: Leave this many of the student's transformer layers, the first, and what is below them as they are:
            a training step is shorter by their backward pass.
        dropout: Dropout while training. The target of a distillation is not a label that could be learned by heart; without
            dropout, a step is the same however it is divided among mini-batches and devices.
        max_tokens: While training, longer inputs are cut, the teacher's too.
    """

    base: str
    revision: str | None = None
    kind: Kind = "dense"
    prompt: str | None = None
    prompts: dict[str, str] = {}
    prune_vocabulary: bool = False
    keep_most_frequent: Length = 0
    layers: Count | None = None
    layer_selection: LayerSelection = "spaced"
    feed_forward: Count | None = None
    width: Count | None = None
    freeze_embeddings: bool | Literal["unused"] = True
    freeze_layers: Length = 0
    dropout: float = Field(default=0.0, ge=0, lt=1)
    max_tokens: Count = 128

    @model_validator(mode="after")
    def _read_with_layers(self) -> Self:
        if self.layer_selection != "spaced" and self.layers is None:
            raise ValueError(f"layer_selection = {self.layer_selection!r} is read with layers only; add layers")
        if self.freeze_layers and self.freeze_embeddings is not True:
            raise ValueError("freeze_layers freezes the embeddings below them, too; set freeze_embeddings = true")
        return self


class TeacherSettings(_Table):
    """`[teacher]`: the frozen English retriever.

    Attributes:
        base: Spec of the model.
        revision: Commit, tag or branch of a Hub id.
        prompt: Name of the prompt to put before every English sentence, or nothing.
        prompts: Prompts by name for a teacher that has none recorded.
        cache: Keep its outputs on disk, so that a second epoch or a second student does not run it again. A sentence of
            30 tokens of 384 dimensions takes 24 kB.
    """

    base: str
    revision: str | None = None
    prompt: str | None = None
    prompts: dict[str, str] = {}
    cache: bool = False


class ObjectiveTerm(_Table):
    """A term of the loss.

    Attributes:
        weight: Its weight in the sum.
        target: Which reading of the English sentence it is compared with: the teacher's `document`, by the prompt of
            `[teacher]`, or its `query`, by the teacher's prompt of the name that `[student]` has.
    """

    weight: float = Field(default=1.0, gt=0, le=1e6)
    target: Reading = "document"


class _TransportTerm(ObjectiveTerm):
    """How tokens are transported; see `optical_mteb.training.losses.TokenTransport`.

    Attributes:
        solver: `sinkhorn` (entropic), `unbalanced` (marginals relaxed), `ipot` (proximal points) or `exact` (slow).
        epsilon: Weight of the entropy in `sinkhorn` and `unbalanced`, in units of the cost.
        beta: Proximal step of `ipot`, in units of the cost.
        relaxation: Weight of the marginals in `unbalanced`, in units of the cost.
        iterations: Iterations of the solver, at most.
        tolerance: Marginal error at which the solver may stop; by default it takes all iterations.
        marginals: Mass of a token: `uniform`, `idf`, or the `norm` of its embedding.
        center: Take the mean of the batch's teacher tokens off both sides before the cosine.
        layers: Transformer layers that the cost is the mean over, counted from the last.
    """

    solver: Literal["sinkhorn", "ipot", "unbalanced", "exact"] = "sinkhorn"
    epsilon: Scale = 0.05
    beta: Scale = 0.5
    relaxation: Scale = 1.0
    iterations: Iterations = 50
    tolerance: float | None = Field(default=None, gt=0)
    marginals: Literal["uniform", "idf", "norm"] = "uniform"
    center: bool = Field(default=False, validation_alias=AliasChoices("center", "centre"))
    layers: list[Annotated[int, Field(ge=-1000, lt=0)]] = Field(default=[-1], min_length=1)

    @model_validator(mode="after")
    def _read_by_the_solver(self) -> Self:
        readers = {"epsilon": ("sinkhorn", "unbalanced"), "beta": ("ipot",), "relaxation": ("unbalanced",)}
        for key, solvers in readers.items():
            if getattr(self, key) != type(self).model_fields[key].default and self.solver not in solvers:
                raise ValueError(f"{key} is read by solver {' and '.join(solvers)} only, and solver is {self.solver}")
        return self


class OpticalTerm(_TransportTerm):
    """`[objective.optical]`: <T, C> between the tokens of a pair."""


class ContrastiveTerm(ObjectiveTerm):
    """`[objective.contrastive]`: in-batch contrast; the score is that of the student's kind unless one is named.

    Attributes:
        temperature: Divisor of the scores.
        score: `cosine` of sentence embeddings, or `maxsim` of tokens.
        margin: An English sentence whose cosine with the pair's own one, by the teacher, is above 1 - margin is no
            negative.
    """

    temperature: Scale = 0.02
    score: Literal["cosine", "maxsim"] | None = None
    margin: float | None = Field(default=None, gt=0, lt=2)


class TransportContrastiveTerm(_TransportTerm):
    """`[objective.transport_contrastive]`: in-batch contrast of transport costs.

    Attributes:
        temperature: Divisor of the costs.
    """

    temperature: Scale = 0.02
    iterations: Iterations = 20


class SentenceTerm(ObjectiveTerm):
    """`[objective.sentence]`: distance of the student's sentence embedding from the teacher's (`EmbedDistillLoss`).

    Attributes:
        distance_metric: Distance of the two embeddings.
    """

    distance_metric: Literal["cosine", "mse", "l2"] = "cosine"


class AnchorTerm(ObjectiveTerm):
    """`[objective.anchor]`: the student's English tokens stay at the teacher's."""


class RankTerm(ObjectiveTerm):
    """`[objective.rank]`: the student ranks a bank of documents for a translation as the teacher does for the English.

    Attributes:
        temperature: Divisor of the scores, of student and teacher alike.
        score: `cosine` or `maxsim`; that of the student's kind unless one is named.
        candidates: Documents that a pair is scored against, half of them the teacher's highest, half drawn at random;
            all by default, with `maxsim` 32.
        bank: What is ranked: the bitext's English `sentences`, `passages` of consecutive ones, or `all` of these.
        bank_size: Most texts of the bank, drawn at random; all by default.
    """

    target: Reading = "query"
    temperature: Scale = 0.01
    score: Literal["cosine", "maxsim"] | None = None
    candidates: int | None = Field(default=None, ge=2, le=MOST)
    bank: Literal["all", "sentences", "passages"] = "all"
    bank_size: int | None = Field(default=None, ge=2, le=MOST)


class DocumentRankTerm(RankTerm):
    """`[objective.rank_documents]`: the same for retrieval from English: translations are documents, the bank queries.

    It costs another pass of the student, over the translations with the prompt of documents.
    """

    target: Reading = "document"
    score: Literal["cosine"] | None = None
    bank: Literal["all", "sentences", "passages"] = "sentences"


class ObjectiveSettings(_Table):
    """`[objective]`: the loss is the sum of the terms that stand here, each times its weight."""

    optical: OpticalTerm | None = None
    contrastive: ContrastiveTerm | None = None
    transport_contrastive: TransportContrastiveTerm | None = None
    sentence: SentenceTerm | None = None
    anchor: AnchorTerm | None = None
    rank: RankTerm | None = None
    rank_documents: DocumentRankTerm | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if not self.terms:
            raise ValueError(
                f"no loss term; add a table such as [objective.optical], of {', '.join(type(self).model_fields)}"
            )
        return self

    @property
    def terms(self) -> dict[str, ObjectiveTerm]:
        """The terms that are there, by name."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: term for name, term in named.items() if term is not None}


class BatchSettings(_Table):
    """`[batches]`: what the examples of a step are made of.

    Attributes:
        monolingual: Share of examples in which student and teacher read the same English; relative to the sum of the
            three shares.
        cross_lingual: Share of those in which the student reads a translation.
        multilingual: Share of those in which the student is brought to its own reading of a third language; pairs are
            joined on equal English sides.
        alpha: Languages are drawn with p ~ n^alpha, n their number of pairs: 1 as they come, 0 all alike.
        caps: Most pairs of a language, by language.
        passages: Share of the cross-lingual examples that are passages: both sides of a few consecutive sentences of a
            document, joined. A language without documents has sentences alone.
        most_repeats: Times that an English sentence may be a target in all of the training, passages not counted; any
            number by default.
        window: Batches whose examples are sorted by length together.
    """

    monolingual: Share = 0.0
    cross_lingual: Share = 1.0
    multilingual: Share = 0.0
    alpha: float = Field(default=1.0, ge=0, le=1)
    caps: dict[str, Count] = {}
    passages: float = Field(default=0.0, ge=0, le=1)
    most_repeats: Count | None = None
    window: Count = 32

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if not self.monolingual + self.cross_lingual + self.multilingual:
            raise ValueError("the shares monolingual, cross_lingual and multilingual are all 0; make one positive")
        return self


class EvaluationSettings(_Table):
    """`[evaluation]`: a dev split of the bitext that the training is scored on; the best student is kept.

    Attributes:
        pairs: Pairs of each language that are held out of the training.
        every: Steps between two evaluations.
        patience: Evaluations without a better score after which the training ends; None to take all steps.
    """

    pairs: int = Field(default=100, ge=2, le=MOST)
    every: Count = 50
    patience: Count | None = None


class TrainingSettings(_Table):
    """`[training]`: the optimizer's part.

    Attributes:
        steps: Optimizer steps.
        batch_size: Examples in a step, all devices together.
        mini_batch_tokens: Tokens, padding included, that go through the student at once on a device; a batch that holds
            more is divided. Fewer need less memory and give the same step, where there is no dropout. All by default.
        learning_rate: Peak learning rate of AdamW; it rises linearly, then falls linearly to 0.
        embedding_rate: The same for word embeddings of which single rows are trained (`freeze_embeddings = "unused"`):
            a row has a gradient in the few steps that read its token. That of the other weights by default.
        warmup_ratio: Share of the steps in which it rises.
        weight_decay: Weight decay of AdamW.
        precision: `float32`, `bfloat16` (autocast), or `auto`: bfloat16 where the hardware computes in it.
        log_every: Steps between two logged lines.
        checkpoint_every: Steps between two checkpoints, from which an interrupted training continues.
        keep_checkpoints: Checkpoints that are kept while training.
        average: The student is the mean of this many checkpoints, the last ones; 1 takes the last one.
        tensorboard: Write the log for TensorBoard, too.
    """

    steps: Count
    batch_size: int = Field(default=32, ge=2, le=1_000_000)
    mini_batch_tokens: Count | None = None
    learning_rate: float = Field(default=2e-5, gt=0, le=10)
    embedding_rate: float | None = Field(default=None, gt=0, le=10)
    warmup_ratio: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.01, ge=0, le=1000)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    log_every: Count = 10
    checkpoint_every: Count = 100
    keep_checkpoints: Count = 2
    average: Count = 1
    tensorboard: bool = False

    @model_validator(mode="after")
    def _has_checkpoints_to_average(self) -> Self:
        written = math.ceil(self.steps / self.checkpoint_every)
        if self.average > written:
            raise ValueError(
                f"average = {self.average}: {self.steps} steps write {written} checkpoint{'s' * (written > 1)} "
                f"(checkpoint_every = {self.checkpoint_every}); average fewer, or lower checkpoint_every"
            )
        return self


class Recipe(_Table):
    """A training recipe.

    Attributes:
        name: Name of the student in the store, and of `mteb run -m`.
        description: A sentence for the model card.
        license: License of the trained weights, as MTEB spells it.
        seed: Seed of everything random.
        mteb_tasks: MTEB tasks whose data the bitext may hold; pairs of other tasks, where these are here, are left out.
            `cldr:` sources name theirs themselves.
        student: What is trained.
        teacher: What it learns from.
        bitext: Parallel text, one table a source.
        batches: What a step mixes.
        objective: The loss.
        training: The optimizer's part.
        evaluation: Scores while training; None for none.
    """

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    description: str = ""
    license: str | None = Field(default=None, validation_alias=AliasChoices("license", "licence"))
    seed: Seed = 13
    mteb_tasks: list[str] = []
    student: StudentSettings
    teacher: TeacherSettings
    bitext: list[BitextSource] = Field(min_length=1)
    batches: BatchSettings = BatchSettings()
    objective: ObjectiveSettings
    training: TrainingSettings
    evaluation: EvaluationSettings | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self._check_caps()
        if self.training.embedding_rate is not None and self.student.freeze_embeddings != "unused":
            raise ValueError(
                "training.embedding_rate is read with student.freeze_embeddings = 'unused' only; leave it out"
            )
        if self.training.average > 1 and self.evaluation is not None:
            raise ValueError("training.average: [evaluation] keeps the best student, not a mean; take one of them")
        if self.batches.multilingual:
            if len(self.languages) < 2:
                raise ValueError(
                    f"batches.multilingual: {self.languages[0]} is the only language; add bitext of a second one, "
                    "or leave multilingual out"
                )
            if any(getattr(term, "marginals", None) == "idf" for term in self.objective.terms.values()):
                raise ValueError(
                    "batches.multilingual: marginals = 'idf' counts English tokens, and these targets are not English; "
                    "use uniform or norm marginals, or leave multilingual out"
                )
            if set(self.objective.terms) == {"anchor"}:
                raise ValueError(
                    "batches.multilingual: objective.anchor reads English alone, and these examples have none; "
                    "add another term, or leave multilingual out"
                )
        return self

    def _check_caps(self) -> None:
        capped: dict[str, str] = {}
        for spelling in self.batches.caps:
            try:
                code = find_language(spelling).code
            except InputError:
                code = None
            if code not in self.languages:
                raise ValueError(
                    f"batches.caps: there is no bitext of {spelling!r}; there is of {', '.join(self.languages)}"
                )
            if code in capped:
                raise ValueError(
                    f"batches.caps: {capped[code]!r} and {spelling!r} are the same language; leave one out"
                )
            capped[code] = spelling

    @property
    def languages(self) -> list[str]:
        """Sorted ISO 639-3 codes of the bitext."""
        return sorted({source.language_code for source in self.bitext})

    @property
    def tasks_read(self) -> list[str]:
        """MTEB tasks whose data the student may have read, sorted."""
        cldr = {"CLDRNameRetrieval"} if any(source.kind == "cldr" for source in self.bitext) else set()
        return sorted({*self.mteb_tasks, *cldr})

    def is_recorded_as(self, record: Mapping[str, Any]) -> bool:
        """Whether a student's record has this recipe; keys that came after it was written count as at their defaults."""
        try:
            return type(self).model_validate(record) == self
        except ValidationError:
            return False

    @property
    def mixture(self) -> BatchSettings:
        """What the batch sampler mixes, caps by ISO 639-3 code."""
        caps = {find_language(spelling).code: cap for spelling, cap in self.batches.caps.items()}
        return self.batches.model_copy(update={"caps": caps})


def find_recipe(spec: str) -> Path:
    """The file of a recipe: a path, or the name of one that ships with the package.

    Raises:
        InputError: It is neither.
    """
    return find_toml("recipe", spec, shipped_recipes())


def read_recipe(source: Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    The folder of a base is looked up beside the file first, and stands there with its full path then.

    Args:
        source: A TOML file, or the tables that it would hold.
        overrides: `key=value` each, the key dotted, the value in TOML or a bare string.

    Raises:
        InputError: The file is not TOML, a key is unknown (the nearest known one is named) or a value is wrong.
    """
    if isinstance(source, Mapping):
        return read_table(source, Recipe, overrides, where="recipe")
    recipe = read_toml(source, Recipe, overrides)
    for table in (recipe.student, recipe.teacher):
        beside = source.parent / table.base
        if table.base and not Path(table.base).is_absolute() and beside.is_dir():
            table.base = str(beside.absolute())
    return recipe
