"""Import hook: the moment `mteb` is imported, this package's models, tasks and benchmarks are in its registries.

mteb has no plugin mechanism, so the wheel carries `optical_mteb.pth` and, for Python 3.15 and later,
`optical_mteb.start`, which Python reads at every start. They put a finder on the meta path that calls `find_mteb` for the
name `mteb` and does nothing else: a start of Python imports nothing heavy. The finder stays there, because `python -m mteb` asks for the spec twice, once by runpy and
once by the import.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_searching = False


def find_mteb() -> ModuleSpec | None:
    """The spec that the other finders give for `mteb`, its loader followed by the registration.

    Returns:
        None where there is no mteb, where `OPTICAL_MTEB_DISABLE` is 1, and while the other finders are asked.
    """
    global _searching
    if _searching or os.environ.get("OPTICAL_MTEB_DISABLE") == "1":
        return None
    _searching = True
    try:
        spec = find_spec("mteb")
    finally:
        _searching = False
    if spec is not None and spec.loader is not None:
        _register_after(spec.loader)
    return spec


def _register_after(loader: Loader) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        register_quietly()

    # On the instance: whoever looks at the loader finds mteb's own, with all that it can do.
    loader.exec_module = exec_module  # type: ignore[method-assign]


def register_quietly() -> None:
    """Fill mteb's registries; on any failure say so in one warning and leave mteb as it is."""
    try:
        from optical_mteb.registry import register

        register()
    except KeyboardInterrupt:
        raise
    # A package of our name that is in the way may even end Python.
    except BaseException as error:
        warnings.warn(f"optical-mteb could not register with mteb: {type(error).__name__}: {error}", stacklevel=2)
