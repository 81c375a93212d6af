"""Rank distillation against hand-computed divergences; banks, and the readings that terms are compared with."""

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax

from optical_mteb.bitext.passages import passages
from optical_mteb.errors import InputError
from optical_mteb.training import teacher_reading
from optical_mteb.training.losses import (
    Bank,
    CombinedLoss,
    ContrastiveDistillationLoss,
    DocumentRankDistillationLoss,
    EnglishAnchorLoss,
    RankDistillationLoss,
)
from optical_mteb.training.losses.contrastive import maxsim, maxsim_of_chosen
from optical_mteb.training.models import load_models
from optical_mteb.training.recipe import RankTerm, read_recipe
from optical_mteb.training.teacher_cache import CacheKey, TeacherCache
from optical_mteb.training.teacher_reading import BANK_TOKENS, bank_texts, read_bank, read_banks
from optical_mteb.training.trainer import by_column
from tests.training.conftest import bitext, collator, handmade, recipe_tables

TEXTS = ["good morning", "a red house", "water", "the sun", "rain and wind", "bread"]


def bank_of(model, texts=TEXTS):
    features = model.preprocess(texts)
    output = model(dict(features))
    kept = {
        "token_embeddings": output["token_embeddings"].detach(),
        "content_mask": features["attention_mask"].bool(),
        "sentence_embedding": output["sentence_embedding"].detach(),
        "input_ids": features["input_ids"],
    }

    def features_of(chosen):
        rows = torch.tensor([texts.index(text) for text in chosen])
        return {name: value[rows] for name, value in kept.items()}

    return Bank(texts, kept["sentence_embedding"], features_of)


def unit(values):
    values = values.double().numpy()
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_value_and_gradient_by_hand(models):
    """Guards against a wrong divergence or gradient: KL from the teacher's score distribution to the student's."""
    bank = bank_of(models[1])
    student, teacher = handmade([1, 2, 3], 0, 32), handmade([1, 2, 3, 4, 1], 1, 32)
    moving = student.sentence.clone().requires_grad_()
    loss = RankDistillationLoss(*models, bank, temperature=0.1)
    value = loss.compute_loss_from_encoded(student._replace(sentence=moving), teacher)
    value.backward()
    documents = unit(bank.embeddings)
    wanted = softmax(unit(teacher.sentence[:3]) @ documents.T / 0.1, axis=1)

    def by_hand(moved):
        return rel_entr(wanted, softmax(unit(moved) @ documents.T / 0.1, axis=1)).sum(1).mean()

    assert value.item() == pytest.approx(by_hand(student.sentence), abs=1e-5)
    for place in [(0, 0), (1, 7), (2, 31)]:
        shift = torch.zeros(3, 32).double()
        shift[place] = 1e-5
        slope = (by_hand(student.sentence.double() + shift) - by_hand(student.sentence.double() - shift)) / 2e-5
        assert moving.grad[place].item() == pytest.approx(slope, rel=1e-3, abs=1e-5)
    assert loss.compute_loss_from_encoded(teacher, teacher).item() == pytest.approx(0, abs=1e-6)
    assert loss.diagnostics() == {"rank_agreement": 1.0}


def test_candidates_and_maxsim_by_hand(models):
    """Guards against candidates that miss the teacher's best, and MaxSim of a query with another query's documents."""
    bank = bank_of(models[1])
    student, teacher = handmade([1, 2], 0, 32), handmade([1, 2], 1, 32)
    loss = RankDistillationLoss(*models, bank, temperature=0.1, score="maxsim", candidates=4)
    scores = torch.from_numpy(unit(teacher.sentence) @ unit(bank.embeddings).T).float()
    chosen = loss._candidates(scores)
    assert [len(set(row)) for row in chosen.tolist()] == [4, 4]
    assert (chosen[:, :2] == scores.topk(2).indices).all()
    documents, among = bank.tokens(chosen)
    assert [TEXTS[place] for place in chosen[0]] == [TEXTS[place] for place in chosen.unique()[among[0]]]
    moving = student._replace(tokens=student.tokens.clone().requires_grad_())
    (own,) = maxsim_of_chosen([moving], documents, among)
    expected = maxsim(moving, documents).gather(1, among)
    torch.testing.assert_close(own, expected)
    slopes = [torch.autograd.grad(scores.square().sum(), moving.tokens) for scores in (own, expected)]
    torch.testing.assert_close(*slopes)
    torch.manual_seed(0)
    value = loss.compute_loss_from_encoded(student, teacher)
    torch.manual_seed(0)
    documents, among = bank.tokens(loss._candidates(scores))
    wanted, scored = (
        softmax(maxsim(side, documents).gather(1, among).double().numpy() / 0.1, axis=1) for side in (teacher, student)
    )
    assert value.item() == pytest.approx(rel_entr(wanted, scored).sum(1).mean(), abs=1e-5)


