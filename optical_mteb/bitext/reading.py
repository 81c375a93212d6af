"""From the description of a source to its records: finds the files and picks the reader."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from optical_mteb.bitext.cldr import read_cldr
from optical_mteb.bitext.fields import Fields
from optical_mteb.bitext.header import without_header
from optical_mteb.bitext.hub import read_hub
from optical_mteb.bitext.jsonl import read_jsonl
from optical_mteb.bitext.moses import read_moses
from optical_mteb.bitext.published import fetch
from optical_mteb.bitext.records import RawRecords
from optical_mteb.bitext.shifted import realign
from optical_mteb.bitext.source import BitextSource
from optical_mteb.bitext.tmx import read_tmx
from optical_mteb.bitext.tsv import read_tsv
from optical_mteb.errors import InputError
from optical_mteb.storage import local_data


def read_source(source: BitextSource, *, base_folder: Path | None = None) -> RawRecords:
    """All records of a source, unfiltered; nothing is opened before the first is asked for, files are found at once.

    Args:
        source: The description.
        base_folder: Folder that relative paths are looked up in first, the recipe's.

    Raises:
        InputError: A file is not there, and cannot be loaded from where it is published.
    """
    records = _published_order(source, base_folder)
    return realign(records, source.shift, source.source) if source.shift else records


def check_files(sources: Iterable[BitextSource], base_folder: Path | None = None) -> None:
    """Look for the files of sources that are published nowhere; nothing is read.

    Raises:
        InputError: A file is not there.
    """
    for source in sources:
        if source.kind not in ("cldr", "hub"):
            for name, url in ((source.place, source.url), (source.translation, source.translation_url)):
                if name is not None and url is None:
                    find_file(name, base_folder)


def _published_order(source: BitextSource, base_folder: Path | None) -> RawRecords:
    if source.kind == "cldr":
        return read_cldr(source.place)
    if source.kind == "hub":
        folder = _lookup(source.place, base_folder)
        return read_hub(
            str(folder) if folder else source.place,
            _fields(source),
            config=source.config,
            split=source.split,
            revision=source.revision,
        )
    path = _file(source.place, source.url, source.sha256, base_folder)
    if source.kind == "moses":
        return read_moses(
            path, _file(source.translation or "", source.translation_url, source.translation_sha256, base_folder)
        )
    if source.kind == "tmx":
        return read_tmx(
            path, source.language_code, english_tag=source.english_tag, translation_tag=source.translation_tag
        )
    if source.kind == "jsonl":
        return read_jsonl(path, _fields(source))
    records = read_tsv(
        path,
        english_column=0 if source.english_column is None else source.english_column,
        translation_column=1 if source.translation_column is None else source.translation_column,
        id_column=source.id_column,
        header=source.header,
        keep_columns=list(source.keep),
    )
    return records if source.header else without_header(records, path, source.language_code)


def _file(name: str, url: str | None, sha256: str | None, base_folder: Path | None) -> Path:
    """The user's own copy of a file, or else the published one."""
    if url is None or sha256 is None or _lookup(name, base_folder) is not None:
        return find_file(name, base_folder)
    return fetch(name, url, sha256)


def find_file(name: str, base_folder: Path | None = None) -> Path:
    """The file of that name: absolute, or in `base_folder`, in `OPTICAL_MTEB_DATA` or in the working folder.

    Args:
        name: Path as a recipe writes it.
        base_folder: Folder to look in first.

    Raises:
        InputError: There is no such file.
    """
    found = _lookup(name, base_folder)
    if found is None or not found.is_file():
        places = ", ".join(dict.fromkeys(str(folder.resolve()) for folder in _folders(base_folder)))
        hint = "" if local_data() else " or set OPTICAL_MTEB_DATA to your data folder"
        where = "there" if Path(name).is_absolute() else f"in {places}"
        raise InputError(f"{name}: no such file {where}; correct the path{hint}")
    return found


def _folders(base_folder: Path | None) -> list[Path]:
    return [folder for folder in (base_folder, local_data(), Path.cwd()) if folder is not None]


def _lookup(name: str, base_folder: Path | None) -> Path | None:
    return next((folder / name for folder in _folders(base_folder) if (folder / name).exists()), None)


def _fields(source: BitextSource) -> Fields:
    record_id = None if source.id_column is None else str(source.id_column)
    return Fields(str(source.english_column), str(source.translation_column), record_id, tuple(source.keep))
