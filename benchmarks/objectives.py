"""Objectives side by side: the same base, bitext, steps and seeds, scored dense and by late interaction.

    OPTICAL_MTEB_DATA=DATA python benchmarks/objectives.py run CELLS [--shard 0/2] [--threads 1]
    OPTICAL_MTEB_DATA=DATA python benchmarks/objectives.py run CELLS --setting english
    python benchmarks/objectives.py report CELLS [--output results/objectives.json]

    OPTICAL_MTEB_DATA=DATA python benchmarks/objectives.py score --models pypi:multilingual-e5-small optical-student

`run` trains and scores one cell an objective and seed, and keeps each in a file of the folder CELLS: what is there is
not run again. `report` prints the tables. `score` scores bases and students of the store, dense or by late interaction
(`--retriever late`), and tests the last one against the others. Queries, one relevant document each, so that MAP is the mean reciprocal rank:

- NTREX-128: a sentence from the first four of an article; documents are the 123 English articles;
- FLORES-200 dev: the last sentence of a document; documents are the rest of each English document;
- AfriQA: a question of the dev split (of train for Yoruba, which has no dev here); documents are the English passages
  of all these questions; English: the same questions in English.

TICO-19's four low-resource languages are trained on (swa som fil mar), the others are not (hau ibo yor zul amh). The
studies `students` and `students-colbert` compare objectives with the teacher's ranking among them.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import maxsim

from optical_mteb.bases import base_folder, base_revision, load_base
from optical_mteb.scores.significance import randomisation_tests, sums_by_id
from optical_mteb.storage import local_data
from optical_mteb.students import student_folder
from optical_mteb.study.cells import fingerprint_of, settings_of
from optical_mteb.study.experiment import forget, trained, untrained
from optical_mteb.study.files import write_text
from optical_mteb.training.losses.encoding import special_token_ids
from optical_mteb.training.recipe import find_recipe, read_recipe

TRAINED = ("swa", "som", "fil", "mar")
UNSEEN = ("hau", "ibo", "yor", "zul", "amh")
AFRIQA = ("hau", "ibo", "yor", "zul")
FLORES = {
    "swa": "swh_Latn", "som": "som_Latn", "fil": "tgl_Latn", "mar": "mar_Deva", "hau": "hau_Latn",
    "ibo": "ibo_Latn", "yor": "yor_Latn", "zul": "zul_Latn", "amh": "amh_Ethi", "eng": "eng_Latn",
}  # fmt: skip

OPTICAL = "optical={}"
ANCHOR = "anchor={}"
CONTRAST = "contrastive={}"
STRONG = {
    "sentence distillation": ("sentence={}", 5e-5),
    "optical": (OPTICAL, 2e-5),
    "optical + anchor": (f"{OPTICAL}, {ANCHOR}", 2e-5),
    "contrastive": (CONTRAST, 2e-5),
    "contrastive, MaxSim": ("contrastive={score='maxsim'}", 2e-5),
    "contrastive + anchor": (f"{CONTRAST}, {ANCHOR}", 2e-5),
    "contrastive + optical + anchor": (f"{CONTRAST}, {OPTICAL}, {ANCHOR}", 2e-5),
}
"""`[objective]` and learning rate by name, for a base that ranks across languages already."""

ENGLISH_BASE = {
    "sentence distillation": ("sentence={}", 2e-4),
    "optical": (OPTICAL, 2e-4),
}
"""The same for a base that has seen no parallel text."""

SETTINGS = {
    "multilingual": (
        "tico19",
        STRONG,
        ["student.max_tokens=64", "training.batch_size=32", "teacher.cache=true", "training.log_every=20"],
    ),
    "english": (
        "tico19",
        ENGLISH_BASE,
        [
            "student.max_tokens=64",
            "training.batch_size=32",
            "teacher.cache=true",
            "training.log_every=20",
            "student={base='pypi:all-MiniLM-L6-v2', freeze_embeddings=false, max_tokens=64}",
            "teacher={base='pypi:all-MiniLM-L6-v2', cache=true}",
        ],
    ),
}


RETRIEVERS = {"dense": "dense", "late": "late interaction"}

BUDGET = ("steps", "queries", "max_tokens")
"""Arguments that all cells of a folder share."""


class Collection(NamedTuple):
    """A test collection.

    Attributes:
        documents: English documents.
        queries: Queries by language, and the index of the one document that is relevant to each.
    """

    documents: list[str]
    queries: dict[str, tuple[list[str], list[int]]]


def read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def collections(folder: Path, number: int, seed: int = 0) -> dict[str, Collection]:
    """The three collections: `number` queries a language from NTREX and from FLORES, twice as many from AfriQA."""
    languages = (*TRAINED, *UNSEEN)
    return {
        "NTREX": ntrex(folder / "ntrex", languages, number, random.Random(seed)),
        "FLORES": flores(folder / "flores200", languages, number, random.Random(seed)),
        "AfriQA": afriqa(folder / "afriqa" / "gold_passages", 2 * number),
    }


def ntrex(folder: Path, languages: tuple[str, ...], number: int, rng: random.Random) -> Collection:
    """Sentence of an article's beginning, and the articles."""
    english = read_lines(folder / "newstest2019-src.eng.txt")
    articles = [line.split("\t")[0] for line in read_lines(folder / "DOCUMENT_IDS.tsv")][: len(english)]
    names = list(dict.fromkeys(articles))
    documents = [" ".join(line for line, own in zip(english, articles, strict=True) if own == name) for name in names]
    first = [row for row, name in enumerate(articles) if row - articles.index(name) < 4 and row % 2]
    rows = sorted(rng.sample(first, number))
    relevant = [names.index(articles[row]) for row in rows]
    texts = {language: read_lines(folder / f"newstest2019-ref.{language}.txt") for language in languages}
    texts["eng"] = english
    return Collection(documents, {name: ([lines[row] for row in rows], relevant) for name, lines in texts.items()})


