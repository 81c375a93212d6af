"""OPTICAL-CLIR with shared documents read once, beside mteb's own path, which reads them for every subset.

    python benchmarks/evaluation.py [--models NAME ...] [--tasks NAME ...] [--share 0.1] [--output evaluation.json]

Each task is evaluated by each path in a process of its own, in turn. The seconds are those of `mteb.evaluate`, with
scoring and without loading of model and data; processor seconds stand beside them, which other processes on the
machine change little. Memory is the peak of resident memory of the process. Scores of both paths are compared.

Where the data of a task are not here and there is no network, the subsets are taken that it runs unasked, and for the
`test` of AfriQA, of eight languages, questions and passages of its `dev`, of six, two of which then stand for two
languages. What a path takes depends on how many texts there are, and how long they are. `test` has more passages, which
every path but ours reads eight times.

`--share` leaves that part of each corpus and of the queries of each subset, so that it takes minutes. What `--output`
has already is not measured again, and every measurement is written at once: a run that was stopped goes on. The whole
benchmark by `mteb`'s path takes hours on two cores.

Targets, on all tasks with multilingual-e5-small: 3 times as fast in all, 6 times on AfriQA, and no more memory.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PATHS = ("mteb", "ours")
MODELS = ("pypi:multilingual-e5-small", "optical-student-colbert")
TASKS = ("CLDRNameRetrieval", "NTREXRetrieval", "AfriQARetrieval", "FLORESDocRetrieval")
TARGETS = {"AfriQARetrieval": 6.0, "in all": 3.0}


def loaded(name: str) -> Any:
    """A task of the benchmark with its data; where these are not here, what of it the task runs unasked."""
    import mteb

    from optical_mteb.errors import InputError

    (task,) = (task for task in mteb.get_benchmark("OPTICAL-CLIR").tasks if task.metadata.name == name)
    try:
        task.load_data()
    except InputError as error:
        print(error, file=sys.stderr)
        unasked = mteb.get_task(name)
        chosen = [subset for subset in unasked.hf_subsets if subset in task.hf_subsets]
        here = mteb.get_task(name, hf_subsets=chosen)
        here.load_data()
        [split] = task.eval_splits
        if split in here.eval_splits:
            return here
        [stand_in] = here.eval_splits
        found = [splits[stand_in] for splits in here.dataset.values() if stand_in in splits]
        task.dataset = {subset: {split: data} for subset, data in zip(task.hf_subsets, cycle(found), strict=False)}
        task.data_loaded = True
    return task


def evaluate(arguments: argparse.Namespace) -> None:
    """What a measuring process does; prints what it took."""
    import warnings

    import mteb
    import torch
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    from optical_mteb.collection.task import CollectionRetrieval
    from optical_mteb.study.evaluation import reduce
    from optical_mteb.study.settings import TaskSettings

    def subset_by_subset(self: Any, model: Any, split: str, subsets_to_run: list[str], **kwargs: Any) -> Any:
        chosen = [subset for subset in subsets_to_run if self.has_split(subset, split)]
        return AbsTaskRetrieval.evaluate(self, model, split, chosen, **kwargs)

    if arguments.path == "mteb":
        CollectionRetrieval.evaluate = subset_by_subset
    warnings.simplefilter("ignore")
    torch.set_num_threads(arguments.threads)
    (name,), (model_name,) = arguments.tasks, arguments.models
    task = loaded(name)
    model = mteb.get_model(model_name, device="cpu")
    splits = [split for of_subset in task.dataset.values() for split in of_subset.values()]
    if arguments.share < 1:
        documents, queries = (max(len(split[kind]) for split in splits) for kind in ("corpus", "queries"))
        part = {
            "documents": max(2, int(arguments.share * documents)),
            "queries": max(2, int(arguments.share * queries)),
        }
        reduce(task, TaskSettings(name=name, subsets=list(task.hf_subsets), **part))
    sizes = {kind: sum(len(split[kind]) for split in splits) for kind in ("corpus", "queries")}
    begun, processor = time.perf_counter(), time.process_time()
    [result] = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False).task_results
    found = {
        "seconds": round(time.perf_counter() - begun, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "subsets": len(splits),
        "documents": sizes["corpus"],
        "queries": sizes["queries"],
        "scores": {row["hf_subset"]: row["main_score"] for rows in result.scores.values() for row in rows},
    }
    print(json.dumps(found))


def unpack(model: str) -> None:
    """Load a model in a process of its own, so that no measured one converts its weights."""
    command = [sys.executable, "-c", f"import mteb; mteb.get_model({model!r}, device='cpu')"]
    subprocess.run(command, capture_output=True, check=True)


def measure(key: dict[str, Any]) -> dict[str, Any]:
    """One task by one path in a process of its own.

    The peak of a process is never below that of the one that starts it, which is why this one imports no torch.
    """
    options = [f"--{name}={key[name]}" for name in ("threads", "share", "path")]
    command = [sys.executable, __file__, "--tasks", key["task"], "--models", key["model"], *options]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{key}: {done.stderr[-4000:]}\nended with {done.returncode}")
    return key | json.loads(done.stdout.splitlines()[-1])


def compared(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a task and model, and one for all tasks of a model, of what both paths took and how they differ."""
    rows = []
    for model in dict.fromkeys(record["model"] for record in records):
        pairs = {}
        for record in records:
            if record["model"] == model:
                pairs.setdefault(record["task"], {})[record["path"]] = record
        whole = {task: pair for task, pair in pairs.items() if len(pair) == len(PATHS)}
        for task, both in (whole | {"in all": None}).items():
            chosen = list(whole.values()) if both is None else [both]
            if not chosen:
                continue
            total = {p: {k: sum(c[p][k] for c in chosen) for k in ("seconds", "processor_seconds")} for p in PATHS}
            peaks = {path: max(pair[path]["peak"] for pair in chosen) for path in PATHS}
            differences = [
                abs(score - pair["ours"]["scores"][subset])
                for pair in chosen
                for subset, score in pair["mteb"]["scores"].items()
            ]
            rows.append(
                {
                    "model": model,
                    "task": task,
                    "seconds": {path: round(total[path]["seconds"], 1) for path in PATHS},
                    "times_as_fast": round(total["mteb"]["seconds"] / total["ours"]["seconds"], 2),
                    "times_by_processor": round(
                        total["mteb"]["processor_seconds"] / total["ours"]["processor_seconds"], 2
                    ),
                    "peak": peaks,
                    "peak_ratio": round(peaks["ours"] / peaks["mteb"], 3),
                    "largest_difference": max(differences),
                }
            )
    return rows


