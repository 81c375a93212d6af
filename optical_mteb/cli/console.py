"""Where the work of a command is done."""

from __future__ import annotations

from enum import StrEnum

from optical_mteb.errors import InputError


class Engine(StrEnum):
    """Where the work is done."""

    LOCAL = "local"
    RAY = "ray"


def check_engine(engine: Engine, address: str | None, workers: int | None) -> bool:
    """Whether the work goes to a Ray cluster.

    Raises:
        InputError: It does not, and an option of clusters was given; or there are fewer workers than one.
    """
    given = "--address" if address is not None else "--workers" if workers is not None else None
    if engine is Engine.LOCAL and given is not None:
        raise InputError(f"{given} is for --engine ray; add that, or leave {given} out")
    if workers is not None and workers < 1:
        raise InputError(f"--workers {workers}: expected 1 at least")
    return engine is Engine.RAY
