"""`optical.json`: what is on record about a checkpoint besides its weights."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from optical_mteb.errors import InputError

SIDECAR_NAME = "optical.json"

Kind = Literal["dense", "late_interaction"]
"""What a student is: one vector per text (`SentenceTransformer`), or one per token (`MultiVectorEncoder`)."""


def _spelled_today(recipe: Any) -> Any:  # noqa: ANN401 - what a file holds, before it is checked
    """A recorded recipe whose keys `licence` and `centre` of earlier versions are `license` and `center`."""
    if not isinstance(recipe, dict):
        return recipe
    found = {"license" if key == "licence" else key: value for key, value in recipe.items()}
    if isinstance(objective := found.get("objective"), dict):
        found["objective"] = {
            name: {"center" if key == "centre" else key: value for key, value in term.items()}
            if isinstance(term, dict)
            else term
            for name, term in objective.items()
        }
    return found


RecordedRecipe = Annotated[dict[str, Any], BeforeValidator(_spelled_today)]
"""A recipe with its defaults filled in, in today's spelling also where an earlier version wrote it."""


class BitextRecord(BaseModel):
    """One bitext source that a student was trained on."""

    model_config = ConfigDict(extra="forbid")

    source: str
    language: str
    read: int
    kept: int


class OverlapRecord(BaseModel):
    """Pairs of the bitext that a task has, too, as far as the task's data was there when the student was trained.

    Attributes:
        task: The task.
        pairs: Pairs with a side that is a query, a document or a sentence of one, or shares 13 words with one.
        kept: Whether the student was trained on them, because the recipe names the task in `mteb_tasks`.
    """

    model_config = ConfigDict(extra="forbid")

    task: str
    pairs: int
    kept: bool


class AveragedRecord(BaseModel):
    """One side of a student that is the weighted mean of others.

    Attributes:
        of: Name of the student, or spec of the base.
        revision: Hash of its weights, or revision of the base.
        weight: Its weight.
    """

    model_config = ConfigDict(extra="forbid")

    of: str
    revision: str
    weight: float


class Sidecar(BaseModel):
    """Provenance of a student.

    Attributes:
        name: Name in the student store.
        kind: `dense` or `late_interaction`.
        weights: SHA-256 of weights, tokenizer and settings, the first 40 hexadecimal digits: MTEB's revision of the
            student.
        created: Day of training, ISO 8601.
        seed: Seed of the training run.
        steps: Optimizer steps taken.
        recipe: The validated recipe, with defaults filled in.
        objective: Names of the loss terms, in words for a reader.
        base: Spec of the model that the student started from.
        base_revision: Its revision.
        base_origin: Hub id of the model behind the base, where known.
        teacher: Spec of the teacher.
        teacher_revision: Its revision.
        teacher_origin: Hub id of the model behind the teacher, where known.
        bitext: Sources with counts.
        bitext_fingerprint: SHA-256 over all training pairs in order.
        languages: MTEB language-script tags, English included.
        mteb_tasks: MTEB tasks whose data the training saw.
        license: License of the weights as MTEB spells it, where the recipe states one.
        parameters: Number of parameters.
        embedding_parameters: Of them, in the word embeddings.
        width: Width of an embedding.
        max_tokens: Longest input that the student reads, in tokens.
        versions: Versions of the libraries that trained it.
        metrics: Last logged training figures.
        overlaps: Tasks that the bitext was compared with; those without a common pair, too.
        average: What it is the mean of, where it was not trained itself; recipe and seed are those of the first student.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Kind = "dense"
    weights: str
    created: str
    seed: int
    steps: int
    recipe: RecordedRecipe
    objective: str
    base: str
    base_revision: str
    base_origin: str | None = None
    teacher: str
    teacher_revision: str
    teacher_origin: str | None = None
    bitext: list[BitextRecord]
    bitext_fingerprint: str
    languages: list[str]
    mteb_tasks: list[str]
    license: str | None = Field(default=None, validation_alias=AliasChoices("license", "licence"))
    parameters: int
    embedding_parameters: int
    width: int
    max_tokens: int
    versions: dict[str, str]
    metrics: dict[str, float] = {}
    overlaps: list[OverlapRecord] = []
    average: list[AveragedRecord] = []

    def write(self, folder: Path) -> None:
        """Write the sidecar into a checkpoint folder."""
        (folder / SIDECAR_NAME).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Sidecar:
        """The sidecar of a checkpoint folder.

        Raises:
            InputError: There is none, or it is not valid.
        """
        path = folder / SIDECAR_NAME
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot read it ({error}); train the student again") from error
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise InputError(f"{path}: {field or 'the file'}: {first['msg']}; train the student again") from error


def shipped_packs() -> dict[str, Path]:
    """Record of each student that the package brings, by its name; the tensors lie beside it."""
    folder = Path(str(files(__package__))) / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.json"))}
