"""The build step that puts the start-up hook at the top of the wheel, where Python reads it."""

from __future__ import annotations

from pathlib import Path

from setuptools.command.build_py import build_py

HOOKS = ("optical_mteb.pth", "optical_mteb.start")
"""For Python before 3.15 and from 3.15 on, where the second takes the place of the first (PEP 829)."""


class BuildPy(build_py):  # type: ignore[misc]
    """`build_py` that also copies the start-up hook, into editable wheels too."""

    def run(self) -> None:
        """Copy the modules, then the hook beside them."""
        super().run()
        editable = getattr(self, "editable_mode", False)
        top = self.get_finalized_command("install").install_lib if editable else self.build_lib
        Path(top).mkdir(parents=True, exist_ok=True)
        for hook in HOOKS:
            self.copy_file(str(Path(__file__).with_name(hook)), str(Path(top, hook)))
