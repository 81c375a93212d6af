"""Loading a collection of one's own beside mteb's own loader, for the first time and for the second.

    python benchmarks/tasks.py [--documents 500000] [--queries 10000] [--rounds 3] [--output tasks.json]

A seeded collection is written in BEIR's format to a temporary folder. mteb's `RetrievalDatasetLoader` gets the same
files, with the README that `datasets.load_dataset` wants and the judgements as JSON lines. The documents are without
the empty `metadata` of BEIR's own files, which `load_dataset` takes several times as long for.

Each contestant is a process of its own, in turn, round after round, with empty caches: it imports mteb, then loads;
then a second process loads again. The seconds are those of the loading alone. Memory is the peak of resident memory of
the process, which the imports are most of; so what the loading adds to the peak of the imports stands beside it.

Both hand out documents that are read memory-mapped. Ours also checks them: no id twice, no empty text, every judgement
with its document and query. It should take no more time and no more memory than mteb's, at both loadings.
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

CONTESTANTS = ("mteb", "ours")
LOADINGS = ("first", "second")
SPLIT = "test"
README = """---
configs:
- config_name: corpus
  data_files: [{split: test, path: corpus.jsonl}]
- config_name: queries
  data_files: [{split: test, path: queries.jsonl}]
- config_name: default
  data_files: [{split: test, path: qrels.jsonl}]
