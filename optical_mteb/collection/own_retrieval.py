"""The user's own collection as an MTEB task."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import PrivateAttr

from optical_mteb.collection.beir import beir_files, read_beir
from optical_mteb.collection.fingerprint import fingerprint
from optical_mteb.collection.task import CollectionRetrieval, TaskMetadata
from optical_mteb.collection.task_file import TASK_FILE, TaskFile, read_task_file
from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData


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
    about = read_task_file(folder / TASK_FILE)
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
    return OwnMetadata(
        name=about.name,
        dataset={"path": str(folder), "revision": state},
        description=about.description or f"The user's own collection {about.name}.",
        reference=about.reference,
        type="Retrieval",
        category="t2t",
        modalities=["text"],
        eval_splits=[about.split],
        eval_langs={about.subset: about.languages},
        main_score="ndcg_at_10",
        date=about.date,
        domains=about.domains,
        task_subtypes=about.task_subtypes,
        license=about.license,
        annotations_creators=about.annotations_creators,
        dialect=about.dialect,
        sample_creation=about.sample_creation,
        bibtex_citation=about.citation,
    )
