"""Bases and students side by side on the same queries, dense or by late interaction; the last one against the others.

    OPTICAL_MTEB_DATA=DATA python benchmarks/models.py pypi:multilingual-e5-small optical-student
    OPTICAL_MTEB_DATA=DATA python benchmarks/models.py pypi:multilingual-e5-small optical-student-colbert --retriever late
    OPTICAL_MTEB_DATA=DATA python benchmarks/models.py pypi:multilingual-e5-small optical-student --every-language

Queries have one relevant document each, so that MAP is the mean reciprocal rank:

- NTREX-128: a sentence from the first four of an article; documents are the 123 English articles;
- FLORES-200 dev: the last sentence of a document; documents are the rest of each English document;
- AfriQA: a question of the dev split (of train for Yoruba, which has no dev here); documents are the English passages
  of all these questions; English: the same questions in English.

Of the languages, swa som fil mar are those that `optical-student` is trained on, hau ibo yor zul amh are not.
`--every-language` takes FLORES alone, all its queries, in every language that has a file, and prints a row for each.
"""

import argparse
import json
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sentence_transformers.util import maxsim

from optical_mteb.bases import base_folder, base_revision, load_base
from optical_mteb.languages import find_language
from optical_mteb.scores.significance import randomisation_tests, sums_by_id
from optical_mteb.storage import local_data, write_text
from optical_mteb.students import Sidecar, student_folder
from optical_mteb.training.losses.encoding import special_token_ids

TRAINED = ("swa", "som", "fil", "mar")
UNSEEN = ("hau", "ibo", "yor", "zul", "amh")
AFRIQA = ("hau", "ibo", "yor", "zul")
FLORES = {
    "swa": "swh_Latn", "som": "som_Latn", "fil": "tgl_Latn", "mar": "mar_Deva", "hau": "hau_Latn",
    "ibo": "ibo_Latn", "yor": "yor_Latn", "zul": "zul_Latn", "amh": "amh_Ethi", "eng": "eng_Latn",
}  # fmt: skip

