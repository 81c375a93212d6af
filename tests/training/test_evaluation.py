"""Dev scores against sentence-transformers, POT and loops over single sentences."""

import random

import numpy as np
import ot
import pytest
import torch

from optical_mteb.training.evaluation import DevEvaluator, DevScores, accuracy
from optical_mteb.training.models import Models
from tests.training.conftest import bitext

ENGLISH = ["water", "good morning", "the house is red", "wash your hands", "stay at home today", "he is ill", "fever"]
SWAHILI = ["maji", "habari ya asubuhi", "nyumba ni nyekundu", "nawa mikono", "kaa nyumbani leo", "ni mgonjwa", "homa"]
SOMALI = ["biyo", "subax wanaagsan", "guriga waa cas", "gacmaha dhaq", "guriga joog maanta", "wuu xanuunsan yahay"]
PROMPTS = {"translation": "query: ", "english": "passage: ", "teacher": "doc - "}
NONE = dict.fromkeys(PROMPTS, "")


def corpus(**languages):
    return bitext([(e, t, code) for code, texts in languages.items() for e, t in zip(ENGLISH, texts, strict=False)])


def evaluator(models, dev, prompts=NONE, kind="dense", **options):
    student, teacher = models
    student.prompts = {"document": prompts["english"]}
    read = Models(student, teacher, "", "", prompts["translation"], prompts["teacher"])
    return DevEvaluator(read, dev, kind=kind, **options)


def content_tokens(model, text, prompt=""):
    """The tokens of one sentence read alone: without [CLS], those of the prompt, and [SEP]."""
    ahead = 1 + len(model.tokenizer(prompt, add_special_tokens=False)["input_ids"])
    return model.encode(text, prompt=prompt or None, output_value="token_embeddings")[ahead:-1].double().numpy()


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def pot_cost(own, taught):
    """<T, C> of two sentences' tokens, by POT."""
    cost = ot.dist(own, taught, metric="cosine")
    plan = ot.sinkhorn(ot.unif(len(own)), ot.unif(len(taught)), cost, 0.05, stopThr=1e-12)
    return (plan * cost).sum()


def found(scores):
    """Share of rows whose diagonal entry is above all others."""
    return np.mean([all(row[i] > s for j, s in enumerate(row) if j != i) for i, row in enumerate(scores)])


def test_dense_accuracies_are_those_of_sentence_transformers(models):
    """Guards against a direction mixed up, pairs that lose each other when sorted by length, and languages that see each other."""
    from sentence_transformers.sentence_transformer.evaluation import TranslationEvaluator

    languages = {"som": SOMALI, "swh": SWAHILI}
    scores = evaluator(models, corpus(**languages), batch_size=2)()
    seen = set()
    for code, texts in languages.items():
        stock = TranslationEvaluator(ENGLISH[: len(texts)], texts, write_csv=False)(models[0])
        assert scores.accuracy_from_english[code] == pytest.approx(stock["src2trg_accuracy"])
        assert scores.accuracy_to_english[code] == pytest.approx(stock["trg2src_accuracy"])
        seen |= {stock["src2trg_accuracy"], stock["trg2src_accuracy"]}
    assert len(seen) > 2, "the tiny model must tell the two ways apart"


def test_each_side_has_its_own_prompt(models):
    """Guards against a prompt left out or given to the other side."""
    translation, sought = "9999 8888 ", "xyz: "

    def accuracies(student_prompt, english_prompt):
        own = unit(models[0].encode(SWAHILI, prompt=student_prompt or None))
        english = unit(models[0].encode(ENGLISH, prompt=english_prompt or None))
        return pytest.approx((found(own @ english.T), found(english @ own.T)))

    prompts = {"translation": translation, "english": sought, "teacher": ""}
    scores = evaluator(models, corpus(swh=SWAHILI), prompts, batch_size=3)()
    found_now = scores.accuracy_to_english["swh"], scores.accuracy_from_english["swh"]
    assert found_now == accuracies(translation, sought)
    wrong = [(sought, translation), (translation, translation), (sought, sought), (translation, ""), ("", sought)]
    for mixed_up in wrong:
        assert found_now != accuracies(*mixed_up), "the tiny model must tell the prompts apart"


@pytest.mark.long
@pytest.mark.parametrize("prompts", [NONE, PROMPTS], ids=["plain", "prompts"])
def test_late_interaction_accuracies_are_those_of_maxsim(models, prompts):
    """Guards against MaxSim with the document as the query, over prompt or special tokens, or with blocks in the wrong place."""
    scores = evaluator(models, corpus(swh=SWAHILI), prompts, "late_interaction", batch_size=2)()
    own = [unit(content_tokens(models[0], text, prompts["translation"])) for text in SWAHILI]
    english = [unit(content_tokens(models[0], text, prompts["english"])) for text in ENGLISH]

    def maxsim(queries, documents):
        return [[np.mean([max(d @ t for d in document) for t in query]) for document in documents] for query in queries]

    assert scores.accuracy_to_english["swh"] == pytest.approx(found(maxsim(own, english)))
    assert scores.accuracy_from_english["swh"] == pytest.approx(found(maxsim(english, own)))


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [2, 64])
def test_transport_cost_is_that_of_pot(models, batch_size):
    """Guards against a cost of tokens that must stay out, of another pair's English, or that padding changes."""
    student, teacher = models
    scores = evaluator(models, corpus(swh=SWAHILI, som=SOMALI), PROMPTS, batch_size=batch_size)()
    for code, texts in {"swh": SWAHILI, "som": SOMALI}.items():
        costs = []
        for english, translation in zip(ENGLISH, texts, strict=False):
            own = content_tokens(student, translation, PROMPTS["translation"])
            taught = content_tokens(teacher, english, PROMPTS["teacher"])
            costs.append(pot_cost(own, taught))
        assert scores.transport_cost[code] == pytest.approx(np.mean(costs), abs=1e-4)


