"""Low-resource cross-lingual retrieval for MTEB: optimal-transport distillation, tasks and scores."""

__version__ = "0.1.0"
