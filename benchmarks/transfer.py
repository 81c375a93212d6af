"""Transfer of students to languages and domains that they were not trained on, beside the base they started from.

    OPTICAL_MTEB_DATA=DATA python benchmarks/transfer.py pypi:multilingual-e5-small tico19-student

AfriQA: question in an African language, relevant the one English Wikipedia passage that answers it, among the passages
of all languages and both splits; the questions are those of the dev split, or of train where there is no dev split.
NTREX-128: sentence against the English sentences of the first `--pool` of the newstest2019 source. Mean reciprocal
rank; one relevant document a query, so that MAP is the same figure.
"""

import argparse
import json
from pathlib import Path

import mteb
import numpy as np
from rich.console import Console
from rich.table import Table

from optical_mteb.registry import register
from optical_mteb.storage import local_data

AFRIQA = ["hau", "ibo", "yor", "zul"]
NTREX = ["swa", "som", "fil", "mar", "hau", "ibo", "yor", "zul"]


def reciprocal_rank(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Mean over queries of 1 / rank of the relevant document; ties count against it.

    Args:
        scores: Score of each document for each query, [Q, D].
        relevant: Index of the relevant document, [Q].
    """
    own = scores[np.arange(len(relevant)), relevant]
    return float(np.mean(1 / (scores >= own[:, None]).sum(axis=1)))


def afriqa(folder: Path) -> tuple[list[str], dict[str, tuple[list[str], list[int]]]]:
    """English passages, and for each language its questions with the index of the passage that answers each."""
    passages: dict[str, int] = {}
    questions: dict[str, tuple[list[str], list[int]]] = {}
    for path in sorted((folder / "afriqa" / "gold_passages").glob("*/*.json")):
        language, split = path.parent.name, path.stem.rsplit(".", 1)[1]
        has_dev = any(path.parent.glob("*.dev.json"))
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["context"]:
                index = passages.setdefault(row["context"], len(passages))
                if language in AFRIQA and split == ("dev" if has_dev else "train"):
                    texts, relevant = questions.setdefault(language, ([], []))
                    texts.append(row["question_lang"])
                    relevant.append(index)
    return list(passages), questions


def ntrex(folder: Path, pool: int) -> tuple[list[str], dict[str, tuple[list[str], list[int]]]]:
    """English sentences, and for each language their translations."""
    source = (folder / "ntrex" / "newstest2019-src.eng.txt").read_text(encoding="utf-8").splitlines()[:pool]
    return source, {
        language: (
            (folder / "ntrex" / f"newstest2019-ref.{language}.txt").read_text(encoding="utf-8").splitlines()[:pool],
            list(range(pool)),
        )
        for language in NTREX
    }


def main() -> None:
    """Score the models, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="names as `mteb run -m` takes them")
    parser.add_argument("--pool", type=int, default=500, help="sentences of NTREX")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    data = local_data()
    if data is None:
        parser.error("OPTICAL_MTEB_DATA is not set; set it to the folder that has eval/afriqa and eval/ntrex")
    register()
    collections = {"AfriQA": afriqa(data / "eval"), "NTREX": ntrex(data / "eval", arguments.pool)}
    results: dict[str, dict[str, float]] = {}
    for name in arguments.models:
        model = mteb.get_model(name).model
        results[name] = {}
        for collection, (documents, queries) in collections.items():
            encoded = model.encode_document(documents, batch_size=32)
            for language, (texts, relevant) in queries.items():
                scores = model.encode_query(texts, batch_size=32) @ encoded.T
                results[name][f"{collection} {language}"] = reciprocal_rank(scores, np.array(relevant))
    table = Table("MRR x 100", *results, box=None)
    for row in results[arguments.models[0]]:
        table.add_row(row, *(f"{100 * scores[row]:.1f}" for scores in results.values()))
    Console().print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
