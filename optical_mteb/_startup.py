"""What `optical_mteb.start` calls at every start of Python (3.15 and later, PEP 829); it loads no other module of ours."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec


class OpticalMtebHook:
    """A finder on the meta path: when mteb is imported, and not before, `optical_mteb._autoload` takes part."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG004
        """The spec of mteb, its loader followed by the registration; None for any other name, and where that fails."""
        if name == "mteb":
            try:
                from optical_mteb._autoload import find_mteb

                return find_mteb()
            # A damaged package of this name may raise anything, SystemExit included.
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
        return None


def install() -> None:
    """Put the finder on the meta path; once, however often Python calls this or reads `optical_mteb.pth`."""
    if not any(getattr(finder, "__name__", "") == "OpticalMtebHook" for finder in sys.meta_path):
        sys.meta_path.insert(0, OpticalMtebHook)
