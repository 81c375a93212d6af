"""What holds of every task: metadata that MTEB takes, the subsets that are run unasked, and a line where data are absent."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import mteb
import pytest

from optical_mteb.collection.published_data import PublishedData
from optical_mteb.registry import package_tasks
from tests.collection.conftest import refused

FROM_ENGLISH, TO_ENGLISH = "eng-{}", "{}-eng"
TWELVE = "swh som {} mar fra spa por hau ibo yor zul amh"
SWAHILI = ["swh-Latn", "swa-Latn", "eng-Latn"]

TASKS = {
    "AfriCLIRMatrix": ([FROM_ENGLISH], "afr amh ary arz hau ibo nso sna som swh tir twi wol yor zul", ""),
    "AfriQA": ([TO_ENGLISH], "bem hau ibo kin swh twi yor zul", "bem hau ibo kin twi zul"),
    "CIRAL": ([FROM_ENGLISH], "hau som swh yor", ""),
    "CLDRName": ([TO_ENGLISH], "swh som fil mar yor hau ibo zul amh fra spa por", ""),
    "CLEF": ([TO_ENGLISH], "swh som tgl mar fra spa por deu ita nld fin swe tur kir uig", "swh som fra spa"),
    "CLIRMatrix": ([FROM_ENGLISH], 328, "swh tgl mar yor"),
    "FLORESDoc": ([TO_ENGLISH], 204, TWELVE.format("tgl")),
    "GlobalVoices": ([TO_ENGLISH], "swh", ""),
    "MMarcoCrosslingual": ([TO_ENGLISH], "arb zho nld fra deu hin ind ita jpn por rus spa vie", ""),
    "NTREX": ([TO_ENGLISH, FROM_ENGLISH], 242, TWELVE.format("fil")),
    "TICO19": ([TO_ENGLISH], 35, "swh tgl mar fra spa por hau zul"),
    "WikiCLIR": ([FROM_ENGLISH], 24, "swh tgl"),
    "XQuADCrosslingual": ([TO_ENGLISH], "spa deu ell rus tur arb vie tha zho hin ron", ""),
}
"""Forms of the subsets, their languages or number, and the languages that are run unasked; all of them where none are named."""

SPLITS = {
    "AfriQA": ["dev", "test"],
    "CIRAL": ["dev", "test-a", "test-a-pools", "test-b"],
    "CLIRMatrix": ["test1"],
    "FLORESDoc": ["dev"],
    "MMarcoCrosslingual": ["dev"],
    "XQuADCrosslingual": ["validation"],
}

TAGS = {
    "MMarcoCrosslingual": {"zho-eng": ["zho-Hans", "cmn-Hans", "eng-Latn"]},
    "FLORESDoc": {"zho_Hant-eng": ["zho-Hant", "eng-Latn"]},
    "NTREX": {"eng-zho_Hant": ["eng-Latn", "zho-Hant"], "srp_Cyrl-eng": ["srp-Cyrl", "eng-Latn"]},
    "TICO19": {"zho-eng": ["zho-Hans", "eng-Latn"]},
    "WikiCLIR": {"eng-zho": ["eng-Latn", "zho-Hans", "zho-Hant"]},
}


@pytest.mark.parametrize("name", TASKS)
def test_metadata(name: str):
    """Guards against metadata that MTEB would refuse, a lost language, tag or split, and a run of what nobody asked for."""
    forms, languages, default = TASKS[name]
    task = mteb.get_task(f"{name}Retrieval")
    subsets = task.metadata.eval_langs

    def named(codes: str) -> list[str]:
        return [form.format(code) for form in forms for code in codes.split()]

    assert task.metadata.is_filled()
    assert task.metadata.main_score == "ndcg_at_10"
    assert task.metadata.eval_splits == SPLITS.get(name, ["test"])
    assert (len(subsets) if isinstance(languages, int) else list(subsets)) == (
        languages if isinstance(languages, int) else named(languages)
    )
    assert task.hf_subsets == (named(default) or list(subsets))
    assert re.fullmatch(r"[0-9a-f]{32,64}|CLDR-\d+|ELRA-E0008|v2018q4", task.metadata.dataset["revision"])
    assert len({tuple(tags) for tags in subsets.values()}) == len(subsets)
    assert subsets.items() >= TAGS.get(name, {}).items()
    for subset, tags in {"swh-eng": SWAHILI, "eng-swh": [SWAHILI[-1], *SWAHILI[:-1]]}.items():
        assert subsets.get(subset, tags) == tags


def test_every_task_is_in_the_table():
    """Guards against a new task whose metadata nobody looks at."""
    assert {task.metadata.name for task in package_tasks()} == {f"{name}Retrieval" for name in TASKS}


@pytest.mark.parametrize(
    ("name", "subset", "folder", "page"),
    [
        ("AfriCLIRMatrix", "eng-twi", "africlirmatrix", "https://github.com/castorini/africlirmatrix"),
        ("AfriQA", "hau-eng", "afriqa", "https://github.com/masakhane-io/afriqa"),
        ("CIRAL", "eng-hau", "ciral", "https://huggingface.co/datasets/CIRAL/ciral"),
        ("FLORESDoc", "som-eng", "flores200", "https://github.com/facebookresearch/flores/tree/main/flores200"),
        ("GlobalVoices", "swh-eng", "globalvoices", "https://opus.nlpl.eu/GlobalVoices.php"),
        ("MMarcoCrosslingual", "fra-eng", "mmarco", "https://huggingface.co/datasets/unicamp-dl/mmarco"),
        ("NTREX", "zho_Hans-eng", "ntrex", "https://github.com/MicrosoftTranslator/NTREX"),
        ("TICO19", "swh-eng", "tico19", "https://tico-19.github.io/memories.html"),
        ("XQuADCrosslingual", "ron-eng", "xquad", "https://github.com/google-deepmind/xquad"),
    ],
)
def test_data_that_are_absent(data: Path, name: str, subset: str, folder: str, page: str):
    """Guards against a traceback, or a line that does not say what to get from where and where to put it."""
    task = mteb.get_task(f"{name}Retrieval", hf_subsets=[subset])
    with refused() as caught:
        task.load_data()
    line = rf"{folder}: (\S+) is not here \(.*\); get it from {re.escape(page)} and put it at {data}/{folder}/\1"
    assert re.fullmatch(line, str(caught.value))


def test_addresses_are_of_the_pinned_revision():
    """Guards against files of another repository or revision than a task's page and metadata name."""
    published = 0
    for task in package_tasks():
        sets = [each for each in vars(sys.modules[task.__module__]).values() if isinstance(each, PublishedData)]
        published += len(sets)
        assert not sets or task.metadata.dataset["revision"] in [each.revision for each in sets]
        for each in sets:
            for url in filter(None, [each.url, *each.archives.values()]):
                assert each.revision in (*url.split("/"), *each.checksums.values())
            assert each.url is None or each.url.startswith(each.page.replace("github.com", "raw.githubusercontent.com"))
            assert each.hub is None or each.page.endswith(f"/{each.hub}")
    assert published == 11