def flores(folder: Path, languages: tuple[str, ...], number: int, rng: random.Random) -> Collection:
    """Last sentence of a document, and the documents without it."""
    english = read_lines(folder / "eng_Latn.dev")
    urls = [line.split("\t")[0] for line in read_lines(folder / "metadata_dev.tsv")[1:]]
    members: dict[str, list[int]] = {}
    for row, url in enumerate(urls):
        members.setdefault(url, []).append(row)
    several = [rows for rows in members.values() if len(rows) > 1]
    documents = [" ".join(english[row] for row in rows[:-1]) for rows in several]
    relevant = sorted(rng.sample(range(len(several)), number))
    texts = {name: read_lines(folder / f"{FLORES[name]}.dev") for name in (*languages, "eng")}
    queries = {name: ([lines[several[index][-1]] for index in relevant], relevant) for name, lines in texts.items()}
    return Collection(documents, queries)


def afriqa(folder: Path, number: int) -> Collection:
    """Question, and the passages that answer one of them."""
    passages: dict[str, int] = {}
    queries: dict[str, tuple[list[str], list[int]]] = {"eng": ([], [])}
    for language in AFRIQA:
        dev = list((folder / language).glob("*.dev.json"))
        rows = [
            json.loads(line) for path in dev or (folder / language).glob("*.train.json") for line in read_lines(path)
        ]
        for row in [row for row in rows if row["context"]][:number]:
            index = passages.setdefault(row["context"], len(passages))
            for name, text in ((language, row["question_lang"]), ("eng", row["question_translated"])):
                texts, relevant = queries.setdefault(name, ([], []))
                texts.append(text)
                relevant.append(index)
    return Collection(list(passages), queries)


