"""Import hook: the moment `mteb` is imported, this package's models, tasks and benchmarks are in its registries.

mteb has no plugin mechanism, so the wheel carries `optical_mteb.pth`, which imports this module at every start of
Python. It must therefore stay tiny, must import nothing that start-up has not imported already, and must never raise.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class RegisterAfterMteb:
    """Meta-path finder for exactly `mteb`: leaves the import as it is, and registers the plugin after it.

    It stays on the meta path, because `python -m mteb` asks for the spec twice: once by runpy, once by the import.
    """

    busy = False

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the finder protocol
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """The spec that the other finders give for `mteb`, its loader followed by the registration; else None."""
        if name != "mteb" or self.busy:
            return None
        self.busy = True
        try:
            from importlib.util import find_spec

            spec = find_spec(name)
            if spec is not None and spec.loader is not None:
                _register_after(spec.loader)
            return spec
        except Exception:
            return None
        finally:
            self.busy = False


def _register_after(loader: object) -> None:
    execute = loader.exec_module  # type: ignore[attr-defined]

    def exec_module(module: ModuleType) -> None:
        execute(module)
        register_quietly()

    loader.exec_module = exec_module  # type: ignore[attr-defined]


def register_quietly() -> None:
    """Fill mteb's registries; on any failure say so in one warning and leave mteb as it is."""
    try:
        from optical_mteb.registry import register

        register()
    except Exception as error:
        import warnings

        warnings.warn(f"optical-mteb could not register with mteb: {type(error).__name__}: {error}", stacklevel=2)


def install() -> None:
    """Put the finder first on the meta path, once."""
    if not any(isinstance(finder, RegisterAfterMteb) for finder in sys.meta_path):
        sys.meta_path.insert(0, RegisterAfterMteb())


install()
