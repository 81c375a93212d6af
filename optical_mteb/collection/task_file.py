"""`task.toml`: what the user says about a collection that is to be an MTEB task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mteb.abstasks.task_metadata import AnnotatorType, SampleCreationMethod, TaskDomain, TaskSubtype
from mteb.languages import check_language_code
from mteb.types import Licenses, StrDate, StrURL
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field

from optical_mteb.languages import find_language
from optical_mteb.toml_file import read_toml

TASK_FILE = "task.toml"

# MTEB's other tasks file Swahili under its macrolanguage, too.
_BESIDE = {"swh": ["swa-Latn"]}


def _known(spelling: str) -> str:
    check_language_code(find_language(spelling).tag)
    return spelling


LanguageCode = Annotated[str, AfterValidator(_known)]


class TaskFile(BaseModel):
    """A `task.toml`; all but the name and the languages may be left out.

    Attributes:
        name: Name of the task, for `mteb run -t`.
        query_language: Language of the queries, a code as `sw`, `swh` or `kik-Latn`.
        document_language: Language of the documents, likewise.
        description: A sentence about the task.
        split: Name of the split.
        reference: URL of the collection's page.
        date: First and last day on which the texts were written.
        domains: Domains of the texts, as MTEB names them.
        task_subtypes: Kinds of retrieval, as MTEB names them.
        license: License of the data as MTEB spells it, or a URL.
        annotations_creators: Who judged the documents, as MTEB names them.
        dialect: BCP 47 tags of the dialects in it.
        sample_creation: How the texts came about, as MTEB names it.
        citation: BibTeX entry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_.-]*Retrieval$",
        description="letters, digits, '_', '.' and '-' that end in 'Retrieval', as in 'MyNewsRetrieval'",
    )
    query_language: LanguageCode
    document_language: LanguageCode
    description: str = ""
    split: str = Field(
        default="test",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="letters, digits, '_', '.' and '-', as in 'test'",
    )
    reference: StrURL | None = None
    date: tuple[StrDate, StrDate] | None = None
    domains: list[TaskDomain] | None = None
    task_subtypes: list[TaskSubtype] | None = None
    license: Licenses | StrURL = Field(default="not specified", validation_alias=AliasChoices("license", "licence"))
    annotations_creators: AnnotatorType | None = None
    dialect: list[str] = []
    sample_creation: SampleCreationMethod | None = None
    citation: str = Field(
        default="",
        pattern=r"^\s*(@\w+\s*\{\s*[^\s,]+\s*,|$)",
        description="a BibTeX entry, as in '@misc{key, ...}'",
    )

    @property
    def subset(self) -> str:
        """Name of the subset, `swh-eng`."""
        return f"{find_language(self.query_language).code}-{find_language(self.document_language).code}"

    @property
    def languages(self) -> list[str]:
        """MTEB's tags of both languages."""
        both = [find_language(self.query_language), find_language(self.document_language)]
        return list(dict.fromkeys(tag for each in both for tag in (each.tag, *_BESIDE.get(each.code, ()))))


def read_task_file(path: Path) -> TaskFile:
    """Read and check a `task.toml`.

    Raises:
        InputError: As for `read_toml`.
    """
    return read_toml(path, TaskFile)
