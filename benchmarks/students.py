"""Documents a second and milliseconds a query of students, beside their base.

    python benchmarks/students.py [--feed-forward 768] [--threads 2] [--students NAME ...] [--output students.json]

The base of the shipped recipe `tico19`, and the same with its vocabulary pruned to that recipe's bitext and with fewer
layers and feed-forward neurons; weights that were not trained take as long. `--students` adds students of the store.
Documents are the English articles of NTREX-128, under `OPTICAL_MTEB_DATA`, after the model's document prompt, with
`encode_document` at its defaults; queries are its first Swahili sentences, by `encode_query` one at a time. Models
take turns, round by round, so that the noise of a shared machine falls on all alike; the median of the rounds'
ratios is shown, and files are those that `save_pretrained` writes in float32.
"""

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from optical_mteb.bases import layer_indices, load_base, prune_feed_forward, prune_vocabulary, select_layers
from optical_mteb.bitext import ParallelCorpus
from optical_mteb.students import read_student, student_folder
from optical_mteb.training.recipe import find_recipe, read_recipe


def articles(folder: Path, limit: int) -> list[str]:
    """English articles of NTREX-128, in the order of their first sentence."""
    names = (folder / "DOCUMENT_IDS.tsv").read_text(encoding="utf-8").splitlines()
    sentences = (folder / "newstest2019-src.eng.txt").read_text(encoding="utf-8").splitlines()
    texts: dict[str, list[str]] = {}
    for name, sentence in zip(names, sentences, strict=True):
        texts.setdefault(name.split("\t")[0], []).append(sentence.strip())
    return [" ".join(text) for text in texts.values()][:limit]


def queries(folder: Path, limit: int) -> list[str]:
    """The first Swahili sentences of NTREX-128."""
    return (folder / "newstest2019-ref.swa.txt").read_text(encoding="utf-8").splitlines()[:limit]


def student(name: str) -> SentenceTransformer | MultiVectorEncoder:
    """A student of the store, of either kind."""
    load = MultiVectorEncoder if read_student(name).kind == "late_interaction" else SentenceTransformer
    return load(str(student_folder(name)), device="cpu")


def smaller(model: SentenceTransformer, layers: int, feed_forward: int | None = None) -> SentenceTransformer:
    """A copy with evenly spaced layers of the model, and their strongest neurons."""
    model = copy.deepcopy(model)
    select_layers(model, layer_indices(layers, model.transformers_model.config.num_hidden_layers))
    if feed_forward is not None:
        prune_feed_forward(model, feed_forward)
    return model


def file_megabytes(model: SentenceTransformer | MultiVectorEncoder) -> float:
    """Size of the saved transformer weights, in 10^6 bytes."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, create_model_card=False)
        return sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors")) / 1e6


def main() -> None:
    """Time the models, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--feed-forward", type=int, default=768, help="neurons a layer of the smallest student")
    parser.add_argument("--documents", type=int, default=256, help="at most so many")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--students", nargs="*", default=[], help="trained students to measure, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = read_recipe(find_recipe("tico19"))
    folder = Path(os.environ["OPTICAL_MTEB_DATA"]) / "eval" / "ntrex"
    documents, asked = articles(folder, arguments.documents), queries(folder, arguments.queries)
    base = load_base(recipe.student.base, device="cpu")
    pruned = copy.deepcopy(base)
    prune_vocabulary(pruned, ParallelCorpus.load(recipe.bitext).texts())
    models: dict[str, Any] = {
        "base": base,
        "pruned vocabulary": pruned,
        f"and {arguments.layers} layers": smaller(pruned, arguments.layers),
        f"and {arguments.feed_forward} neurons": smaller(pruned, arguments.layers, arguments.feed_forward),
        **{name: student(name) for name in arguments.students},
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    waited: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(arguments.rounds + 1):
        for name, model in models.items():
            begun = time.perf_counter()
            model.encode_document(documents, batch_size=arguments.batch_size, show_progress_bar=False)
            seconds[name].append(time.perf_counter() - begun)
            for query in asked:
                begun = time.perf_counter()
                model.encode_query([query], show_progress_bar=False)
                waited[name].append(time.perf_counter() - begun)
    table = Table("model", "documents / s", "to the base", "ms / query", "tokens / document", "MB", box=None)
    results = {}
    for name, model in models.items():
        ratios = [other / own for own, other in zip(seconds[name][1:], seconds["base"][1:], strict=True)]
        prompted = [model.prompts["document"] + document for document in documents]
        tokens = model.tokenizer(prompted, truncation=True, max_length=model.max_seq_length)["input_ids"]
        results[name] = {
            "documents_a_second": round(len(documents) / statistics.median(seconds[name][1:]), 2),
            "ratio": round(statistics.median(ratios), 2),
            "milliseconds_a_query": round(1000 * statistics.median(waited[name][len(asked) :]), 1),
            "tokens_a_document": round(statistics.mean(map(len, tokens))),
            "megabytes": round(file_megabytes(model), 1),
        }
        table.add_row(name, *(f"{value:g}" for value in results[name].values()))
    Console().print(f"{len(documents)} documents, batches of {arguments.batch_size}, {arguments.threads} threads")
    Console().print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
