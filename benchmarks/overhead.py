"""What a transport objective adds to a training step, beside sentence distillation by sentence-transformers.

    python benchmarks/overhead.py [--output overhead.json]

The same student, teacher, batch and lengths; forward passes of both, loss, backward pass and AdamW step. Contestants take
turns, step by step, so that the noise of a shared machine falls on all alike; medians are compared.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from optical_mteb.bases import load_base
from optical_mteb.training.losses import Bank
from optical_mteb.training.objective import build_loss
from optical_mteb.training.recipe import ObjectiveSettings

OBJECTIVES = {
    "sentence distillation": {"sentence": {}},
    "optical": {"optical": {}},
    "optical, IDF": {"optical": {"marginals": "idf"}},
    "optical, IPOT": {"optical": {"solver": "ipot"}},
    "contrastive": {"contrastive": {}},
    "contrastive, MaxSim": {"contrastive": {"score": "maxsim"}},
    "contrastive + optical": {"contrastive": {}, "optical": {}},
    "transport contrastive": {"transport_contrastive": {}},
    "rank": {"rank": {}},
    "rank + optical": {"rank": {}, "optical": {"target": "query"}},
    "contrastive + optical + anchor": {"contrastive": {}, "optical": {}, "anchor": {}},
}
BANK = 15_000
"""Documents that `rank` scores every pair against: about as many as the bitext of the shipped students has sentences."""


def batch(model, size: int, words: int) -> tuple[list[str], list[str]]:
    """English and other texts of random words of the vocabulary."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = [piece for piece, _ in sorted(model.tokenizer.get_vocab().items()) if piece.strip("▁").isalpha()]
    picks = torch.randint(len(vocabulary), (2, size, words), generator=generator).tolist()
    english, other = ([" ".join(vocabulary[index].strip("▁") for index in row) for row in side] for side in picks)
    return english, other


def main() -> None:
    """Time the steps, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default="pypi:multilingual-e5-small")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=40, help="length of every sentence")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    student = load_base(arguments.base, device=arguments.device)
    teacher = load_base(arguments.base, device=arguments.device)
    for model in (student, teacher):
        model.max_seq_length = arguments.tokens
    student.transformers_model.get_input_embeddings().requires_grad_(False)
    student.train()
    english, other = batch(student, arguments.batch_size, arguments.tokens)
    features = [
        {key: value.to(arguments.device) for key, value in model.preprocess(texts).items() if torch.is_tensor(value)}
        for model, texts in ((teacher, english), (student, other))
    ]
    optimizer = torch.optim.AdamW([p for p in student.parameters() if p.requires_grad], lr=1e-6)
    width = teacher.get_embedding_dimension()
    embeddings = torch.nn.functional.normalize(
        torch.randn(BANK, width, generator=torch.Generator().manual_seed(1)), dim=-1
    )
    banks = {"rank": Bank([str(number) for number in range(BANK)], embeddings.to(arguments.device))}
    losses = {
        name: build_loss(
            ObjectiveSettings.model_validate(tables), student, teacher, english=english, translations=other, banks=banks
        )
        for name, tables in OBJECTIVES.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for _ in range(arguments.rounds + 1):
        for name, loss in losses.items():
            seconds[name].append(step(loss, features, optimizer, arguments.device))
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    reference = seconds["sentence distillation"][1:]
    table = Table("objective", "ms a step", "to sentence distillation, round by round", box=None)
    results = {}
    for name, median in medians.items():
        ratios = [own / other for own, other in zip(seconds[name][1:], reference, strict=True)]
        results[name] = {"ms": round(1000 * median, 1), "ratio": round(statistics.median(ratios), 3)}
        table.add_row(name, f"{1000 * median:.0f}", f"{statistics.median(ratios):.3f}")
    Console().print(table)
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def step(loss: Callable, features: list[dict], optimizer: torch.optim.Optimizer, device: str) -> float:
    """Seconds of one training step."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    wait()
    begun = time.perf_counter()
    optimizer.zero_grad()
    sum(loss([dict(column) for column in features]).values()).backward()
    optimizer.step()
    wait()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
