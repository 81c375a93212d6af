"""Batches of all kinds of examples: what each model reads, the loss by hand, and its parts."""

from functools import partial

import numpy as np
import ot
import pytest
import torch
from sentence_transformers import SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss
from torch.nn.functional import cosine_similarity

from optical_mteb.training.losses import (
    CombinedLoss,
    ContrastiveDistillationLoss,
    EnglishAnchorLoss,
    OpticalLoss,
    TransportContrastiveLoss,
)
from optical_mteb.training.losses.encoding import encode, special_token_ids
from optical_mteb.training.trainer import DistillationCollator, DistillationTrainer, by_column, parts_of, rows_of
from tests.training.conftest import collator

PROMPTS = {"english": "passage: ", "translation": "query: ", "partner": "passage: "}
# Monolingual, cross-lingual and multilingual rows; one sentence stands in four of them, of each kind.
ROWS = [
    {"english": "good morning", "translation": "habari ya asubuhi", "partner": "subax wanaagsan"},
    {"english": "the house is red", "translation": "nyumba ni nyekundu"},
    {"english": "good morning", "translation": "magandang umaga po sa inyong lahat"},
    {"english": "water", "translation": "water"},
    {"english": "a red house by the water", "translation": "nyumba", "partner": "isang pulang bahay sa tabi ng tubig"},
    {"english": "good morning", "translation": "good morning"},
    {"english": "good morning", "translation": "subax wanaagsan", "partner": "habari ya asubuhi"},
]
IN_ORDER = [1, 2, 3, 5, 0, 4, 6]
"""The rows as the collator orders them: those with a partner last."""

TERMS = {
    "optical": partial(OpticalLoss, epsilon=0.1, iterations=2000),
    "layers": partial(OpticalLoss, layers=[-1, -2]),
    "centred": partial(OpticalLoss, center=True),
    "contrastive": partial(ContrastiveDistillationLoss, temperature=0.1),
    "maxsim": partial(ContrastiveDistillationLoss, temperature=0.1, score="maxsim"),
    "transport_contrastive": partial(TransportContrastiveLoss, temperature=0.1),
    "sentence": lambda student, teacher: EmbedDistillLoss(student),
    "anchor": EnglishAnchorLoss,
}


def loss_of(models, *names, weight=1.0):
    return CombinedLoss(*models, {name: (weight, TERMS[name](*models)) for name in names})


def terms_of(loss, columns):
    return loss.weighted_terms(columns, loss.targets(columns))


def alone(model, text, column):
    """Content tokens and sentence embedding of one text, read on its own, float64."""
    with torch.no_grad():
        encoded = encode(model, model.preprocess([text], prompt=PROMPTS[column]), special_token_ids(model))
    return encoded.tokens[0, encoded.content[0]].double(), encoded.sentence[0].double()


def by_hand(student, teacher):
    """Student's reading and target of each row in the order given: tokens and sentence embeddings."""
    own = [alone(student, row["translation"], "translation") for row in ROWS]
    wanted = [
        alone(student, row["partner"], "partner") if "partner" in row else alone(teacher, row["english"], "english")
        for row in ROWS
    ]
    return own, wanted


def negatives(row):
    """Rows that say something else, and the row itself."""
    return [other for other in range(len(ROWS)) if other == row or ROWS[other]["english"] != ROWS[row]["english"]]


def contrast_by_hand(scores, temperature=0.1):
    losses = []
    for row in range(len(ROWS)):
        kept = np.exp(scores[row, negatives(row)] / temperature)
        losses.append(-np.log(np.exp(scores[row, row] / temperature) / kept.sum()))
    return np.mean(losses)


def transport_by_hand(own, other, epsilon, **options):
    cost = ot.dist(own.numpy(), other.numpy(), metric="cosine")
    uniform = [np.full(size, 1 / size) for size in cost.shape]
    return (ot.sinkhorn(*uniform, cost, epsilon, **options) * cost).sum()


def unit(vectors):
    return torch.nn.functional.normalize(vectors, dim=-1)


