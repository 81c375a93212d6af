"""Results as `mteb run --output-folder` writes them, of made-up models and a tiny one, and the command on them."""

import json

import numpy as np
import pytest
from babel.core import get_cldr_version

from tests.results import subset_row, write_result

INSTALLED_DATA = f"CLDR-{get_cldr_version()}"
"""Revision of the data of CLDRNameRetrieval."""


@pytest.fixture
def write(tmp_path):
    """Writes one result; returns its folder. `scores` is score by subset and query, the same for both metrics."""

    def write_one(
        model,
        scores,
        *,
        revision="r1",
        task="CLDRNameRetrieval",
        data=INSTALLED_DATA,
        keep=True,
        experiment=None,
        edit=None,
    ):
        folder = tmp_path / "results" / "results" / model.replace("/", "__") / revision
        if experiment:
            folder = folder / "experiments" / "_".join(map(str, next(iter(experiment.items()))))
        rows = [subset_row(subset, by_query, keep=keep) for subset, by_query in scores.items()]
        meta = {"name": model, "revision": revision, "experiment_kwargs": experiment}
        write_result(folder, task, data, rows, meta)
        if edit:
            change(folder / f"{task}.json", edit)
        return folder

    return write_one


@pytest.fixture
def cache(tmp_path):
    """The folder that `write` writes into."""
    return tmp_path / "results"


def draw(subsets, queries=80, seed=0):
    """Scores as nDCG has them: many zeros and ones, the rest of few values between."""
    generator = np.random.default_rng(seed)
    levels = np.array([0, 0, 1, 1, 1, *(1 / np.log2(np.arange(3, 12)))])
    return {
        subset: {f"{subset}/{number}": score for number, score in enumerate(generator.choice(levels, queries))}
        for subset in subsets
    }


def change(path, edit):
    """Change the content of a JSON file."""
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def forget(content):
    """Take the scores by query out of a result."""
    for each in content["scores"]["test"]:
        del each["per_query"]


def evaluate_tiny(folder, base, subsets=("por-eng", "zul-eng"), **switches):
    """Evaluate a tiny model with predictions, as `mteb run --prediction-folder` does; returns the file of its results."""
    import mteb
    from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper

    model = SentenceTransformerEncoderWrapper(str(base), device="cpu")
    model.mteb_model_meta = model.mteb_model_meta.model_copy(update={"name": "a/tiny", "revision": "r1"})
    task = mteb.get_task("CLDRNameRetrieval", hf_subsets=list(subsets))
    for name, value in switches.items():
        setattr(task, name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPTICAL_MTEB_HOME", str(folder / "home"))
        options = {"co2_tracker": False, "show_progress_bar": False, "prediction_folder": folder / "predictions"}
        mteb.evaluate(model, task, cache=mteb.ResultCache(folder / "results"), **options)
    return next(folder.glob("results/results/*/*/CLDRNameRetrieval.json"))