def test_what_a_rank_loss_refuses(models, tiny_model):
    """Guards against a bank of another width, of one text, or without tokens where MaxSim needs them."""
    bank = bank_of(models[1])
    for broken, message in (
        (lambda: RankDistillationLoss(*models, bank_of(tiny_model(hidden=16))), "encode the bank with this teacher"),
        (lambda: RankDistillationLoss(*models, bank, candidates=1), "expected 2 or more"),
        (lambda: RankDistillationLoss(*models, bank, score="dot"), "expected cosine or maxsim"),
        (lambda: Bank(["one"], torch.zeros(1, 32)), "expected two texts or more"),
        (lambda: Bank(TEXTS, bank.embeddings).tokens(torch.tensor([0])), "sentence embeddings alone"),
    ):
        with pytest.raises(ValueError, match=message):
            broken()


def test_margin_leaves_out_what_the_teacher_finds_alike(models):
    """Guards against English sentences that say nearly the same being told apart."""
    student, teacher = handmade([1, 2, 4], 0, 32), handmade([1, 2, 4], 1, 32)
    near = teacher.sentence.clone()
    near[1] = near[0] + 0.01
    teacher = teacher._replace(sentence=near, ids=torch.arange(12).reshape(3, 4))
    plain, margin = (ContrastiveDistillationLoss(*models, margin=margin) for margin in (None, 0.1))
    scores = torch.from_numpy(unit(student.sentence) @ unit(near).T) / 0.02
    kept = scores.clone()
    kept[0, 1] = kept[1, 0] = -torch.inf
    for loss, expected in ((plain, scores), (margin, kept)):
        value = torch.nn.functional.cross_entropy(expected, torch.arange(3)).item()
        assert loss.compute_loss_from_encoded(student, teacher).item() == pytest.approx(value, abs=1e-4)


def test_each_term_is_compared_with_its_reading(models):
    """Guards against a query that is compared with the document reading, and a document read as a query."""
    student, teacher = models
    terms = {
        "rank": RankDistillationLoss(*models, bank_of(teacher), temperature=0.1),
        "contrastive": ContrastiveDistillationLoss(*models),
        "anchor": EnglishAnchorLoss(student, teacher),
        "rank_documents": DocumentRankDistillationLoss(*models, bank_of(teacher), temperature=0.1),
    }
    loss = CombinedLoss(student, teacher, {name: (1.0, term) for name, term in terms.items()}, {"rank": "query"})
    prompts = {"english": "passage: ", "asked": "query: ", "translation": "query: ", "document": "passage: "}
    collate = collator(student, teacher, prompts, readings=loss.readings, documents=True)
    rows = [{"english": "good morning", "translation": "habari"}, {"english": "water", "translation": "maji"}]
    columns = by_column(collate(rows))
    assert set(columns) == {"english", "asked", "translation", "document"}
    targets = loss.targets(columns)
    values = loss.weighted_terms(columns, targets)

    def read(model, texts, prompt):
        encode = loss.encode_student if model is student else loss.encode_teacher
        return encode(model.preprocess(texts, prompt=prompt))

    english, translations = ["good morning", "water"], ["habari", "maji"]
    asked, documents = read(teacher, english, "query: "), read(teacher, english, "passage: ")
    queries = read(student, translations, "query: ")
    expected = {
        "rank": terms["rank"].compute_loss_from_encoded(queries, asked),
        "contrastive": terms["contrastive"].compute_loss_from_encoded(queries, documents),
        "anchor": terms["anchor"].compute_loss_from_encoded(read(student, english, "passage: "), documents),
        "rank_documents": terms["rank_documents"].compute_loss_from_encoded(
            read(student, translations, "passage: "), documents
        ),
    }
    assert {name: value.item() for name, value in values.items()} == pytest.approx(
        {name: value.item() for name, value in expected.items()}, abs=1e-5
    )
    assert loss.get_config_dict()["rank"] == {
        "weight": 1.0, "target": "query", "temperature": 0.1, "score": "cosine", "candidates": "all", "bank": 6
    }  # fmt: skip


