"""The benchmark `OPTICAL-CLIR`: cross-lingual retrieval with low-resource queries, in one list and three means."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.benchmarks.benchmark import Benchmark

NAME = "OPTICAL-CLIR"
ALIASES = ("optical-clir", "OPTICAL_CLIR")

LANGUAGES = {
    "low-resource": ("swh", "som", "tgl", "fil", "mar"),
    "high-resource": ("fra", "spa", "por"),
    "unseen": ("hau", "ibo", "yor", "zul", "amh", "bem", "kin", "twi"),
}
"""Query languages by group. Recipes that ship train on those of the first two and never on the unseen."""

SPLITS = {
    "CLDRNameRetrieval": "test",
    "NTREXRetrieval": "test",
    "AfriQARetrieval": "test",
    "FLORESDocRetrieval": "dev",
}
"""Split by task. TICO-19 and GlobalVoices are left out: the recipes that ship train on them, or on their sisters."""


def optical_clir() -> Benchmark:
    """The benchmark: every task with the query languages of its groups, documents in English.

    Its scores are the mean over tasks and, per group, the mean over the tasks that have queries in its languages.
    """
    from mteb.benchmarks.benchmark import Benchmark, BenchmarkAggregation, CustomGroup, CustomGrouping
    from mteb.get_tasks import MTEBTasks, get_task

    subsets = {group: [f"{language}-eng" for language in languages] for group, languages in LANGUAGES.items()}

    def task(name: str, wanted: list[str]) -> AbsTask | None:
        offered = get_task(name).metadata.hf_subsets
        chosen = [subset for subset in wanted if subset in offered]
        return get_task(name, eval_splits=[SPLITS[name]], hf_subsets=chosen) if chosen else None

    everything = [subset for group in subsets.values() for subset in group]
    groups = []
    for group, wanted in subsets.items():
        groups.append(
            CustomGroup(label=group, tasks=[each for each in (task(name, wanted) for name in SPLITS) if each])
        )
    return Benchmark(
        name=NAME,
        aliases=ALIASES,
        display_name="Low-resource cross-lingual retrieval",
        tasks=MTEBTasks([each for each in (task(name, everything) for name in SPLITS) if each]),
        description=(
            "Queries in low-resource languages, documents in English: names (CLDR), sentences to news articles (NTREX) "
            "and to web articles (FLORES), questions to encyclopaedic passages (AfriQA). High-resource languages stand "
            "beside them, and languages that no recipe of optical-mteb trains on."
        ),
        reference="https://arxiv.org/abs/2301.12566",
        aggregations=(
            BenchmarkAggregation.MEAN_TASK,
            BenchmarkAggregation.MEAN_SUBSET,
            CustomGrouping(name="Languages", groups=tuple(groups)),
        ),
    )
