"""Files of bitext from where they are published, kept in the cache under what they hash to."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from optical_mteb.collection.archive import unpack
from optical_mteb.collection.download import download
from optical_mteb.collection.published_data import offline
from optical_mteb.errors import InputError
from optical_mteb.storage import data_folder, not_writable


def fetch(name: str, url: str, sha256: str) -> Path:
    """The published file, from the cache or from its place.

    Args:
        name: Path as a recipe writes it; the file in an archive has the same last part.
        url: Of the file, or of an archive that holds it.
        sha256: What the file hashes to, in hex.

    Raises:
        InputError: Nothing may be downloaded, the place does not answer, the archive does not hold the file once, or
            the file is another one than the recipe was written for.
    """
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