def test_what_the_teacher_reads(models):
    """Guards against English that is read, or looked up, for rows whose target is a partner, and in another order."""
    student, teacher = models
    asked = []

    def preprocess(texts, **options):
        asked.append((texts, options.get("prompt")))
        return teacher.preprocess(texts, **options)

    class Cache:
        def features(self, texts):
            asked.append((texts, "of the cache"))
            return {"input_ids": torch.zeros(len(texts), 1)}

    partners = [row for row in ROWS if "partner" in row]
    english = [ROWS[row]["english"] for row in IN_ORDER[:4]]
    for caches, prompt in (({}, "passage: "), ({"document": Cache()}, "of the cache")):
        collate = DistillationCollator(
            student.preprocess, teacher_preprocess_fn=preprocess, prompts=PROMPTS, teacher_caches=caches
        )
        asked.clear()
        assert set(by_column(collate(ROWS))) == {"english", "translation", "partner"}
        # Without a prompt, the length of the prompt itself is counted.
        assert [read for read in asked if read[1]] == [(english, prompt)]
        asked.clear()
        assert set(by_column(collate(partners))) == {"translation", "partner"}
        assert asked == []


def test_a_mixed_batch_by_hand(models):
    """Guards against rows that meet another row's target, padding that counts, and terms of another mean than over all rows.

    And against a forward pass for every term: the student reads translations, partners and English, the teacher English.
    """
    student, teacher = models
    columns = by_column(collator(student, teacher, PROMPTS)(ROWS))
    names = ("optical", "contrastive", "maxsim", "transport_contrastive", "sentence", "anchor")
    passes = []
    hooks = [model.register_forward_hook(lambda model, *_: passes.append(model)) for model in models]
    values = terms_of(loss_of(models, *names, weight=0.5), columns)
    for hook in hooks:
        hook.remove()
    assert (passes.count(student), passes.count(teacher)) == (3, 1)
    own, wanted = by_hand(student, teacher)
    pairs = list(zip(own, wanted, strict=True))
    cosines = np.array([[cosine_similarity(s, t, dim=0).item() for _, t in wanted] for _, s in own])
    maxsims = np.array([[(unit(s) @ unit(t).T).amax(1).mean().item() for t, _ in wanted] for s, _ in own])
    costs = np.array(
        [[transport_by_hand(s, t, 0.05, numItermax=20, stopThr=0, warn=False) for t, _ in wanted] for s, _ in own]
    )
    drifts = [
        1 - cosine_similarity(alone(student, row["english"], "english")[0], target[0], dim=-1).mean().item()
        for row, (_, target) in zip(ROWS, pairs, strict=True)
        if "partner" not in row
    ]
    expected = {
        "optical": np.mean([transport_by_hand(s, t, 0.1, stopThr=1e-12) for (s, _), (t, _) in pairs]),
        "contrastive": contrast_by_hand(cosines),
        "maxsim": contrast_by_hand(maxsims),
        "transport_contrastive": contrast_by_hand(-costs),
        "sentence": np.mean(1 - cosines.diagonal()),
        # The mean over all rows; those with a partner have no English to hold.
        "anchor": sum(drifts) / len(ROWS),
    }
    assert len(drifts) == 4
    assert set(values) == set(names)
    for name in names:
        assert values[name].item() == pytest.approx(0.5 * expected[name], rel=1e-3, abs=2e-5), name


@pytest.mark.parametrize("kind", ["english", "partner"])
def test_batches_of_one_kind(models, kind):
    """Guards against a failure on a batch that lacks a column: without partners or English, it is a mixed batch's loss by rows."""
    student, teacher = models
    chosen = [row for row in ROWS if ("partner" in row) == (kind == "partner")]
    columns = by_column(collator(student, teacher, PROMPTS)(chosen))
    assert set(columns) == {"translation", kind}
    values = terms_of(loss_of(models, "optical", "sentence", "anchor", "contrastive"), columns)
    assert ("anchor" in values) == (kind == "english")
    pairs = [
        pair for pair, row in zip(zip(*by_hand(student, teacher), strict=True), ROWS, strict=True) if row in chosen
    ]
    optical = np.mean([transport_by_hand(s, t, 0.1, stopThr=1e-12) for (s, _), (t, _) in pairs])
    sentence = np.mean([1 - cosine_similarity(s, t, dim=0).item() for (_, s), (_, t) in pairs])
    assert values["optical"].item() == pytest.approx(optical, abs=2e-5)
    assert values["sentence"].item() == pytest.approx(sentence, abs=2e-5)
    sum(values.values()).backward()