def encode(model, texts: list[str], prompt: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Both retrievers' embeddings from one pass.

    Returns:
        What the dense model gives, [N, d], and what `as_late_interaction` of it gives, [n_i, d] each.
    """
    special = special_token_ids(model)
    rows = model.encode(texts, prompt_name=prompt, output_value=None, batch_size=16, show_progress_bar=False)
    tokens = []
    for row in rows:
        counted = row["attention_mask"].bool() & ~torch.isin(row["input_ids"], special)
        vectors = row["token_embeddings"][: len(counted)][counted]
        tokens.append(torch.nn.functional.normalize(vectors.float(), dim=-1))
    return torch.stack([row["sentence_embedding"].float() for row in rows]), tokens


def reciprocal_rank(scores: torch.Tensor, relevant: list[int]) -> list[float]:
    """1 / rank of the relevant document for each query; ties count against it.

    Args:
        scores: Score of each document for each query, [Q, D].
        relevant: Index of the relevant document, [Q].
    """
    own = scores[torch.arange(len(relevant)), torch.tensor(relevant)]
    return [round(value, 6) for value in (1 / (scores >= own.unsqueeze(1)).sum(1)).tolist()]


@torch.no_grad()
def score(
    model, tests: dict[str, Collection], max_tokens: int, retrievers: Sequence[str] = tuple(RETRIEVERS.values())
) -> dict[str, dict[str, list[float]]]:
    """Reciprocal ranks by retriever and by `collection language`."""
    model.eval()
    model.max_seq_length = max_tokens
    ranks: dict[str, dict[str, list[float]]] = {name: {} for name in retrievers}
    document, query = ("document", "query") if model.prompts.get("query") else (None, None)
    for name, collection in tests.items():
        documents = encode(model, collection.documents, document)
        for language, (texts, relevant) in collection.queries.items():
            queries = encode(model, texts, query)
            key = f"{name} {language}"
            if "dense" in ranks:
                ranks["dense"][key] = reciprocal_rank(queries[0] @ documents[0].T, relevant)
            if "late interaction" in ranks:
                ranks["late interaction"][key] = reciprocal_rank(maxsim(queries[1], documents[1]).cpu(), relevant)
    return ranks


def run(arguments: argparse.Namespace) -> None:
    """Train and score what the folder does not have."""
    torch.set_num_threads(arguments.threads)
    data = local_data()
    if data is None:
        raise SystemExit("OPTICAL_MTEB_DATA is not set; set it to the folder that has bitext/ and eval/")
    recipe, objectives, overrides = SETTINGS[arguments.setting]
    recipe_file = find_recipe(recipe)
    tests = collections(data / "eval", arguments.queries)
    cells = [("zero-shot", 0), *((name, seed) for seed in arguments.seeds for name in objectives)]
    shard, shards = map(int, arguments.shard.split("/"))
    for name, seed in cells[shard::shards]:
        slug = f"{arguments.setting}.{name}.{seed}".replace(" ", "_").replace(",", "").replace("+", "and")
        path = arguments.cells / f"{slug}.json"
        if arguments.only and name not in arguments.only:
            continue
        budget = {key: getattr(arguments, key) for key in BUDGET}
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if any(kept[key] != value for key, value in budget.items()):
                raise SystemExit(f"{path}: made with another budget than {budget}; use another folder")
            continue
        objective, rate = objectives.get(name, (CONTRAST, 1e-5))
        changes = [*overrides, f"objective={{{objective}}}", f"training.learning_rate={rate}", f"seed={seed}"]
        recipe = read_recipe(recipe_file, [*changes, f"training.steps={arguments.steps}"])
        recipe = recipe.model_copy(update={"name": f"objectives-{fingerprint_of(settings_of(recipe))}"})
        started = time.perf_counter()
        if name == "zero-shot":
            (_, student), figures = untrained(recipe.student, "cpu"), {}
        else:
            figures = trained(recipe, recipe_folder=recipe_file.parent, device="cpu").metrics
            student = SentenceTransformer(str(student_folder(recipe.name)), device="cpu")
        cell = {
            "setting": arguments.setting,
            "objective": name,
            "terms": objective,
            "learning_rate": rate,
            "seed": seed,
            **budget,
            "seconds": round(figures.get("seconds", 0)),
            "figures": figures,
            "ranks": score(student, tests, arguments.max_tokens),
        }
        write_text(path, json.dumps(cell) + "\n")
        forget(recipe.name)
        print(f"{slug}: trained in {cell['seconds']} s, scored by {time.perf_counter() - started:.0f} s", flush=True)


def significance(strata: dict[str, np.ndarray]) -> tuple[float, float]:
    """Mean difference of the strata's means, and its two-sided paired randomisation test.

    A sign is drawn for each item: the translations of one sentence are one item, and share it.

    Args:
        strata: Differences by query for each `collection language`; all weigh the same. NTREX and FLORES have the same
            sentences in the same order in all languages.
    """
    ids = [
        f"{key if key.startswith('AfriQA') else key.split()[0]} {index}"
        for key, values in strata.items()
        for index in range(len(values))
    ]
    items = sums_by_id(ids, np.concatenate([values / len(values) / len(strata) for values in strata.values()]))
    return float(items.sum()), float(randomisation_tests([items])[0])


def groups(keys: list[str]) -> dict[str, list[str]]:
    """Keys of the collections by group of languages, and by language."""
    of = {key: key.split()[1] for key in keys}
    named = {
        "low-resource": [key for key in keys if of[key] != "eng"],
        "trained on": [key for key in keys if of[key] in TRAINED],
        "unseen": [key for key in keys if of[key] in UNSEEN],
        "English": [key for key in keys if of[key] == "eng"],
        "English AfriQA": ["AfriQA eng"],
    }
    return named | {language: [key for key in keys if of[key] == language] for language in (*TRAINED, *UNSEEN)}


def report(arguments: argparse.Namespace) -> None:
    """Tables of means over seeds, tests against each objective's rivals, seed by seed."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(arguments.cells.glob("*.json"))]
    budgets = {tuple(cell[key] for key in BUDGET) for cell in cells}
    if len(budgets) != 1:
        raise SystemExit(
            f"{arguments.cells}: expected cells of one budget ({', '.join(BUDGET)}), found {sorted(budgets)}"
        )
    summary: dict[str, dict] = {}
    for setting in dict.fromkeys(cell["setting"] for cell in cells):
        here = [cell for cell in cells if cell["setting"] == setting]
        order = ["zero-shot", *SETTINGS[setting][1]]
        for retriever in RETRIEVERS.values():
            ranks = {name: [cell["ranks"][retriever] for cell in here if cell["objective"] == name] for name in order}
            ranks = {name: seeds for name, seeds in ranks.items() if seeds}
            table = {name: dict(rows(seeds)) for name, seeds in ranks.items()}
            tests = {
                name: {rival: compare(ranks[name], ranks[rival]) for rival in ranks if rival != name} for name in ranks
            }
            summary[f"{setting}, {retriever}"] = {"map": table, "tests": tests}
            show(f"{setting}, {retriever}: MAP x 100", table, ranks, tests)
    if arguments.output:
        written = {**dict(zip(BUDGET, budgets.pop(), strict=True)), **summary}
        arguments.output.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


def rows(seeds: list[dict[str, list[float]]]) -> Iterator[tuple[str, list[float]]]:
    """MAP x 100 of each seed by group: the mean over its collections and languages."""
    for group, keys in groups(list(seeds[0])).items():
        yield group, [round(100 * float(np.mean([np.mean(ranks[key]) for key in keys])), 2) for ranks in seeds]


def compare(own: list[dict[str, list[float]]], rival: list[dict[str, list[float]]]) -> dict[str, float]:
    """Difference in MAP x 100 over the low-resource queries, each averaged over seeds, and its p."""
    keys = groups(list(own[0]))["low-resource"]
    own_mean, rival_mean = (
        {key: np.mean([ranks[key] for ranks in side], axis=0) for key in keys} for side in (own, rival)
    )
    difference, p = significance({key: own_mean[key] - rival_mean[key] for key in keys})
    return {"difference": round(100 * difference, 2), "p": round(p, 4)}


def show(title: str, table: dict, ranks: dict, tests: dict) -> None:
    """Print the tables of one retriever."""
    shown = Table("objective", "seeds", *next(iter(table.values())), title=title, box=None)
    for name, values in table.items():
        shown.add_row(name, str(len(ranks[name])), *(f"{np.mean(seeds):.1f}" for seeds in values.values()))
    console = Console(width=200)
    console.print(shown)
    for name, values in table.items():
        console.print(f"  {name}: low-resource by seed {' '.join(f'{value:.1f}' for value in values['low-resource'])}")
    paired = Table("low-resource", *tests, title="row less column (p of a paired randomisation test)", box=None)
    for name, rivals in tests.items():
        cells = [
            f"{rivals[rival]['difference']:+.1f} ({rivals[rival]['p']:.3f})" if rival in rivals else ""
            for rival in tests
        ]
        paired.add_row(name, *cells)
    console.print(paired)


def compare_models(arguments: argparse.Namespace) -> None:
    """Score models on the same queries; differences of the last one to each of the others, by group."""
    torch.set_num_threads(arguments.threads)
    data = local_data()
    if data is None:
        raise SystemExit("OPTICAL_MTEB_DATA is not set; set it to the folder that has eval/")
    tests = collections(data / "eval", arguments.queries)
    ranks = {}
    for name in arguments.models:
        folder = str(base_folder(name)) if name.startswith("pypi:") else str(student_folder(name))
        revision, retriever = base_revision(folder)[:12], RETRIEVERS[arguments.retriever]
        file = (
            f"{name.replace(':', '-')}-{revision}-{arguments.retriever}-{arguments.queries}-{arguments.max_tokens}.json"
        )
        kept = arguments.keep / file if arguments.keep else None
        if kept and kept.is_file():
            ranks[name] = json.loads(kept.read_text(encoding="utf-8"))
        else:
            model = load_base(folder, device="cpu")
            ranks[name] = score(model, tests, arguments.max_tokens, [retriever])[retriever]
            if kept:
                write_text(kept, json.dumps(ranks[name]) + "\n")
        print(name, " ".join(f"{group} {values[0]:.1f}" for group, values in rows([ranks[name]])), flush=True)
    *others, last = arguments.models
    for name in others:
        for group, keys in groups(list(ranks[last])).items():
            strata = {key: np.array(ranks[last][key]) - np.array(ranks[name][key]) for key in keys}
            difference, p = significance(strata)
            print(f"{last} less {name}, {group}: {100 * difference:+.1f} (p = {p:.3f})")


def main() -> None:
    """Run cells, report them, or score models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    running = commands.add_parser("run", help="train and score")
    running.add_argument("cells", type=Path, help="folder of cells")
    running.add_argument("--setting", choices=SETTINGS, default="multilingual")
    running.add_argument("--only", nargs="+", choices=["zero-shot", *STRONG], help="objectives to run")
    running.add_argument("--seeds", nargs="+", type=int, default=[13, 14, 15])
    running.add_argument("--steps", type=int, default=48, help="optimizer steps of 32 pairs")
    running.add_argument(
        "--queries",
        type=int,
        default=70,
        help="queries a language from NTREX and from FLORES, half of what AfriQA gives",
    )
    running.add_argument("--max-tokens", type=int, default=128, help="longer documents are cut when scored")
    running.add_argument("--shard", default="0/1", help="which part of the cells, of how many")
    running.add_argument("--threads", type=int, default=2)
    running.set_defaults(command=run)
    reporting = commands.add_parser("report", help="print the tables")
    reporting.add_argument("cells", type=Path, help="folder of cells")
    reporting.add_argument("--output", type=Path, help="JSON file to write")
    reporting.set_defaults(command=report)
    scoring = commands.add_parser("score", help="score bases and students")
    scoring.add_argument("--models", nargs="+", required=True, help="pypi:NAME or names of students")
    scoring.add_argument("--retriever", choices=RETRIEVERS, default="dense")
    scoring.add_argument("--keep", type=Path, help="folder of ranks; a model that has some there is not scored again")
    scoring.add_argument("--queries", type=int, default=80)
    scoring.add_argument("--max-tokens", type=int, default=128)
    scoring.add_argument("--threads", type=int, default=2)
    scoring.set_defaults(command=compare_models)
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
