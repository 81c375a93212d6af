"""Evaluate models on your own collection: a folder with corpus.jsonl, queries.jsonl, qrels.tsv and task.toml.

python examples/evaluate_your_collection.py FOLDER RESULTS MODEL...
"""

import sys
from pathlib import Path

import mteb

import optical_mteb
from optical_mteb.collection.own_task import add_task

folder, results, *models = sys.argv[1:] or [
    str(Path(__file__).parent / "data" / "collection"),
    "results",
    "pypi:multilingual-e5-small",
    "optical-student",
]
name = add_task(Path(folder)).metadata.name  # once; `optical-mteb tasks add FOLDER` does the same
optical_mteb.register()

for model in models:
    mteb.evaluate(mteb.get_model(model), mteb.get_task(name), cache=mteb.ResultCache(results))
if len(models) > 1:
    print(optical_mteb.compare(models[0], models[1], tasks=[name], results=results))
