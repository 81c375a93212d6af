"""Low-resource cross-lingual retrieval tasks in MTEB's own style, one file a task."""

# First of all: importing mteb registers the modules below, which must not be half imported by then.
import mteb  # noqa: F401

from optical_mteb.tasks.cldr_name_retrieval import CLDRNameRetrieval
from optical_mteb.tasks.ntrex_retrieval import NTREXRetrieval

__all__ = ["CLDRNameRetrieval", "NTREXRetrieval"]