def test_a_pair_without_tokens_costs_nothing_and_counts_for_nothing(models):
    """Guards against a mean that a sentence of no content token pulls down."""
    rows = [("water", "maji", "swh"), ("fever", "homa", "swh")]
    full = evaluator(models, bitext(rows))()
    empty = evaluator(models, bitext([*rows, ("he is ill", "\u200b", "swh")]))()
    assert empty.transport_cost["swh"] == pytest.approx(full.transport_cost["swh"], abs=1e-6)


@pytest.mark.parametrize("kind", ["dense", "late_interaction"])
def test_a_collapsed_student_finds_nothing(models, kind):
    """Guards against ties that count as hits: a student that gives all sentences one embedding scores 0, not 1."""
    student, teacher = models
    final = student.transformers_model.encoder.layer[-1].output.LayerNorm
    with torch.no_grad():
        final.weight.zero_()
        final.bias.normal_(generator=torch.Generator().manual_seed(0))
    scores = evaluator((student, teacher), corpus(swh=SWAHILI), kind=kind, batch_size=3)()
    assert scores.mean_accuracy == 0


@pytest.mark.parametrize("kind", ["dense", "late_interaction"])
def test_a_perfect_student_finds_everything(models, kind):
    """Guards against a scale that does not reach 1: the student reads the same text on both sides."""
    assert evaluator(models, bitext([(t, t, "swh") for t in SWAHILI]), kind=kind)().mean_accuracy == 1


def test_pairs_that_share_a_side_are_right_answers(models):
    """Guards against a repeated sentence, or one translation of two sentences, as its own wrong answer."""
    same = [(text, text, "swh") for text in SWAHILI]
    one_translation = [*same, *((f"{text} {text}", text, "swh") for text in SWAHILI)]
    assert evaluator(models, bitext(one_translation))().accuracy_to_english["swh"] == 1
    one_english = [*same, *((f"{text.upper()}!", other, "swh") for text, other in zip(SWAHILI, ENGLISH, strict=True))]
    assert evaluator(models, bitext(one_english))().accuracy_from_english["swh"] == 1


def test_accuracy_of_ties_of_broken_scores_and_of_several_right_answers():
    """Guards against a hit by rounding alone, NaN as a hit, and a miss where another right answer comes first."""
    same = torch.eye(3, dtype=torch.bool)
    scores = torch.tensor([[0.5, 0.5 - 1e-7, 0.1], [0.2, 0.3, 0.1], [0.1, torch.nan, 0.9]])
    assert accuracy(scores, same) == pytest.approx(1 / 3)
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.2, 0.3, 0.4], [0.1, 0.2, 0.9]])
    assert accuracy(scores, same) == pytest.approx(2 / 3)


def test_an_evaluation_leaves_no_trace(models):
    """Guards against a training that evaluation changes: modes, random numbers, weights, gradients, length limits."""
    student, teacher = models
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    student.train()
    before = {name: weight.clone() for name, weight in student.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    limits = student.max_seq_length, teacher.max_seq_length
    graphs = []
    for model in models:
        model.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
    evaluate = evaluator(models, corpus(swh=SWAHILI), PROMPTS, kind="late_interaction")
    scores = evaluate()
    assert not any(graphs)
    assert all(module.training for module in student.modules())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], states[2])
    assert all(torch.equal(weight, before[name]) for name, weight in student.state_dict().items())
    assert all(parameter.grad is None for parameter in student.parameters())
    assert (student.max_seq_length, teacher.max_seq_length) == limits
    assert evaluate() == scores


def test_the_teacher_reads_once_and_the_student_each_time(models):
    """Guards against a teacher that runs at every evaluation, and scores of a student as it was."""
    student, teacher = models
    calls = []
    for model in models:
        model.register_forward_hook(lambda model, *_: calls.append(model))
    evaluate = evaluator(models, corpus(swh=SWAHILI, som=SOMALI))
    first = evaluate()
    assert (calls.count(teacher), calls.count(student)) == (1, 3)
    with torch.no_grad():
        student.transformers_model.embeddings.word_embeddings.weight.normal_()
    assert evaluate() != first
    assert (calls.count(teacher), calls.count(student)) == (1, 6)


def test_texts_are_cut_where_the_trainer_cuts_them(models):
    """Guards against a length limit that the evaluation ignores: words past it change nothing."""
    student, teacher = models
    student.max_seq_length = teacher.max_seq_length = 8
    long = [f"{text[:6].ljust(6, 'a').replace(' ', 'x')} and some more words" for text in SWAHILI]
    cut = [text[:6] for text in long]
    scores = [evaluator(models, corpus(swh=texts))() for texts in (long, cut)]
    assert scores[0].transport_cost["swh"] == pytest.approx(scores[1].transport_cost["swh"], abs=1e-6)
    assert scores[0].accuracy_to_english == scores[1].accuracy_to_english


def test_figures_of_the_log():
    """Guards against a mean weighted by pairs or over one way alone, and names that the log does not expect."""
    scores = DevScores({"som": 0.2, "swh": 0.4}, {"som": 0.6, "swh": 1.0}, {"som": 0.3, "swh": 0.5})
    assert scores.mean_accuracy == pytest.approx(0.55)
    assert scores.figures() == {
        "dev_accuracy": pytest.approx(0.55),
        "dev_transport_cost": pytest.approx(0.4),
        "dev_som_to_english": 0.2,
        "dev_som_from_english": 0.6,
        "dev_som_transport_cost": 0.3,
        "dev_swh_to_english": 0.4,
        "dev_swh_from_english": 1.0,
        "dev_swh_transport_cost": 0.5,
    }
