"""The build step that puts `optical_mteb.pth` at the top of the wheel, where Python reads it at start-up."""

from __future__ import annotations

from pathlib import Path

from setuptools.command.build_py import build_py

HOOK = "optical_mteb.pth"


class BuildPy(build_py):  # type: ignore[misc]
    """`build_py` that also copies the start-up hook, into editable wheels too."""

    def run(self) -> None:
        """Copy the modules, then the hook beside them."""
        super().run()
        editable = getattr(self, "editable_mode", False)
        top = self.get_finalized_command("install").install_lib if editable else self.build_lib
        Path(top).mkdir(parents=True, exist_ok=True)
        self.copy_file(str(Path(__file__).with_name(HOOK)), str(Path(top, HOOK)))