def test_partners_are_read_without_gradient_or_dropout(models):
    """Guards against a student that moves its targets to itself, noise in them, and a student left in eval mode."""
    student, teacher = models
    columns = by_column(collator(student, teacher, PROMPTS)(ROWS))
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    loss = loss_of(models, "layers", "contrastive").train()
    first, second = loss.targets(columns), loss.targets(columns)
    assert torch.equal(first["document"].tokens, second["document"].tokens)
    assert student.training
    for tensor in (first["document"].tokens, first["document"].sentence, *first["document"].hidden.values()):
        assert not tensor.requires_grad
    once, again = (loss.weighted_terms(columns, first)["layers"].item() for _ in range(2))
    assert once != again, "the student's own rows are read with dropout"
    student.eval()
    loss.targets(columns)
    assert not student.training


def gradients(student):
    return {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("for_own", ["passage: ", "", "query: "])
def test_english_is_read_as_a_document(models, for_own):
    """Guards against a monolingual row that is read as a query, and content tokens that a prompt of another length moves."""
    student, teacher = models
    columns = by_column(collator(student, teacher, {**PROMPTS, "monolingual": for_own})(ROWS))["translation"]
    special = special_token_ids(student)
    with torch.no_grad():
        found = encode(student, columns, special)
        for place, row in enumerate(IN_ORDER):
            text = ROWS[row]["translation"]
            prompt = for_own if text == ROWS[row]["english"] else PROMPTS["translation"]
            alone = encode(student, student.preprocess([text], prompt=prompt or None), special)
            width = alone.ids.shape[1]
            assert found.ids[place, :width].tolist() == alone.ids[0].tolist()
            assert found.content[place, :width].tolist() == alone.content[0].tolist()
            torch.testing.assert_close(found.sentence[place], alone.sentence[0])


@pytest.mark.parametrize("most", [None, 1, 7, 12, 30, 1000])
@pytest.mark.parametrize("lengths", [[5], [3, 3, 4, 9, 9], [9, 1, 1, 1, 1, 1, 1, 1, 6], list(range(1, 33))])
def test_parts_keep_to_their_tokens(lengths, most):
    """Guards against a row that is lost or read twice, a part over the limit, and one that would have held the next row, too."""
    parts = parts_of(lengths, most)
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(len(lengths)))
    if most is None:
        assert len(parts) == 1
        return
    for number, part in enumerate(parts):
        rows = lengths[part]
        assert len(rows) == 1 or len(rows) * max(rows) <= most
        if number + 1 < len(parts):
            more = lengths[part.start : part.stop + 1]
            assert len(more) * max(more) > most


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_part_is_not_padded_to_the_batch(models, side):
    """Guards against a part that carries the padding of a longer row elsewhere, or loses a token with it."""
    student, teacher = models
    student.tokenizer.padding_side = side
    columns = by_column(collator(student, teacher, PROMPTS)(ROWS))
    for part in (slice(0, 2), slice(1, 2), slice(2, 7)):
        read = rows_of(columns, part)["translation"]
        counts = columns["translation"]["attention_mask"][part].sum(1)
        assert read["input_ids"].shape == read["attention_mask"].shape == (part.stop - part.start, counts.max())
        assert read["attention_mask"].sum(1).tolist() == counts.tolist()
        kept = columns["translation"]["input_ids"][part][columns["translation"]["attention_mask"][part].bool()]
        assert torch.equal(read["input_ids"][read["attention_mask"].bool()], kept)


@pytest.mark.long
@pytest.mark.parametrize("size", [1, 3])
def test_the_trainer_adds_up_the_parts(models, tmp_path, size):
    """Guards against a step that depends on the memory it is given: parts with other negatives, targets, weights or logs."""
    student, teacher = models
    found, longest = [], 0
    for rows in (None, size):
        student.zero_grad()
        trainer = DistillationTrainer(
            student,
            teacher,
            loss_of(models, *TERMS),
            args=SentenceTransformerTrainingArguments(str(tmp_path), use_cpu=True, report_to="none", prompts=PROMPTS),
            sampler=None,
            examples=None,
            mini_batch_tokens=rows and rows * longest,
        )
        batch = trainer.data_collator(ROWS)
        longest = batch["translation_input_ids"].shape[1]
        value = trainer.training_step(student, batch)
        logged = {key: term.item() for key, term in trainer.accum_loss_components["train"].items()}
        assert logged.pop("steps") == 1
        assert sum(logged.values()) == pytest.approx(value.item(), abs=1e-5)
        found.append(({"loss": value.item(), **logged}, gradients(student)))
    (values, whole), (parts, added) = found
    assert parts == pytest.approx(values, rel=1e-4)
    assert added.keys() == whole.keys()
    for key, gradient in whole.items():
        torch.testing.assert_close(added[key], gradient, rtol=1e-3, atol=1e-6, msg=key)
