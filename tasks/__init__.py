"""Low-resource cross-lingual retrieval tasks in MTEB's own style, one file a task.

`optical_mteb.tasks()` lists their names, and those of the user's own tasks.

Examples:
    >>> "CLDRNameRetrieval" in optical_mteb.tasks()
    True
"""

import sys
from types import ModuleType

# First of all: importing mteb registers the modules below, which must not be half imported by then.
import mteb  # noqa: F401

from optical_mteb.tasks.afri_clir_matrix_retrieval import AfriCLIRMatrixRetrieval
from optical_mteb.tasks.afriqa_retrieval import AfriQARetrieval
from optical_mteb.tasks.ciral_retrieval import CIRALRetrieval
from optical_mteb.tasks.cldr_name_retrieval import CLDRNameRetrieval
from optical_mteb.tasks.clef_retrieval import CLEFRetrieval
from optical_mteb.tasks.clir_matrix_retrieval import CLIRMatrixRetrieval
from optical_mteb.tasks.flores_doc_retrieval import FLORESDocRetrieval
from optical_mteb.tasks.global_voices_retrieval import GlobalVoicesRetrieval
from optical_mteb.tasks.m_marco_crosslingual_retrieval import MMarcoCrosslingualRetrieval
from optical_mteb.tasks.ntrex_retrieval import NTREXRetrieval
from optical_mteb.tasks.tico19_retrieval import TICO19Retrieval
from optical_mteb.tasks.wiki_clir_retrieval import WikiCLIRRetrieval
from optical_mteb.tasks.xquad_crosslingual_retrieval import XQuADCrosslingualRetrieval

__all__ = [
    "AfriCLIRMatrixRetrieval",
    "AfriQARetrieval",
    "CIRALRetrieval",
    "CLDRNameRetrieval",
    "CLEFRetrieval",
    "CLIRMatrixRetrieval",
    "FLORESDocRetrieval",
    "GlobalVoicesRetrieval",
    "MMarcoCrosslingualRetrieval",
    "NTREXRetrieval",
    "TICO19Retrieval",
    "WikiCLIRRetrieval",
    "XQuADCrosslingualRetrieval",
]


class _CallableModule(ModuleType):
    """This module is what `optical_mteb.tasks` is, so calling that name calls this."""

    def __call__(self) -> list[str]:
        """Names of the tasks of this package, and then of the user's own; `mteb.get_task` takes each of them."""
        from optical_mteb.collection.own_task import own_tasks

        own = [each.task.metadata.name for each in own_tasks() if each.task is not None]
        return [*self.__all__, *own]


sys.modules[__name__].__class__ = _CallableModule
