"""Scores of a study, against mteb's own on the same queries and documents."""

import mteb
import pytest
import torch
from mteb.models.sentence_transformer_wrapper import MultiVectorWrapper, SentenceTransformerEncoderWrapper

from optical_mteb.bases import as_late_interaction
from optical_mteb.study.evaluation import METRICS, evaluate, reduce
from optical_mteb.study.jobs import load_task
from optical_mteb.study.settings import TaskSettings

pytestmark = pytest.mark.usefixtures("registered")


def test_scores_are_mtebs(tiny_model):
    """Guards against prompts, orders, documents or queries that are not all of those of a stock evaluation."""
    settings = TaskSettings(name="CLDRNameRetrieval", subsets=["swh-eng"])
    models = [SentenceTransformerEncoderWrapper(tiny_model()) for _ in range(2)]
    found = evaluate(models[0], [settings], batch_size=16)["CLDRNameRetrieval"]
    [expected] = mteb.evaluate(models[1], load_task(settings), cache=None, co2_tracker=False).task_results
    for row in expected.scores["test"]:
        for metric in METRICS:
            by_query = found[row["hf_subset"]][metric]
            assert by_query.keys() == row["per_query"][metric].keys()
            assert sum(by_query.values()) / len(by_query) == pytest.approx(row[metric], abs=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("late", [False, True])
def test_scores_in_a_lower_precision(tiny_model, late):
    """Guards against a precision that is not used, that changes the ranking, or that stays with the caller's model."""
    model = tiny_model()
    wrapper = MultiVectorWrapper(as_late_interaction(model)) if late else SentenceTransformerEncoderWrapper(model)
    settings = TaskSettings(name="CLDRNameRetrieval", subsets=["swh-eng"], queries=40)
    found = [
        evaluate(wrapper, [settings], batch_size=16, precision=precision)["CLDRNameRetrieval"]["swh-eng"]["map_at_100"]
        for precision in (torch.float32, torch.bfloat16)
    ]
    full, low = ([scores[query] for query in sorted(scores)] for scores in found)
    assert low != full
    assert sum(low) / len(low) == pytest.approx(sum(full) / len(full), abs=0.02)
    assert {weight.dtype for weight in wrapper.model.parameters()} == {torch.float32}


@pytest.mark.long
def test_documents_are_read_once(tiny_model, monkeypatch):
    """Guards against a corpus that is encoded for every language that asks it."""
    from optical_mteb.index.encoder import Encoder

    read = []
    documents = Encoder.documents
    monkeypatch.setattr(
        Encoder,
        "documents",
        lambda self, texts, precision: read.append(len(texts)) or documents(self, texts, precision),
    )
    settings = TaskSettings(
        name="CLDRNameRetrieval", subsets=["swh-eng", "som-eng", "fra-eng"], queries=5, documents=60
    )
    evaluate(SentenceTransformerEncoderWrapper(tiny_model()), [settings], batch_size=16)
    assert read == [60]


def test_the_same_queries_are_left_everywhere():
    """Guards against queries that are no translations of one another, lost right answers, and corpora that differ."""
    settings = TaskSettings(name="CLDRNameRetrieval", subsets=["swh-eng", "fra-eng"], queries=20, documents=50)
    whole, part = load_task(settings), load_task(settings)
    whole.load_data()
    part.load_data()
    reduce(part, settings)
    corpora = []
    for subset in settings.subsets:
        before, after = whole.dataset[subset]["test"], part.dataset[subset]["test"]
        kept = list(after["queries"]["id"])
        assert len(kept) == 20
        assert after["relevant_docs"] == {name: before["relevant_docs"][name] for name in kept}
        assert {name for found in after["relevant_docs"].values() for name in found} <= set(after["corpus"]["id"])
        corpora.append(list(after["corpus"]["id"]))
    assert corpora[0] == corpora[1]
    assert len(corpora[0]) == 50
    ids = [set(part.dataset[subset]["test"]["queries"]["id"]) for subset in settings.subsets]
    published = set.intersection(*(set(whole.dataset[subset]["test"]["queries"]["id"]) for subset in settings.subsets))
    assert len(ids[0] & ids[1]) > 20 * len(published) / 400