RETRIEVERS = {"dense": "dense", "late": "late interaction"}


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
    return {
        "NTREX": ntrex(folder / "ntrex", (*TRAINED, *UNSEEN), number, random.Random(seed)),
        "FLORES": flores(folder / "flores200", FLORES, number, random.Random(seed)),
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


def flores(folder: Path, files: Mapping[str, str], number: int | None, rng: random.Random) -> Collection:
    """Last sentence of a document, of all of them by default, and the documents without it; `files` by language."""
    english = read_lines(folder / "eng_Latn.dev")
    urls = [line.split("\t")[0] for line in read_lines(folder / "metadata_dev.tsv")[1:]]
    members: dict[str, list[int]] = {}
    for row, url in enumerate(urls):
        members.setdefault(url, []).append(row)
    several = [rows for rows in members.values() if len(rows) > 1]
    documents = [" ".join(english[row] for row in rows[:-1]) for rows in several]
    every = range(len(several))
    relevant = list(every) if number is None else sorted(rng.sample(every, number))
    texts = {language: read_lines(folder / f"{name}.dev") for language, name in files.items()}
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


def encode(model, texts: list[str], prompt: str, *, late: bool) -> torch.Tensor | list[torch.Tensor]:
    """What the dense model gives, [N, d], or what `as_late_interaction` of it gives, [n_i, d] each."""
    if not late:
        return model.encode(texts, prompt_name=prompt, batch_size=16, show_progress_bar=False, convert_to_tensor=True)
    special = special_token_ids(model)
    rows = model.encode(texts, prompt_name=prompt, output_value=None, batch_size=16, show_progress_bar=False)
    tokens = []
    for row in rows:
        counted = row["attention_mask"].bool() & ~torch.isin(row["input_ids"], special)
        vectors = row["token_embeddings"][: len(counted)][counted]
        tokens.append(torch.nn.functional.normalize(vectors.float(), dim=-1))
    return tokens


def reciprocal_rank(scores: torch.Tensor, relevant: list[int]) -> list[float]:
    """1 / rank of the relevant document for each query; ties count against it.

    Args:
        scores: Score of each document for each query, [Q, D].
        relevant: Index of the relevant document, [Q].
    """
    own = scores[torch.arange(len(relevant)), torch.tensor(relevant)]
    return [round(value, 6) for value in (1 / (scores >= own.unsqueeze(1)).sum(1)).tolist()]


@torch.no_grad()
def score(model, tests: dict[str, Collection], max_tokens: int, *, late: bool) -> dict[str, list[float]]:
    """Reciprocal ranks by `collection language`."""
    model.eval()
    model.max_seq_length = max_tokens
    ranks: dict[str, list[float]] = {}
    document, query = ("document", "query") if model.prompts.get("query") else (None, None)
    for name, collection in tests.items():
        documents = encode(model, collection.documents, document, late=late)
        for language, (texts, relevant) in collection.queries.items():
            queries = encode(model, texts, query, late=late)
            scores = maxsim(queries, documents).cpu() if late else queries @ documents.T
            ranks[f"{name} {language}"] = reciprocal_rank(scores, relevant)
    return ranks


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


def means(ranks: dict[str, list[float]]) -> dict[str, float]:
    """MAP x 100 by group: the mean over its collections and languages."""
    return {
        group: 100 * float(np.mean([np.mean(ranks[key]) for key in keys]))
        for group, keys in groups(list(ranks)).items()
    }


def ranks_of(
    name: str, tests: dict[str, Collection], arguments: argparse.Namespace, queries: int | str
) -> dict[str, list[float]]:
    """Reciprocal ranks of a model, from `--keep` if they are there."""
    folder = str(base_folder(name)) if name.startswith("pypi:") else str(student_folder(name))
    made_of = (base_revision(folder)[:12], arguments.retriever, queries, arguments.max_tokens)
    file = "-".join(map(str, (name.replace(":", "-"), *made_of))) + ".json"
    kept = arguments.keep / file if arguments.keep else None
    if kept and kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    ranks = score(load_base(folder, device="cpu"), tests, arguments.max_tokens, late=arguments.retriever == "late")
    if kept:
        write_text(kept, json.dumps(ranks) + "\n")
    return ranks


def compare_models(arguments: argparse.Namespace, folder: Path) -> None:
    """Score models on the same queries; differences of the last one to each of the others, by group."""
    tests = collections(folder, arguments.queries)
    ranks = {}
    for name in arguments.models:
        ranks[name] = ranks_of(name, tests, arguments, arguments.queries)
        print(name, " ".join(f"{group} {value:.1f}" for group, value in means(ranks[name]).items()), flush=True)
    *others, last = arguments.models
    for name in others:
        for group, keys in groups(list(ranks[last])).items():
            strata = {key: np.array(ranks[last][key]) - np.array(ranks[name][key]) for key in keys}
            difference, p = significance(strata)
            print(f"{last} less {name}, {group}: {100 * difference:+.1f} (p = {p:.3f})")


def compare_languages(arguments: argparse.Namespace, folder: Path) -> Iterator[str]:
    """A table of FLORES by language: the first model, the last one, which is a student, and the difference."""
    files = {path.stem.replace("_", "-"): path.stem for path in sorted((folder / "flores200").glob("*.dev"))}
    tests = {"FLORES": flores(folder / "flores200", files, None, random.Random(0))}
    base, student = (ranks_of(name, tests, arguments, "every") for name in (arguments.models[0], arguments.models[-1]))
    trained = set(Sidecar.read(student_folder(arguments.models[-1])).languages)
    others = [language for language in files if language != "eng-Latn"]
    rows = {
        "all that are trained on": [language for language in others if language in trained],
        "all that are not": [language for language in others if language not in trained],
        "English": ["eng-Latn"],
    }
    yield "| language | trained on | base | student | difference |\n|---|---|---|---|---|"
    for name, of_row in [*rows.items(), *((find_language(language).name, [language]) for language in others)]:
        strata = {key: np.array(student[key]) - np.array(base[key]) for key in (f"FLORES {each}" for each in of_row)}
        difference, p = significance(strata)
        before = np.mean([np.mean(base[key]) for key in strata])
        mark = "yes" * (name not in rows and of_row[0] in trained)
        yield (
            f"| {name} | {mark} | {100 * before:.1f} | {100 * (before + difference):.1f} | {100 * difference:+.1f} "
            f"(p {'< 0.001' if p < 0.001 else f'{p:.3f}'}) |"
        )


def main() -> None:
    """Score models, and compare the last with each of the others, or with the first one by language."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="pypi:NAME or names of students")
    parser.add_argument("--retriever", choices=["dense", "late"], default="dense")
    parser.add_argument(
        "--every-language", action="store_true", help="a table of FLORES by language; the last model is a student"
    )
    parser.add_argument("--keep", type=Path, help="folder of ranks; a model that has some there is not scored again")
    parser.add_argument(
        "--queries", type=int, default=80, help="a language, from NTREX and FLORES; twice as many from AfriQA"
    )
    parser.add_argument("--max-tokens", type=int, default=128, help="longer documents are cut")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = local_data()
    if data is None:
        raise SystemExit("OPTICAL_MTEB_DATA is not set; set it to the folder that has eval/")
    if arguments.every_language:
        for line in compare_languages(arguments, data / "eval"):
            print(line, flush=True)
    else:
        compare_models(arguments, data / "eval")


if __name__ == "__main__":
    main()
