"""Large corpora searched through FAISS: an index is built, kept on disk, opened memory-mapped, searched and changed.

Importing this package imports no torch. `index.build` builds, `index.changes` adds and removes, `index.verify` checks.
"""

from optical_mteb.index.faiss_index import FaissIndex, Ranking
from optical_mteb.index.manifest import IndexManifest
from optical_mteb.index.spec import IndexSpec

__all__ = ["FaissIndex", "IndexManifest", "IndexSpec", "Ranking"]