---
"""


def write_collection(folder: Path, documents: int, queries: int, seed: int = 13) -> None:
    """Documents of 20 to 200 words, queries of 3 to 12, two judgements each, in both layouts."""
    generator = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyzàéîñöš"
    words = ["".join(generator.choices(letters, k=generator.randint(2, 11))) for _ in range(30_000)]
    phrases = [" ".join(generator.choices(words, k=20)) for _ in range(50_000)]

    def records(kind: str) -> Any:
        if kind == "corpus":
            for number in range(documents):
                text = ". ".join(generator.choices(phrases, k=generator.randint(1, 10)))
                title = " ".join(generator.choices(words, k=4))
                yield {"_id": f"doc{number}", "title": title, "text": text}
        else:
            for number in range(queries):
                yield {"_id": f"q{number}", "text": " ".join(generator.choices(words, k=generator.randint(3, 12)))}

    ours, theirs = folder / "ours", folder / "mteb"
    for place in (ours, theirs):
        place.mkdir()
    for kind in ("corpus", "queries"):
        with (ours / f"{kind}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records(kind))
        (theirs / f"{kind}.jsonl").hardlink_to(ours / f"{kind}.jsonl")
    judgements = [
        (f"q{number}", f"doc{document}", grade)
        for number in range(queries)
        for document, grade in zip(generator.sample(range(documents), 2), (1, 2), strict=True)
    ]
    with (ours / "qrels.tsv").open("w") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        file.writelines(f"{query}\t{document}\t{grade}\n" for query, document, grade in judgements)
    with (theirs / "qrels.jsonl").open("w") as file:
        keys = ("query-id", "corpus-id", "score")
        file.writelines(json.dumps(dict(zip(keys, each, strict=True))) + "\n" for each in judgements)
    (theirs / "README.md").write_text(README)


def peak() -> int:
    """Bytes of resident memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def load(contestant: str, folder: Path) -> None:
    """What a contestant's process does; prints what it took and what it found."""
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalDatasetLoader

    from optical_mteb.collection.beir import read_beir

    before, begun = peak(), time.perf_counter()
    if contestant == "ours":
        split = read_beir(folder, split=SPLIT)
    else:
        split = RetrievalDatasetLoader(hf_repo=str(folder), revision="main", split=SPLIT).load()
    seconds, after = time.perf_counter() - begun, peak()
    corpus, qrels = split["corpus"], split["relevant_docs"]
    found = {
        "documents": len(corpus),
        "characters": sum(len(text) for text in corpus[: len(corpus) // 100]["text"]),
        "last": [corpus[len(corpus) - 1][column] for column in ("id", "title", "text")],
        "queries": sorted(split["queries"]["id"])[:: len(qrels) // 10],
        "judgements": sum(sum(judged.values()) for judged in qrels.values()),
    }
    print(json.dumps({"seconds": seconds, "peak": after, "added": after - before, "found": found}))


def run_process(contestant: str, folder: Path, caches: Path) -> dict[str, Any]:
    """One loading by a process of its own; neither contestant's registers this package's models and tasks.

    The peak of a process is never below that of the one that starts it, which is why this one imports no torch.
    """
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(caches / "hub"),
        "HF_DATASETS_CACHE": str(caches / "datasets"),
        "OPTICAL_MTEB_HOME": str(caches / "home"),
        "OPTICAL_MTEB_DISABLE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, __file__, "--load", contestant, "--folder", str(folder / contestant)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{contestant}: {done.stderr[-4000:]}\nended with {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(documents: int, queries: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Seconds and peaks of both loadings of each contestant, medians over the rounds, and their ratios to mteb's."""
    measured: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="optical-mteb-") as scratch:
        folder = Path(scratch)
        write_collection(folder, documents, queries)
        for number in range(rounds):
            for contestant in CONTESTANTS if number % 2 == 0 else CONTESTANTS[::-1]:
                with tempfile.TemporaryDirectory(prefix="caches-", dir=folder) as caches:
                    for loading in LOADINGS:
                        result = run_process(contestant, folder, Path(caches))
                        measured.setdefault((contestant, loading), []).append(result)
                        spent = f"{result['seconds']:.2f} s, {result['peak'] / 1e6:,.0f} MB"
                        print(f"round {number + 1}: {contestant}, {loading} loading: {spent}", file=sys.stderr)
    found = [run["found"] for runs in measured.values() for run in runs]
    if any(each != found[0] for each in found):
        raise SystemExit(f"the contestants loaded different collections: {found}")
    rows: dict[str, dict[str, Any]] = {}
    for loading in LOADINGS:
        for contestant in CONTESTANTS:
            runs = measured[contestant, loading]
            row = {key: statistics.median(run[key] for run in runs) for key in ("seconds", "peak", "added")}
            row["runs"] = [{key: run[key] for key in ("seconds", "peak", "added")} for run in runs]
            peer = rows.get(f"mteb, {loading}", row)
            row["seconds_ratio"] = round(row["seconds"] / peer["seconds"], 3)
            row["peak_ratio"] = round(row["peak"] / peer["peak"], 3)
            rows[f"{contestant}, {loading}"] = row
    return rows


def print_comparison(console: Console, rows: dict[str, dict[str, Any]]) -> None:
    """Table of the contestants' loadings."""
    table = Table("loading", "s", "to mteb", "target", "peak MB", "to mteb", "target", "added MB", box=None)
    for name, row in rows.items():
        target = "<= 1" if name.startswith("ours") else ""
        table.add_row(
            name,
            f"{row['seconds']:.2f}",
            f"{row['seconds_ratio']:.2f}",
            target,
            f"{row['peak'] / 1e6:,.0f}",
            f"{row['peak_ratio']:.2f}",
            target,
            f"{row['added'] / 1e6:,.0f}",
        )
    console.print(table)


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=500_000, help="documents of the collection")
    parser.add_argument("--queries", type=int, default=10_000, help="queries of the collection")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contestant; medians are reported")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--load", choices=CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.load:
        load(arguments.load, arguments.folder)
        return
    rows = compare(arguments.documents, arguments.queries, arguments.rounds)
    print_comparison(Console(width=110), rows)
    if arguments.output:
        sizes = {"documents": arguments.documents, "queries": arguments.queries, "rounds": arguments.rounds}
        arguments.output.write_text(json.dumps({**sizes, "loadings": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
