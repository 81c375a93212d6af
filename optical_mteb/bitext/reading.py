"""From the description of a source to its records: finds the files and picks the reader."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from optical_mteb.bitext.cldr import read_cldr
from optical_mteb.bitext.fields import Fields
from optical_mteb.bitext.hub import read_hub
from optical_mteb.bitext.jsonl import read_jsonl
from optical_mteb.bitext.moses import read_moses
from optical_mteb.bitext.records import RawRecords
from optical_mteb.bitext.shifted import realign
from optical_mteb.bitext.source import BitextSource
from optical_mteb.bitext.tmx import read_tmx
from optical_mteb.bitext.tsv import read_tsv, without_header
from optical_mteb.collection.archive import unpack
from optical_mteb.collection.download import download
from optical_mteb.collection.published_data import offline
from optical_mteb.errors import InputError
from optical_mteb.storage import data_folder, local_data, not_writable


def read_source(source: BitextSource, *, base_folder: Path | None = None) -> RawRecords:
    """All records of a source, unfiltered; nothing is opened before the first is asked for, files are found at once.

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
    return _fetched(name, url, sha256)


def _fetched(name: str, url: str, sha256: str) -> Path:
    """The published file, from the cache under what it hashes to, or from its place: a file, or an archive that holds it."""
    file = PurePosixPath(name).name
    folder = data_folder() / "bitext" / sha256[:16]
    target = folder / file
    if target.is_file():
        return target
    if offline():
        raise InputError(
            f"{name}: no such file, and HF_HUB_OFFLINE is set; get it from {url} and put it at OPTICAL_MTEB_DATA/{name}"
        )
    published = PurePosixPath(unquote(urlsplit(url).path)).name
    if published == file:
        return download(url, target, sha256=sha256)
    archive, unpacked = folder / published, folder / f"{published}.d"
    download(url, archive)
    unpack(archive, unpacked)
    try:
        found = [path for path in sorted(unpacked.rglob(file)) if path.is_file()]
        if len(found) != 1:
            raise InputError(f"{url}: holds {len(found)} files named {file}, expected one; fix the recipe's url")
        hashed = hashlib.sha256(found[0].read_bytes()).hexdigest()
        if hashed != sha256:
            raise InputError(
                f"{url}: {file} hashes to {hashed}, expected {sha256}; its publisher changed it: see what is new, then "
                "change the recipe's sha256"
            )
        found[0].replace(target)
        archive.unlink(missing_ok=True)
    except OSError as error:
        raise not_writable(target, error) from error
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    return target


def find_file(name: str, base_folder: Path | None = None) -> Path:
    """The file of that name: absolute, or in `base_folder`, in `OPTICAL_MTEB_DATA` or in the working folder.

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
