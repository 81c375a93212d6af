"""Low-resource cross-lingual retrieval tasks in MTEB's own style, one file a task."""

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
