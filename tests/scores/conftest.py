"""Result folders as `mteb run --output-folder` writes them, scores by query included."""

import json

import numpy as np
import pytest
from babel.core import get_cldr_version

INSTALLED_DATA = f"CLDR-{get_cldr_version()}"
"""Revision of the data of CLDRNameRetrieval."""


@pytest.fixture
def write(tmp_path):
    """Writes one result; returns its folder. `scores` is score by subset and query, the same for both metrics."""

    def write_result(
        model,
        scores,
        *,
        revision="r1",
        task="CLDRNameRetrieval",
        data=INSTALLED_DATA,
        keep=True,
        experiment=None,
        edit=None,
    ):
        folder = tmp_path / "results" / "results" / model.replace("/", "__") / revision
        if experiment:
            folder = folder / "experiments" / "_".join(map(str, next(iter(experiment.items()))))
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for subset, by_query in scores.items():
            by_query = {query: round(float(score), 6) for query, score in by_query.items()}
            mean = round(float(np.mean(list(by_query.values()))), 5)
            rows.append({"hf_subset": subset, "languages": ["som-Latn"], "main_score": mean})
            rows[-1] |= {"ndcg_at_10": mean, "map_at_100": mean}
            if keep:
                rows[-1]["per_query"] = {"ndcg_at_10": by_query, "map_at_100": dict(by_query)}
        content = {
            "dataset_revision": data,
            "task_name": task,
            "mteb_version": "2.26.0",
            "scores": {"test": rows},
            "evaluation_time": 1.0,
            "kg_co2_emissions": None,
        }
        if edit:
            edit(content)
        (folder / f"{task}.json").write_text(json.dumps(content))
        meta = {"name": model, "revision": revision, "experiment_kwargs": experiment}
        (folder / "model_meta.json").write_text(json.dumps(meta))
        return folder

    return write_result


@pytest.fixture
def cache(tmp_path):
    """The folder that `write` writes into."""
    return tmp_path / "results"


def random_scores(subsets, queries=80, seed=0):
    """Scores as nDCG has them: many zeros and ones, the rest of few values between."""
    generator = np.random.default_rng(seed)
    levels = np.array([0, 0, 1, 1, 1, *(1 / np.log2(np.arange(3, 12)))])
    return {
        subset: {f"{subset}/{number}": score for number, score in enumerate(generator.choice(levels, queries))}
        for subset in subsets
    }


@pytest.fixture
def draw():
    """The builder of random scores."""
    return random_scores
