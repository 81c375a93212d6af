"""What a student weighs in several forms, and what each form loses of its MAP.

    OPTICAL_MTEB_DATA=DATA python benchmarks/weights.py optical-student [--forms packed ...] [--output weights.json]
    python benchmarks/weights.py optical-student --pack optical_mteb/students/weights

Forms of a trained student of the store, each read back and scored on the tasks of the study `students`, or
`students-colbert` where it is one of late interaction:

- float32, float16: the whole checkpoint, rounded.
- packed: the rows that training changed, half a byte a weight, the others read from the base where it is published:
  what the package ships (`--pack` writes it, `--most-rows` bounds it).
- pruned-N: only the N most frequent word pieces and single characters; float16.

MAP is the mean of MAP@100 over the subsets whose queries are in no English, x 100; the share is that of float32's.
Transformers compute in bfloat16 where the hardware does.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper, SentenceTransformerEncoderWrapper
from rich.console import Console
from rich.table import Table
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from optical_mteb.bases import prune_vocabulary
from optical_mteb.hardware import computes_in_bfloat16
from optical_mteb.students import Sidecar, student_folder
from optical_mteb.students.packed import pack, unpack
from optical_mteb.study.evaluation import evaluate
from optical_mteb.study.settings import find_study, read_study

Student = SentenceTransformer | MultiVectorEncoder
FORMS = ("float32", "float16", "packed", "pruned-20000", "pruned-50000")


def round_weights(model: Student) -> None:
    """Bring every matrix to float16 and back, in place."""
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.ndim > 1:
                tensor.copy_(tensor.half().float())


def megabytes(model: Student, size: float) -> float:
    """10^6 bytes of all parameters at so many bytes each."""
    return sum(parameter.numel() for parameter in model.parameters()) * size / 1e6


def load(folder: Path) -> Student:
    """A checkpoint, as its record says what it is."""
    late = Sidecar.read(folder).kind == "late_interaction"
    return (MultiVectorEncoder if late else SentenceTransformer)(str(folder), device="cpu")


def form(name: str, student: str, most_rows: int | None) -> tuple[Student, float]:
    """A student in a form, and what its weights weigh in it, 10^6 bytes."""
    folder = student_folder(student)
    if name == "packed":
        with tempfile.TemporaryDirectory() as scratch:
            record = pack(folder, Path(scratch) / "pack", most_rows)
            (Path(scratch) / "back").mkdir()
            unpack(record, Path(scratch) / "back")
            weight = record.with_suffix(".safetensors").stat().st_size / 1e6
            return load(Path(scratch) / "back"), weight
    model = load(folder)
    if name.startswith("pruned-"):
        prune_vocabulary(model, [], keep_most_frequent=int(name.removeprefix("pruned-")))
    if name != "float32":
        round_weights(model)
    return model, megabytes(model, 4 if name == "float32" else 2)


def measured(name: str, arguments: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """Weight and scores of a form."""
    model, weight = form(name, arguments.student, arguments.most_rows)
    model.save_pretrained(str(scratch), create_model_card=False)
    late = isinstance(model, MultiVectorEncoder)
    wrapper: Any = (MultiVectorWrapper if late else SentenceTransformerEncoderWrapper)(str(scratch), device="cpu")
    precision = torch.bfloat16 if computes_in_bfloat16(wrapper.model.device) else torch.float32
    scores = evaluate(
        wrapper,
        read_study(find_study("students-colbert" if late else "students")).tasks,
        batch_size=32,
        precision=precision,
    )
    means = {
        f"{task}/{subset}": 100 * statistics.fmean(of_query["map_at_100"].values())
        for task, of_subset in scores.items()
        for subset, of_query in of_subset.items()
    }
    others = {key: value for key, value in means.items() if not key.endswith("/eng-eng")}
    return {
        "megabytes": round(weight, 1),
        "map": round(statistics.fmean(others.values()), 2),
        **{key: round(value, 2) for key, value in means.items()},
    }


def main() -> None:
    """Measure the forms, print a table, and write JSON where asked; or pack."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student")
    parser.add_argument("--forms", nargs="+", default=list(FORMS))
    parser.add_argument("--pack", type=Path, help="folder to write the packed student to; measures nothing")
    parser.add_argument("--most-rows", type=int, help="rows of a matrix that a pack keeps, those that changed most")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.pack:
        print(pack(student_folder(arguments.student), arguments.pack, arguments.most_rows))
        return
    results = {}
    for name in arguments.forms:
        with tempfile.TemporaryDirectory() as scratch:
            results[name] = measured(name, arguments, Path(scratch))
        print(name, results[name], flush=True)
        if arguments.output:
            arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    whole = results.get("float32", {}).get("map")
    table = Table("form", "MB", "MAP@100", "share", box=None)
    for name, row in results.items():
        table.add_row(name, f"{row['megabytes']}", f"{row['map']}", f"{row['map'] / whole:.4f}" if whole else "")
    Console().print(table)


if __name__ == "__main__":
    main()
