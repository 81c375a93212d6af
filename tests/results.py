"""Result files as `mteb run --output-folder` writes them, scores by query included."""

import json

import numpy as np


def subset_row(subset, by_query, *, keep=True):
    """The scores of a subset, the same for both metrics, from those of its queries."""
    by_query = {query: round(float(score), 6) for query, score in by_query.items()}
    mean = round(float(np.mean(list(by_query.values()))), 5)
    found = {"hf_subset": subset, "languages": ["som-Latn"], "main_score": mean, "ndcg_at_10": mean, "map_at_100": mean}
    return found | ({"per_query": {"ndcg_at_10": by_query, "map_at_100": by_query}} if keep else {})


def write_result(folder, task, data, rows, record, *, split="test", **more):
    """Write the result of a task and the record of its model into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "dataset_revision": data,
        "task_name": task,
        "mteb_version": "2.26.24",
        "scores": {split: rows},
        "evaluation_time": 1.0,
        "kg_co2_emissions": None,
    }
    (folder / f"{task}.json").write_text(json.dumps(content | more))
    (folder / "model_meta.json").write_text(json.dumps(record))
    return folder
