"""What the guards are for: a damaged layer is caught with the languages it hurts."""

from copy import deepcopy

import mteb
import numpy as np
import pytest
import torch
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, StaticEmbedding
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from optical_mteb.scores.compare import compare_models, regressions
from optical_mteb.scores.expected import Expectation, read_expected, write_expected
from optical_mteb.scores.reproduction import check
from optical_mteb.scores.results import find_results

TASK = "CLDRNameRetrieval"
SUBSETS = ["por-eng", "som-eng", "swh-eng"]
WIDTH = 64


@pytest.fixture(scope="module")
def retriever():
    """A retriever of names in three languages: half of what it knows of Somali passes thresholds of its first layer.

    A text is one token. The first 64 numbers of its embedding are near those of its English name, and pass the first
    layer as they are; those of a Somali name are mostly noise. Its other 64 lie just above the thresholds.
    """
    task = mteb.get_task(TASK, hf_subsets=SUBSETS)
    task.load_data()
    generator = np.random.default_rng(0)
    vectors = {"[UNK]": np.zeros(2 * WIDTH)}
    english = {row["id"]: row for row in task.dataset["som-eng"]["test"]["corpus"]}
    directions = {key: generator.random(WIDTH) ** 4 for key in english}
    for key, row in english.items():
        vectors[f"{row['title']} {row['text']}"] = np.concatenate([directions[key], np.zeros(WIDTH)])
    # Somali first, so that a name that another language shares is that one's.
    for subset in ("som-eng", "por-eng", "swh-eng"):
        data = task.dataset[subset]["test"]
        for query in data["queries"]:
            direction = directions[next(iter(data["relevant_docs"][query["id"]]))]
            noise = generator.random(WIDTH) ** 4
            if subset == "som-eng":
                vector = np.concatenate([0.3 * direction + 0.8 * noise, 0.95 + 0.1 * direction])
            else:
                vector = np.concatenate([direction + 2 * noise, np.zeros(WIDTH)])
            vectors[query["text"]] = vector
    tokenizer = Tokenizer(WordLevel({text: number for number, text in enumerate(vectors)}, unk_token="[UNK]"))
    eye = torch.eye(WIDTH)
    thresholds = Dense(
        2 * WIDTH,
        2 * WIDTH,
        activation_function=torch.nn.ReLU(),
        init_weight=torch.eye(2 * WIDTH),
        init_bias=torch.cat([torch.zeros(WIDTH), torch.full((WIDTH,), -0.95)]),
    )
    joined = Dense(
        2 * WIDTH,
        WIDTH,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=torch.cat([eye, 10 * eye], dim=1),
    )
    embedding = StaticEmbedding(tokenizer, torch.tensor(np.stack(list(vectors.values())), dtype=torch.float32))
    return SentenceTransformer(modules=[embedding, thresholds, joined], device="cpu")


def scaled(model, factor):
    """The model with the weights of its first layer scaled."""
    other = deepcopy(model)
    with torch.no_grad():
        other[1].linear.weight *= factor
    return other


def evaluate(model, cache, *, name="a/names", revision="r1", subsets=SUBSETS):
    """Results of a model, as `mteb run` writes them."""
    wrapper = SentenceTransformerEncoderWrapper(model, device="cpu")
    wrapper.mteb_model_meta = wrapper.mteb_model_meta.model_copy(update={"name": name, "revision": revision})
    task = mteb.get_task(TASK, hf_subsets=subsets)
    options = {"co2_tracker": False, "show_progress_bar": False}
    mteb.evaluate(wrapper, task, cache=mteb.ResultCache(cache), **options)
    return find_results(str(cache), cache, [TASK])


@pytest.mark.long
def test_a_layer_scaled_by_nine_tenths_is_caught(retriever, tmp_path):
    """Guards against a guard that lets a damaged layer pass, or that names languages which it does not hurt."""
    damaged = scaled(retriever, 0.9)
    sides = [evaluate(retriever, tmp_path / "intact"), evaluate(damaged, tmp_path / "damaged", revision="r2")]
    [comparison] = compare_models(sides[0], sides[1:], metrics=["ndcg_at_10"], groups={})
    worse = {row.name for row in regressions(comparison, 0.5, "ndcg_at_10")}
    assert worse == {"som-eng", "all"}
    rows = {row.name: row for row in comparison.rows}
    assert rows["som-eng"].significance.adjusted < 0.05
    for untouched in ("por-eng", "swh-eng"):
        found = rows[untouched].significance
        assert (rows[untouched].difference, found.wins, found.losses) == (0, 0, 0)
        assert 0.2 < rows[untouched].baseline < 1

    file = tmp_path / "expected.yaml"
    entry = {"commands": [f"mteb run -m a/names -t {TASK}"], "model": "a/names", "task": TASK, "tolerance": 0.001}
    new = Expectation(name="names", scores={subset: {"ndcg_at_10": None} for subset in SUBSETS}, **entry)
    [outcome] = check([new], run=lambda _, folder: evaluate(retriever, folder / "results"))
    file.write_text("- name: names\n  commands: [mteb run]\n  model: m\n  task: t\n  tolerance: 0\n  scores: {s: {}}\n")
    write_expected(file, [outcome.made])
    for model, expected in ((retriever, {"met"}), (damaged, {"met", "miss"})):
        [outcome] = check(read_expected(file), run=lambda _, folder, model=model: evaluate(model, folder / "results"))
        assert {found.verdict for found in outcome.findings} == expected
    assert [found.subset for found in outcome.findings if found.verdict == "miss"] == ["som-eng"]
