"""Where a published data set is found: the user's own copy, the cache, the Hub, its publisher's site."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Never, Self
from urllib.parse import quote

from optical_mteb.errors import InputError, reason_of
from optical_mteb.storage import data_folder, held, local_data


def local_places(name: str) -> list[Path]:
    """Where the folder of a data set may be in `OPTICAL_MTEB_DATA`: none where that is not set."""
    data = local_data()
    return [] if data is None else [data / shelf / name for shelf in ("", "eval", "bitext")]


@dataclass(frozen=True)
class PublishedData:
    """A data set at one revision, as its publisher offers it. Nothing is looked up before a file is asked for.

    Attributes:
        name: Its folder, in `OPTICAL_MTEB_DATA` and in the cache.
        page: Where people find it.
        revision: Commit, version or date: the files of a revision never change.
        url: What a file's path is appended to, or None where the publisher has no files to download singly.
        hub: Hub data set, `owner/name`, or None.
        archives: URL of an archive by name, for files that come in one.
        checksums: SHA-256 in hex, by a file's path or an archive's name, of downloads from `url` and `archives`. One
            that is absent is not checked; nor are the user's own copies, nor the Hub's files, which a commit names.
        kept_folders: Last folders of a path that the user's own copy must have, as they tell files of one name apart.
    """

    name: str
    page: str
    revision: str
    url: str | None = None
    hub: str | None = None
    archives: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    kept_folders: int = 0

    @classmethod
    def on_github(cls, repository: str, commit: str) -> Self:
        """A repository of GitHub, `owner/name`; its folder is its name in lower case."""
        return cls(
            name=repository.rpartition("/")[2].lower(),
            page=f"https://github.com/{repository}",
            revision=commit,
            url=f"https://raw.githubusercontent.com/{repository}/{commit}",
        )

    @classmethod
    def on_hub(cls, repository: str, commit: str, *, kept_folders: int = 0) -> Self:
        """A data set of the Hub, `owner/name`; its folder is its name in lower case."""
        return cls(
            name=repository.rpartition("/")[2].lower(),
            page=f"https://huggingface.co/datasets/{repository}",
            revision=commit,
            hub=repository,
            kept_folders=kept_folders,
        )

    @property
    def cache(self) -> Path:
        """Folder of the downloaded files."""
        return data_folder() / self.name / self.revision

    def find(self, path: str, *, archive: str | None = None) -> Path:
        """The local file of a path; downloaded where it has to be.

        Looked up in `OPTICAL_MTEB_DATA`, then in the cache, then fetched from the Hub or the publisher. With
        `HF_HUB_OFFLINE` nothing is fetched; the Hub's own cache is looked into all the same.

        Args:
            path: Path as the publisher has it, with `/`. In the user's own copy leading folders may be left out.
            archive: Name of the archive that holds it, where it comes in one.

        Raises:
            InputError: It cannot be loaded, and the text names the page and the folder to put it in; or the path leads out
                of the data set's folder.
        """
        local = self.find_local(path)
        if local is not None:
            return local
        cached = self.cache / path
        if cached.is_file():
            return cached
        if archive is not None:
            return self._from_archive(path, archive)
        if self.hub is not None:
            return self._from_hub(path)
        if self.url is None:
            self._give_up(path, "it is not offered for download")
        return self._download(self.url.rstrip("/") + "/" + quote(path), cached, path)

    def find_local(self, path: str) -> Path | None:
        """The file in the user's own copy, or None.

        Raises:
            InputError: The path leads out of the data set's folder.
        """
        from optical_mteb.collection.archive import relative_path

        if relative_path(path) is None:
            raise InputError(
                f"{self.name}: the path {path!r} leads out of the data set's folder; "
                "expected one inside it, without '..'"
            )
        parts = PurePosixPath(path).parts
        shortened = [Path(*parts[start:]) for start in range(max(1, len(parts) - self.kept_folders))]
        places = (folder / each for folder in local_places(self.name) for each in shortened)
        return next(filter(Path.is_file, places), None)

    def _from_archive(self, path: str, name: str) -> Path:
        from optical_mteb.collection.archive import unpack

        url, own = self.archives[name], self.find_local(name)
        packed, folder = self.cache / name, self.cache / f"{name}.d"
        if own is not None:
            about = own.stat()
            # One that the user replaces is unpacked anew.
            packed, folder = own, self.cache / f"{name}.{about.st_size}-{about.st_mtime_ns}.d"
        if not folder.is_dir():
            if offline() and not packed.is_file():
                self._give_up(name, "HF_HUB_OFFLINE is set")
            with held(Path(f"{folder}.lock")):
                if not folder.is_dir():
                    if not packed.is_file():
                        self._download(url, packed, name)
                    unpack(packed, folder)
        found = folder / path
        if not found.is_file():
            raise InputError(
                f"{packed}: holds no {path}; expected what {url} holds at revision {self.revision}; "
                f"get it from {self.page}"
            )
        return found

    def _from_hub(self, path: str) -> Path:
        from huggingface_hub import hf_hub_download

        try:
            return Path(
                hf_hub_download(
                    self.hub or "", path, repo_type="dataset", revision=self.revision, local_files_only=offline()
                )
            )
        # Nothing narrower: the client lets errors of its HTTP and transfer libraries through unchanged.
        except Exception as error:
            if offline():
                self._give_up(path, "HF_HUB_OFFLINE is set, and the Hub's cache does not have it")
            self._give_up(path, f"the Hub says: {reason_of(error)}")

    def _download(self, url: str, target: Path, path: str) -> Path:
        if offline():
            self._give_up(path, "HF_HUB_OFFLINE is set")
        from optical_mteb.collection.download import download

        try:
            return download(url, target, sha256=self.checksums.get(path))
        except InputError as error:
            self._give_up(path, str(error))

    def _give_up(self, path: str, reason: str) -> Never:
        folders = local_places(self.name) or [Path("OPTICAL_MTEB_DATA", self.name)]
        place = next(filter(Path.is_dir, folders), folders[0]) / path
        unset = "" if local_data() else ", after setting OPTICAL_MTEB_DATA to your data folder"
        raise InputError(
            f"{self.name}: {path} is not here ({reason}); get it from {self.page} and put it at {place}{unset}"
        )


_FORBIDDEN: ContextVar[bool] = ContextVar("downloads are forbidden", default=False)


@contextmanager
def without_downloads() -> Iterator[None]:
    """Within the block nothing is downloaded, whatever `HF_HUB_OFFLINE` says."""
    token = _FORBIDDEN.set(True)
    try:
        yield
    finally:
        _FORBIDDEN.reset(token)


def offline() -> bool:
    """Whether `HF_HUB_OFFLINE` or the place in the program forbids downloads."""
    return _FORBIDDEN.get() or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
