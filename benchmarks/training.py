"""Training beside sentence-transformers' own recipe for the same job, and how it grows with languages.

    OPTICAL_MTEB_DATA=DATA python benchmarks/training.py [--pairs 3000] [--rounds 1] [--threads 2] [--output training.json]
    OPTICAL_MTEB_DATA=DATA python benchmarks/training.py --scaling [--share 0.1] [--output scaling.json]

Each contestant is a process of its own, one after the other, round after round, timed from its start to its exit: it
imports, loads student and teacher, reads TICO-19's first pairs of English and Swahili once, and saves the student.

- peer: sentence-transformers' multilingual distillation on its `SentenceTransformerTrainer` with its defaults: float32,
  batches of 8, all weights trained, MSELoss on the teacher's embeddings of the English sides, computed up front;
- peer-128: the same with inputs cut at 128 tokens, as the recipe `tico19` cuts them; the peer's default is 512;
- ours: `optical-mteb train` in batches of 32, word embeddings frozen, vocabulary pruned, the cache of the teacher empty
  at the start; `tico19` is the objective of the recipe of that name, contrastive + optical + anchor, and
  `sentence_frozen` leaves the lower half of the student's layers as it is.

Sentence distillation should read at least 5 times the pairs a second, in at most a quarter of the memory; OPTICAL and
the transport contrast at least 4 times the pairs. `--scaling` trains on 1, 2, 4 and 7 languages instead, a share of an
epoch each, by OPTICAL: the seconds should be linear in the tokens.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

BASE = "pypi:multilingual-e5-small"
BATCH_SIZE = 32
MINI_BATCH_TOKENS = 1536
OBJECTIVES = {
    "sentence": "{sentence={}}",
    "optical": "{optical={}}",
    "transport_contrastive": "{transport_contrastive={}}",
    "tico19": "{contrastive={}, optical={}, anchor={}}",
}
FROZEN = {"sentence_frozen": ("sentence", 6)}
"""Contestants that leave so many layers, the first, as they are: the objective, and how many."""

TARGETS = {
    "sentence": (5.0, 0.25),
    "sentence_frozen": (5.0, 0.25),
    "optical": (4.0, None),
    "transport_contrastive": (4.0, None),
}
"""At least so many times the peer's pairs a second, at most that share of its memory."""

PEERS = {"peer": (), "peer-128": ("--max-tokens", "128")}
"""The peer as it is, and the peer with inputs cut where the recipe tico19 cuts them."""

SOURCES: dict[str, dict[str, Any]] = {
    "sw": {"source": "bitext/tico19/all.en-sw.tmx", "language": "swh"},
    "so": {
        "source": "bitext/tico19/tico19.en-so.realigned.tsv",
        "language": "som",
        "english_column": 4,
        "translation_column": 5,
        "id_column": 0,
    },
    "tl": {"source": "bitext/tico19/all.en-tl.tmx", "language": "tgl"},
    "mr": {"source": "bitext/tico19/all.en-mr.tmx", "language": "mar"},
    # Its translations are shifted inside these documents.
    "fr": {
        "source": "bitext/tico19/all.en-fr.tmx",
        "language": "fra",
        "exclude_ids": ["PubMed_8:*", "Wikinews_1:*", "Wikinews_3:*"],
    },
    "es": {"source": "bitext/tico19/all.en-es-LA.tmx", "language": "spa"},
    "pt": {"source": "bitext/tico19/all.en-pt-BR.tmx", "language": "por"},
}
MIXES = [("sw",), ("sw", "so"), ("sw", "so", "tl", "mr"), ("sw", "so", "tl", "mr", "fr", "es", "pt")]


def overrides(name: str, sources: list[dict[str, Any]], objective: str, steps: int) -> list[str]:
    """What our recipe has otherwise than the shipped recipe tico19."""
    bitext = ", ".join(
        "{" + ", ".join(f"{key} = {json.dumps(value)}" for key, value in source.items()) + "}" for source in sources
    )
    return [
        f"name={name}",
        f"student.base={BASE}",
        f"teacher.base={BASE}",
        f"bitext=[{bitext}]",
        f"objective={objective}",
        f"training.steps={steps}",
        f"training.batch_size={BATCH_SIZE}",
        "student.prune_vocabulary=true",
        "student.freeze_embeddings=true",
        "teacher.cache=true",
        "training.precision=float32",
        f"training.mini_batch_tokens={MINI_BATCH_TOKENS}",
    ]


def our_command(changes: list[str]) -> list[str]:
    """`optical-mteb train` of the changed recipe."""
    settings = (part for change in changes for part in ("--set", change))
    return [sys.executable, "-m", "optical_mteb", "train", "tico19", "--device", "cpu", *settings]


