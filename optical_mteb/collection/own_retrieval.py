"""The user's own collection as an MTEB task: a folder with data and a `task.toml` that says what they are."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Self

from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import AnnotatorType, SampleCreationMethod, TaskDomain, TaskSubtype
from mteb.languages import check_language_code
from mteb.types import Licenses, StrDate, StrURL
from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, PrivateAttr

from optical_mteb.collection.arrow_corpus import fingerprint
from optical_mteb.collection.beir import beir_files, read_beir
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.errors import InputError
from optical_mteb.languages import find_language
from optical_mteb.toml_file import read_toml

TASK_FILE = "task.toml"


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
        return list(dict.fromkeys(each.tag for each in both))


class OwnMetadata(TaskMetadata):
    """MTEB's metadata of a folder with a `task.toml`."""

    _read_revision: str = PrivateAttr("")

    @property
    def revision(self) -> str:
        """SHA-256 of corpus, queries and judgements, the first 40 hexadecimal digits.

        The files are read for it, so it is taken only when results are written or looked up.
        `dataset["revision"]` is the cheaper one that is of the files' sizes and times. Of a task whose data are
        loaded, it is that of the files as they were read.
        """
        return self._read_revision or self._hash()

    def as_read(self) -> Self:
        """The metadata of the files as they are now, whatever becomes of them."""
        fixed = self.model_copy()
        fixed._read_revision = self._hash()
        return fixed

    def _hash(self) -> str:
        digest = hashlib.sha256()
        for file in beir_files(Path(self.dataset["path"]), self.eval_splits[0]):
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()[:40]


class OwnRetrieval(CollectionRetrieval):
    """What the tasks of the user's own collections share.

    Attributes:
        folder: The collection.
    """

    folder: Path
    metadata: OwnMetadata

    def load_split(self, subset: str, split: str) -> RetrievalSplitData:
        """The folder's files.

        Raises:
            InputError: As `read_beir`; or the files change while they are read.
        """
        files = beir_files(self.folder, split)
        before = fingerprint("", *files)
        metadata = type(self).metadata.as_read()
        data = read_beir(self.folder, split=split, name=f"{metadata.name}/{subset}/{split}")
        if fingerprint("", *files) != before:
            raise InputError(f"{self.folder}: the files changed while they were read; run the command again")
        self.metadata = metadata
        return data


def own_task_class(folder: Path) -> type[OwnRetrieval]:
    """The task that the `task.toml` of a folder describes; of the data only sizes and times are looked at.

    Raises:
        InputError: The `task.toml` cannot be read or is wrong, or a file of the data is not there.
    """
    about = read_toml(folder / TASK_FILE, TaskFile)
    return type(
        about.name,
        (OwnRetrieval,),
        {
            "__module__": __name__,
            "__doc__": about.description or None,
            "folder": folder,
            "metadata": _metadata(about, folder),
        },
    )


def _metadata(about: TaskFile, folder: Path) -> OwnMetadata:
    state = hashlib.sha256(fingerprint("", *beir_files(folder, about.split)).encode()).hexdigest()[:40]
    given = {name: getattr(about, name) for name in TaskFile.model_fields.keys() & OwnMetadata.model_fields}
    given["description"] = about.description or f"The user's own collection {about.name}."
    return OwnMetadata(
        **given,
        dataset={"path": str(folder), "revision": state},
        eval_splits=[about.split],
        eval_langs={about.subset: about.languages},
        bibtex_citation=about.citation,
    )
