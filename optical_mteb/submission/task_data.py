"""The data of a task in the layout of the Hub that MTEB's stock loader reads: parquet files, and a card that names them.

A subset `swh-eng` has the configurations `swh-eng-corpus`, `swh-eng-queries` and `swh-eng-qrels`, each with the splits of
the task. Documents that several subsets or splits share are one file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from huggingface_hub import DatasetCard, DatasetCardData

if TYPE_CHECKING:
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata

CARD = "README.md"

_COLUMNS = ("id", "title", "text")


def write_hub_data(data: Mapping[str, Mapping[str, RetrievalSplitData]], folder: Path) -> list[dict[str, Any]]:
    """Write data by subset and split, in a folder for each configuration that has files of its own.

    Returns:
        The configurations, as a data card has them.
    """
    configurations: dict[str, list[dict[str, str]]] = {}
    written: dict[bytes, str] = {}
    for subset, splits in data.items():
        for split, part in splits.items():
            for kind, table in _tables(part).items():
                name = f"{subset}-{kind}"
                path = folder / name / f"{split}.parquet"
                path.parent.mkdir(parents=True, exist_ok=True)
                table.to_parquet(path)
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").digest()
                known = written.setdefault(digest, f"{name}/{path.name}")
                if known != f"{name}/{path.name}":
                    path.unlink()
                    if not any(path.parent.iterdir()):
                        path.parent.rmdir()
                configurations.setdefault(name, []).append({"split": split, "path": known})
    return [{"config_name": name, "data_files": files} for name, files in configurations.items()]


def data_card(metadata: TaskMetadata, configurations: list[dict[str, Any]], source: str) -> str:
    """MTEB's card of a task's data, with the configurations of `write_hub_data`, and what the texts are made from."""
    head = DatasetCardData(configs=configurations).to_yaml()
    card = metadata.generate_dataset_card(DatasetCard(f"---\n{head}\n---\n"))
    return (
        f"{str(card).rstrip()}\n\n## Source and license\n\n"
        f"- Source: {source}\n"
        f"- License: {metadata.license or 'not specified'}\n"
    )


def _tables(part: RetrievalSplitData) -> dict[str, Dataset]:
    """Documents, queries and judgments with the columns that MTEB's stock loader reads."""
    judged = [
        {"query-id": query, "corpus-id": document, "score": int(grade)}
        for query, grades in part["relevant_docs"].items()
        for document, grade in grades.items()
    ]
    texts = {"corpus": part["corpus"], "queries": part["queries"]}
    return {
        kind: dataset.select_columns([column for column in _COLUMNS if column in dataset.column_names])
        for kind, dataset in texts.items()
    } | {"qrels": Dataset.from_list(judged)}
