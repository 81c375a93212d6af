"""Low-resource cross-lingual retrieval tasks in MTEB's own style, one file a task."""

from optical_mteb.tasks.cldr_name_retrieval import CLDRNameRetrieval

__all__ = ["CLDRNameRetrieval"]
