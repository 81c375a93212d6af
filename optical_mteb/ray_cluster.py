"""A Ray cluster: joined by its address, or started on this machine; needs the extra `ray`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from optical_mteb.errors import InputError, reason_of

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 5
"""Times that work is begun anew after the worker that had it died."""


@contextmanager
def cluster(address: str | None = None, *, workers: int | None = None) -> Iterator[int]:
    """A cluster for as long as the block runs; a local one ends with it.

    Args:
        address: Of a running cluster, `host:port`, `ray://host:port` or `auto`; None to start one on this machine.
        workers: Processes that work at a time; one less than the cluster has cores by default.

    Yields:
        The number of workers.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """
    if find_spec("ray") is None:
        raise InputError('--engine ray needs Ray; install it: pip install "optical-mteb[ray]"')
    import ray

    settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        # One more than work at a time: what a dead worker lost is made again by a task of its own.
        settings |= {"include_dashboard": False, "num_cpus": (workers or os.cpu_count() or 1) + 1}
    try:
        ray.init(address=address or "local", **settings)
    # Nothing narrower: the client lets errors of its transport through unchanged.
    except Exception as error:
        raise InputError(f"--address {address}: no Ray cluster answers there ({reason_of(error)})") from error
    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield workers or max(int(resources.get("CPU", 1)) - 1, 1)
    finally:
        ray.shutdown()


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[tuple[Item, Result]]:
    """Apply a function of a module to items, on all workers of the cluster at once; results as they come.

    The function and the items are pickled; an item is counted as one core. Where a worker dies, another takes its item.

    Raises:
        InputError: The function raised one; or workers died `RETRIES` times over one item.
    """
    import ray

    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(function)
    waiting = {remote.remote(item): item for item in items}
    while waiting:
        [done], _ = ray.wait(list(waiting))
        item = waiting.pop(done)
        try:
            result: Result = ray.get(done)
        except Exception as error:
            raise own_error(error) from error
        yield item, result


def own_error(error: Exception) -> Exception:
    """What a worker raised: an `InputError` as it was, all else in one line."""
    cause: Any = getattr(error, "cause", None)
    if isinstance(cause, InputError):
        return InputError(str(cause))
    return InputError(f"a Ray worker failed: {reason_of(error)}")