def run_process(command: list[str], home: Path, threads: int | None) -> tuple[float, int]:
    """Seconds from start to exit, and peak resident bytes, of a process with a store of its own.

    The peak of a process is never below that of the one that starts it, which is why this one imports no torch before.
    """
    environment = {**os.environ, "OPTICAL_MTEB_HOME": str(home), "CUDA_VISIBLE_DEVICES": ""}
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with (home / "log.txt").open("w+", encoding="utf-8") as log:
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{log.read()[-4000:]}\nended with {process.returncode}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def make_home(parent: Path, name: str) -> Path:
    """An empty store that has the converted bases."""
    from optical_mteb.storage import bases_folder

    folder = parent / name
    folder.mkdir()
    (folder / "bases").symlink_to(bases_folder().resolve(), target_is_directory=True)
    return folder


def convert_base() -> None:
    """Load the base once: it is converted, and in the system's file cache, for all contestants alike."""
    code = f"from optical_mteb.bases import load_base; load_base({BASE!r}, device='cpu')"
    subprocess.run([sys.executable, "-c", code], check=True)


def read_pairs(sources: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """English sides and translations, as a training reads them."""
    from optical_mteb.bitext import BitextSource, ParallelCorpus

    corpus = ParallelCorpus.load([BitextSource.model_validate(source) for source in sources])
    return [pair.english for pair in corpus], [pair.translation for pair in corpus]


def train_as_peer(pairs: int, folder: Path, max_tokens: int | None) -> None:
    """What the peer's process does: sentence-transformers' recipe for multilingual distillation."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MSELoss

    from optical_mteb.bases import load_base

    english, translations = read_pairs([{**SOURCES["sw"], "limit": pairs}])
    teacher, student = load_base(BASE, device="cpu"), load_base(BASE, device="cpu")
    for model in (teacher, student):
        model.max_seq_length = max_tokens or model.max_seq_length
    labels = teacher.encode(english, show_progress_bar=False)
    trainer = SentenceTransformerTrainer(
        model=student,
        args=SentenceTransformerTrainingArguments(
            output_dir=str(folder), num_train_epochs=1, save_strategy="no", report_to="none", use_cpu=True
        ),
        train_dataset=Dataset.from_dict({"english": english, "non_english": translations, "label": labels}),
        loss=MSELoss(student),
    )
    trainer.train()
    student.save_pretrained(str(folder / "final"))


def compare(names: list[str], pairs: int, rounds: int, threads: int | None) -> dict[str, dict[str, Any]]:
    """Times and peaks of the peer and of our objectives, medians over the rounds, and their ratios to the peer's."""
    source = {**SOURCES["sw"], "limit": pairs}
    found = len(read_pairs([source])[0])
    steps = found // BATCH_SIZE
    if not steps:
        raise SystemExit(f"--pairs {pairs}: {found} pairs make no batch of {BATCH_SIZE}; give more")
    read = {name: found if name in PEERS else steps * BATCH_SIZE for name in names}
    measured: dict[str, list[tuple[float, int]]] = {name: [] for name in names}
    convert_base()
    for number in range(rounds):
        for name in names:
            with tempfile.TemporaryDirectory(prefix="optical-mteb-") as scratch:
                home = make_home(Path(scratch), "home")
                if name in PEERS:
                    command = [sys.executable, __file__, "--peer", str(home / "peer"), "--pairs", str(pairs)]
                    command += PEERS[name]
                else:
                    objective, further = settings_of(name)
                    command = our_command([*overrides("benchmark", [source], objective, steps), *further])
                seconds, peak = run_process(command, home, threads)
                measured[name].append((seconds, peak))
                print(f"round {number + 1}: {name} {seconds:.1f} s, {peak / 1e9:.2f} GB", file=sys.stderr)
    results: dict[str, dict[str, Any]] = {}
    for name, runs in measured.items():
        seconds = statistics.median(run[0] for run in runs)
        results[name] = {
            "pairs": read[name],
            "seconds": round(seconds, 2),
            "pairs_per_second": round(read[name] / seconds, 3),
            "peak_memory_gb": round(statistics.median(run[1] for run in runs) / 1e9, 3),
            "runs": [{"seconds": round(spent, 2), "peak_memory_gb": round(peak / 1e9, 3)} for spent, peak in runs],
        }
    if peer := results.get("peer"):
        for row in results.values():
            row["speed_ratio"] = round(row["pairs_per_second"] / peer["pairs_per_second"], 3)
            row["memory_ratio"] = round(row["peak_memory_gb"] / peer["peak_memory_gb"], 3)
    return results


def settings_of(name: str) -> tuple[str, list[str]]:
    """Objective of a contestant, and what else its recipe has otherwise."""
    objective, layers = FROZEN.get(name, (name, 0))
    return OBJECTIVES[objective], [f"student.freeze_layers={layers}"] if layers else []


def print_comparison(console: Console, results: dict[str, dict[str, Any]]) -> None:
    """Table of the contestants, targets beside what they are for."""
    headings = ("pairs", "s", "pairs/s", "to peer", "target", "peak GB", "to peer", "target")
    table = Table("contestant", *headings, box=None)
    for name, row in results.items():
        speed, memory = TARGETS.get(name, (None, None))
        table.add_row(
            name,
            f"{row['pairs']:,}",
            f"{row['seconds']:.1f}",
            f"{row['pairs_per_second']:.2f}",
            f"{row['speed_ratio']:.2f}" if "speed_ratio" in row else "",
            f">= {speed:g}" if speed else "",
            f"{row['peak_memory_gb']:.2f}",
            f"{row['memory_ratio']:.2f}" if "memory_ratio" in row else "",
            f"<= {memory:g}" if memory else "",
        )
    console.print(table)


def scale(share: float, pairs: int | None, rounds: int, threads: int | None) -> list[dict[str, Any]]:
    """Seconds and tokens of a share of an epoch on each mix, and how far they are from one line through the origin."""
    from optical_mteb.students.sidecar import Sidecar

    convert_base()
    limit = {"limit": pairs} if pairs else {}
    sources = {mix: [{**SOURCES[code], **limit} for code in mix] for mix in MIXES}
    sizes = {mix: len(read_pairs(sources[mix])[0]) for mix in MIXES}
    figures: dict[tuple[str, ...], list[dict[str, float]]] = {mix: [] for mix in MIXES}
    for number in range(rounds):
        for mix in MIXES:
            steps = max(1, round(share * sizes[mix] / BATCH_SIZE))
            with tempfile.TemporaryDirectory(prefix="optical-mteb-") as scratch:
                home = make_home(Path(scratch), "home")
                changes = overrides("benchmark", sources[mix], OBJECTIVES["optical"], steps)
                run_process(our_command(changes), home, threads)
                metrics = Sidecar.read(home / "students" / "benchmark").metrics
            figures[mix].append({"steps": steps, **metrics})
            spent = f"{metrics['seconds']:.1f} s, {metrics['tokens']:,.0f} tokens"
            print(f"round {number + 1}: {', '.join(mix)}: {spent}", file=sys.stderr)
    rows = []
    for mix, runs in figures.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        row = {key: int(runs[0][key]) for key in ("steps", "tokens")}
        rows.append({"languages": mix, "pairs": sizes[mix], **row, "seconds": seconds})
    slope = sum(row["tokens"] * row["seconds"] for row in rows) / sum(row["tokens"] ** 2 for row in rows)
    for row in rows:
        row["tokens_per_second"] = round(row["tokens"] / row["seconds"], 1)
        row["from_linear"] = round(row["seconds"] / (slope * row["tokens"]) - 1, 4)
        row["padding"] = round(padding(sources[row["languages"]], row["pairs"]), 4)
    return rows


def padding(sources: list[dict[str, Any]], pairs: int) -> float:
    """Share of padding in what the student reads in one epoch of a mix."""
    from optical_mteb.training.recipe import find_recipe, read_recipe
    from optical_mteb.training.run import count_examples

    changes = overrides("benchmark", sources, OBJECTIVES["optical"], max(1, pairs // BATCH_SIZE))
    return count_examples(read_recipe(find_recipe("tico19"), changes), device="cpu", say=lambda _: None).total.padding


def print_scaling(console: Console, rows: list[dict[str, Any]]) -> None:
    """Table of the mixes."""
    table = Table("languages", "pairs", "steps", "tokens", "s", "tokens/s", "from linear", "padding", box=None)
    for row in rows:
        table.add_row(
            ", ".join(row["languages"]),
            *(f"{row[key]:,}" for key in ("pairs", "steps", "tokens")),
            f"{row['seconds']:.1f}",
            f"{row['tokens_per_second']:,.0f}",
            f"{row['from_linear']:+.1%}",
            f"{row['padding']:.1%}",
        )
    console.print(table)


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    contestants = [*PEERS, *OBJECTIVES, *FROZEN]
    names = f"of {', '.join(contestants)}; all of them unless given"
    parser.add_argument("--only", nargs="+", choices=contestants, default=contestants, metavar="NAME", help=names)
    parser.add_argument("--pairs", type=int, help="pairs of each language; 3,000 to compare, all of them to scale")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each process; medians are reported")
    parser.add_argument("--threads", type=int, help="threads of each process")
    parser.add_argument("--scaling", action="store_true", help="train on 1, 2, 4 and 7 languages instead")
    parser.add_argument("--share", type=float, default=0.1, help="with --scaling: part of an epoch that is trained")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--max-tokens", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        train_as_peer(arguments.pairs, arguments.peer, arguments.max_tokens)
        return
    written: dict[str, Any] = {"base": BASE, "threads": arguments.threads or os.cpu_count()}
    console = Console(width=110)
    if arguments.scaling:
        rows = scale(arguments.share, arguments.pairs, arguments.rounds, arguments.threads)
        print_scaling(console, rows)
        written |= {"share": arguments.share, "mixes": rows}
    else:
        results = compare(arguments.only, arguments.pairs or 3000, arguments.rounds, arguments.threads)
        print_comparison(console, results)
        written |= {"contestants": results}
    if arguments.output:
        arguments.output.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
