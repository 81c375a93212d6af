"""Large corpora searched through FAISS: an index is built, kept on disk, opened memory-mapped, searched and changed.

Importing this package imports no torch. `index.build` builds, `index.changes` adds and removes, `index.verify` checks.
"""

from optical_mteb.errors import require

require("faiss", "index", "an index")

from optical_mteb.index.faiss_index import FaissIndex, Ranking  # noqa: E402
from optical_mteb.index.manifest import IndexManifest  # noqa: E402
from optical_mteb.index.spec import IndexSpec  # noqa: E402

__all__ = ["FaissIndex", "IndexManifest", "IndexSpec", "Ranking"]