def documents(**numbers):
    """Sentences of documents, by the numbers that they have there."""
    return bitext(
        [(f"{name} says {n}", f"swh {n}", "swh", f"{name}:{n}") for name, own in numbers.items() for n in own]
    )


def test_passages_are_consecutive_sentences():
    """Guards against passages across documents or gaps, a sentence in two of them, and one-sided joins."""
    found = passages(documents(a=[1, 2, 3, 5, 6], b=[7, 8, 9, 10, 11]), shortest=2, longest=3, seed=3)
    assert {pair.id.partition(":")[0] for pair in found} == {"a", "b"}
    used = []
    for pair in found:
        first, last = map(int, pair.id.partition(":")[2].split("-"))
        name = pair.id.partition(":")[0]
        assert pair.english == " ".join(f"{name} says {n}" for n in range(first, last + 1))
        assert pair.translation == " ".join(f"swh {n}" for n in range(first, last + 1))
        assert 2 <= last - first + 1 <= 3
        used += range(first, last + 1)
    assert len(used) == len(set(used))
    assert 4 not in used
    assert passages(bitext([("a", "b", "swh")] * 9)) == []
    with pytest.raises(InputError, match="expected 2 or more"):
        passages([], shortest=3, longest=2)


def test_bank_texts_and_their_embeddings(tiny_model, monkeypatch):
    """Guards against repeated texts, a bank beyond its size or the memory, and embeddings of another text."""
    corpus = documents(a=range(1, 13))
    sentences, texts = [pair.english for pair in corpus], bank_texts(corpus, RankTerm(), seed=1)
    assert texts[:12] == sentences
    assert all(text.count("says") in (3, 4, 5) for text in texts[12:])
    assert bank_texts(corpus, RankTerm(bank="sentences"), seed=1) == sentences
    assert bank_texts(corpus, RankTerm(bank="passages"), seed=1) == texts[12:]
    few = bank_texts(corpus, RankTerm(bank_size=5), seed=1)
    assert len(set(few)) == 5
    assert set(few) < set(texts)
    teacher = tiny_model(seed=2)
    for tokens in (True, False):
        cache = TeacherCache(teacher, CacheKey(revision="r", prompt="passage: ", max_tokens=64, tokens=tokens))
        assert cache.ensure(texts) == len(texts)
        bank = read_bank(texts, cache, 32, tokens=tokens)
        direct = teacher.encode(texts, prompt="passage: ", convert_to_tensor=True)
        torch.testing.assert_close(bank.embeddings, direct, atol=1e-3, rtol=0)
    numbered = bitext([("x", "y", "swh")])
    with pytest.raises(InputError, match="no record of the bitext names its document"):
        bank_texts(numbered, RankTerm(bank="passages"), seed=1)
    monkeypatch.setattr(teacher_reading, "free_memory", lambda: 1000)
    with pytest.raises(InputError, match="set bank_size to 3 or less"):
        read_bank(texts, cache, 32, tokens=False)


def test_a_bank_reads_no_more_than_the_teacher_can(tiny_base, own_home):
    """Guards against a torch error in the place of a cut where a passage is longer than the teacher's positions."""
    corpus = bitext([(f"{'far ' * number}{number}", "mbali", "swh", f"d:{number}") for number in range(30, 40)])
    tables = recipe_tables(tiny_base, training={"steps": 1}, objective={"rank": {}})
    recipe = read_recipe(tables)
    models = load_models(recipe, corpus, device="cpu", say=str)
    assert models.teacher.tokenizer.model_max_length < BANK_TOKENS
    bank = read_banks(recipe, models, corpus, str)["rank"]
    assert torch.isfinite(bank.embeddings).all()
    assert len(bank.texts) > len(corpus)
