"""The benchmarks `OPTICAL-CLIR` and `OPTICAL-CLIR+`: retrieval with low-resource queries, and means by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask
    from mteb.benchmarks.benchmark import Benchmark

LANGUAGES = {
    "low-resource": ("swh", "som", "tgl", "fil", "mar"),
    "high-resource": ("fra", "spa", "por"),
    "unseen": ("hau", "ibo", "yor", "zul", "amh", "bem", "kin", "twi"),
}
"""Query languages by group. `optical-student` was trained on those of the first two, and not on the unseen."""

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
    return _benchmark(
        "OPTICAL-CLIR",
        ("optical-clir", "OPTICAL_CLIR"),
        "Low-resource cross-lingual retrieval",
        "Queries in low-resource languages, documents in English: names (CLDR), sentences to news articles (NTREX) "
        "and to web articles (FLORES), questions to encyclopaedic passages (AfriQA). High-resource languages stand "
        "beside them, and languages that optical-student was not trained on.",
        _groups(SPLITS),
    )


def optical_clir_plus() -> Benchmark:
    """The benchmark with MTEB's own retrieval tasks that have low-resource queries; their data come from the Hub.

    Belebele's questions join the groups of `optical_clir`. MIRACL, whose passages are in the language of its
    questions, is a group by itself.
    """
    groups = _groups({**SPLITS, "BelebeleRetrieval": "test"})
    # A language that `optical-student` is trained on, and an unseen one.
    groups["same language"] = [_task("MIRACLRetrievalHardNegatives", "dev", ["sw", "yo"])]
    return _benchmark(
        "OPTICAL-CLIR+",
        ("optical-clir+", "OPTICAL_CLIR_PLUS"),
        "Low-resource cross-lingual retrieval, with Belebele and MIRACL",
        "OPTICAL-CLIR, questions in the same languages to English passages (Belebele), and questions in Swahili and "
        "Yoruba to passages in the same language (MIRACL).",
        groups,
    )


def _groups(splits: Mapping[str, str]) -> dict[str, list[AbsTask]]:
    """Tasks by group, each with those of its subsets that have queries in the group's languages and English documents."""
    from mteb.get_tasks import get_task

    offered = {name: get_task(name).metadata.hf_subsets for name in splits}
    groups: dict[str, list[AbsTask]] = {}
    for group, languages in LANGUAGES.items():
        # Our tasks name the language of the queries first; Belebele names it last, with its script.
        wanted = [(f"{language}-eng", f"eng_Latn-{language}_") for language in languages]
        chosen = {
            name: [each for names in wanted for each in offered[name] if each.startswith(names)] for name in splits
        }
        groups[group] = [_task(name, splits[name], subsets) for name, subsets in chosen.items() if subsets]
    return groups


def _task(name: str, split: str, subsets: list[str]) -> AbsTask:
    from mteb.get_tasks import get_task

    return get_task(name, eval_splits=[split], hf_subsets=subsets)


def _joined(groups: Mapping[str, Sequence[AbsTask]]) -> list[AbsTask]:
    """One task of each name, with the subsets of all groups."""
    parts = [task for tasks in groups.values() for task in tasks]
    subsets: dict[tuple[str, str], list[str]] = {}
    for part in parts:
        subsets.setdefault((part.metadata.name, part.eval_splits[0]), []).extend(part.hf_subsets)
    return [_task(name, split, chosen) for (name, split), chosen in subsets.items()]


def _benchmark(
    name: str, aliases: tuple[str, ...], shown: str, description: str, groups: Mapping[str, Sequence[AbsTask]]
) -> Benchmark:
    from mteb.benchmarks.benchmark import Benchmark, BenchmarkAggregation, CustomGroup, CustomGrouping
    from mteb.get_tasks import MTEBTasks

    languages = tuple(CustomGroup(label=group, tasks=tasks) for group, tasks in groups.items())
    return Benchmark(
        name=name,
        aliases=aliases,
        display_name=shown,
        tasks=MTEBTasks(_joined(groups)),
        description=description,
        reference="https://arxiv.org/abs/2301.12566",
        aggregations=(
            BenchmarkAggregation.MEAN_TASK,
            BenchmarkAggregation.MEAN_SUBSET,
            CustomGrouping(name="Languages", groups=languages),
        ),
    )