def print_comparison(console: Console, rows: list[dict[str, Any]]) -> None:
    """A table a model."""
    headings = ("task", "s, mteb", "s, ours", "times", "by CPU", "target", "peak MB", "to mteb", "scores")
    tables = {model: Table(*headings, box=None, title=model) for model in dict.fromkeys(row["model"] for row in rows)}
    for row in rows:
        tables[row["model"]].add_row(
            row["task"].removesuffix("Retrieval"),
            *(f"{row['seconds'][path]:,.0f}" for path in PATHS),
            f"{row['times_as_fast']:.1f}",
            f"{row['times_by_processor']:.1f}",
            f">= {TARGETS[row['task']]:g}" if row["task"] in TARGETS else "",
            f"{row['peak']['ours'] / 1e6:,.0f}",
            f"{row['peak_ratio']:.2f}",
            f"{row['largest_difference']:.1e}",
        )
    for table in tables.values():
        console.print(table)


def main() -> None:
    """Measure what is not measured yet, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="models, by mteb's names")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="tasks of OPTICAL-CLIR")
    parser.add_argument("--share", type=float, default=1.0, help="part of the documents and queries to leave")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--output", type=Path, help="JSON file to write, and to go on from")
    parser.add_argument("--path", choices=PATHS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.path:
        evaluate(arguments)
        return
    output = arguments.output
    records = json.loads(output.read_text())["runs"] if output and output.is_file() else []
    same = {"share": arguments.share, "threads": arguments.threads}
    for model in arguments.models:
        unpack(model)
        for task in arguments.tasks:
            for path in PATHS:
                key = {"model": model, "task": task, "path": path, **same}
                if any(key.items() <= record.items() for record in records):
                    continue
                records.append(measure(key))
                spent = f"{records[-1]['seconds']:,.0f} s, {records[-1]['peak'] / 1e6:,.0f} MB"
                print(f"{model}, {task}, {path}: {spent}", file=sys.stderr)
                if output:
                    rows = compared([record for record in records if same.items() <= record.items()])
                    output.write_text(json.dumps({"comparison": rows, "runs": records}, indent=1) + "\n")
    print_comparison(Console(), compared([record for record in records if same.items() <= record.items()]))


if __name__ == "__main__":
    main()
