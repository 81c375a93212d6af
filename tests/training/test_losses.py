"""Losses against POT, finite differences and hand-made tokens; what must stay out of the transport problem."""

from functools import partial

import numpy as np
import ot
import pytest
import torch

from optical_mteb.errors import InputError
from optical_mteb.training.losses import (
    CombinedLoss,
    ContrastiveDistillationLoss,
    EnglishAnchorLoss,
    IdfWeights,
    NormWeights,
    OpticalLoss,
    TransportContrastiveLoss,
)
from optical_mteb.training.losses.contrastive import maxsim
from optical_mteb.training.losses.encoding import content_mask, encode, packed, special_token_ids
from optical_mteb.training.objective import build_loss
from optical_mteb.training.projection import project_tokens
from optical_mteb.training.recipe import ObjectiveSettings
from optical_mteb.transport import cosine_cost, sinkhorn, transport_cost
from tests.training.conftest import collator, handmade

LOSSES = [
    OpticalLoss,
    ContrastiveDistillationLoss,
    partial(ContrastiveDistillationLoss, score="maxsim"),
    TransportContrastiveLoss,
]
ENGLISH = ["good morning", "the house is red", "water"]
SWAHILI = ["habari ya asubuhi", "nyumba ni nyekundu", "maji"]


def features(model, texts, prompt=None):
    return model.preprocess(texts, prompt=prompt)


def test_optical_loss_equals_pot(models):
    """Guards against a wrong value of the loss: it is the mean of <T, C> with T from POT on each pair's own tokens."""
    student, teacher = handmade([3, 5, 1], 0), handmade([4, 2, 6], 1)
    loss = OpticalLoss(*models, epsilon=0.1, iterations=2000).compute_loss_from_encoded(student, teacher)
    expected = []
    for i, (n, m) in enumerate([(3, 4), (5, 2), (1, 6)]):
        s, t = student.tokens[i, :n].double().numpy(), teacher.tokens[i, :m].double().numpy()
        cost = ot.dist(s, t, metric="cosine")
        expected.append((ot.sinkhorn(np.full(n, 1 / n), np.full(m, 1 / m), cost, 0.1, stopThr=1e-12) * cost).sum())
    assert loss.item() == pytest.approx(np.mean(expected), abs=1e-5)


def test_optical_gradient_against_finite_differences(models):
    """Guards against a gradient that is wrong, or that flows through the plan: d<T,C>/ds with T held fixed."""
    student, teacher = handmade([3, 5], 0), handmade([4, 2], 1)
    tokens = student.tokens.clone().requires_grad_()
    OpticalLoss(*models).compute_loss_from_encoded(student._replace(tokens=tokens), teacher).backward()
    plan = sinkhorn(cosine_cost(student.tokens, teacher.tokens), student.content, teacher.content)

    def value(moved):
        a = torch.nn.functional.normalize(moved, dim=-1)
        b = torch.nn.functional.normalize(teacher.tokens.double(), dim=-1)
        return (plan.double() * (1 - a @ b.transpose(1, 2))).sum().item() / 2

    point = student.tokens.double()
    numeric, step = torch.zeros_like(point), 1e-5
    for index in np.ndindex(*point.shape):
        for sign in (1, -1):
            moved = point.clone()
            moved[index] += sign * step
            numeric[index] += sign * value(moved) / (2 * step)
    torch.testing.assert_close(tokens.grad.double(), numeric, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss_class", LOSSES)
def test_teacher_is_frozen_and_the_student_learns(models, loss_class):
    """Guards against a teacher that drifts: no gradient, eval mode under train(), the same weights after a step."""
    student, teacher = models
    before = {name: weight.clone() for name, weight in teacher.state_dict().items()}
    loss = loss_class(student, teacher).train()
    assert student.training
    assert not any(module.training for module in teacher.modules())
    optimizer = torch.optim.SGD([p for p in loss.parameters() if p.requires_grad], lr=1e-3)
    first = loss([features(teacher, ENGLISH), features(student, SWAHILI)])
    first.backward()
    optimizer.step()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in teacher.state_dict().items())
    assert loss([features(teacher, ENGLISH), features(student, SWAHILI)]).item() < first.item()


def test_special_and_prompt_tokens_stay_out(models):
    """Guards against transport of [CLS], [SEP] or the prompt: the content is the text's own tokens, unknown ones included."""
    student, _ = models
    batch = features(student, ["abc", "ab水"], "query: ")
    encoded = encode(student, batch, special_token_ids(student))
    rows = zip(encoded.ids, encoded.content, strict=True)
    kept = [student.tokenizer.convert_ids_to_tokens(row[mask]) for row, mask in rows]
    assert kept == [["a", "##b", "##c"], ["a", "##b", "[UNK]"]]


def test_prompt_tokens_with_left_padding():
    """Guards against a prompt mask by column: with padding on the left the prompt is where the text starts."""
    ids = torch.tensor([[0, 0, 2, 7, 8, 9, 3], [2, 7, 8, 9, 9, 9, 3]])
    mask = content_mask(ids, ids != 0, torch.tensor([0, 2, 3]), 3)
    assert mask.long().tolist() == [[0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1, 0]]


def test_packing_keeps_the_tokens_and_drops_the_rest():
    """Guards against tokens that get lost or change order when the content is moved to the front."""
    encoded = handmade([5, 5], 3)
    content = torch.tensor([[False, True, False, True, False], [False, False, True, False, False]])
    tokens, mask, _ = packed(encoded._replace(content=content))
    assert mask.tolist() == [[True, True], [True, False]]
    assert torch.equal(tokens[0], encoded.tokens[0, [1, 3]])
    assert torch.equal(tokens[1, 0], encoded.tokens[1, 2])


@pytest.mark.parametrize("loss_class", LOSSES)
def test_a_sentence_without_content_is_harmless(models, loss_class):
    """Guards against NaN from an empty translation, and from a batch that has nothing to transport at all."""
    student, teacher = models
    for english, swahili in [(ENGLISH, ["habari", "", "maji"]), (["", "", ""], ["", "", ""])]:
        loss = loss_class(student, teacher)([features(teacher, english), features(student, swahili)])
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize("side", ["student", "teacher"])
def test_an_empty_side_is_no_match_for_the_others(models, side):
    """Guards against zero plans as perfect scores: with one sentence emptied, the contrast is that of the batch without it."""
    student, teacher = handmade([3, 5, 2], 0), handmade([4, 2, 3], 1)
    loss = TransportContrastiveLoss(*models, temperature=0.5)
    emptied = {"student": student, "teacher": teacher}
    content = emptied[side].content & torch.tensor([[True], [False], [True]])
    emptied[side] = emptied[side]._replace(content=content)
    value = loss.compute_loss_from_encoded(emptied["student"], emptied["teacher"]).item()
    costs = loss.transport.all_pairs(student, teacher)[0]
    columns = [0, 2] if side == "teacher" else [0, 1, 2]
    losses = [torch.logsumexp(-costs[i, columns] / 0.5, 0) + costs[i, i] / 0.5 for i in (0, 2)]
    assert value == pytest.approx(torch.stack(losses).mean().item(), abs=1e-5)


def test_an_empty_pair_does_not_dilute_the_loss(models):
    """Guards against a mean over pairs that have no tokens: it is taken over the others."""
    student, teacher = handmade([3, 2], 0), handmade([4, 2], 1)
    empty = student._replace(content=student.content & torch.tensor([[True], [False]]))
    one = [side.rows(slice(1)) for side in (student, teacher)]
    loss = OpticalLoss(*models)
    assert loss.compute_loss_from_encoded(empty, teacher).item() == pytest.approx(
        loss.compute_loss_from_encoded(*one).item(), abs=1e-6
    )


@pytest.mark.parametrize("loss_class", [ContrastiveDistillationLoss, TransportContrastiveLoss])
def test_the_same_english_sentence_is_no_negative(models, loss_class):
    """Guards against false negatives: two languages of one English sentence must not be pushed apart."""
    student, teacher = handmade([3, 3, 3], 0), handmade([4, 4, 4], 1)
    twice = teacher.rows(torch.tensor([0, 0, 2]))
    loss = loss_class(*models, temperature=0.1)
    if loss_class is TransportContrastiveLoss:
        scores = -loss.transport.all_pairs(student, twice)[0] / 0.1
    else:
        scores = (
            torch.nn.functional.cosine_similarity(student.sentence.unsqueeze(1), twice.sentence.unsqueeze(0), dim=-1)
            / 0.1
        )
    kept = [[0, 2], [1, 2], [0, 1, 2]]
    expected = torch.stack(
        [torch.logsumexp(scores[i, others], 0) - scores[i, i] for i, others in enumerate(kept)]
    ).mean()
    assert loss.compute_loss_from_encoded(student, twice).item() == pytest.approx(expected.item(), abs=1e-5)


def test_teacher_with_another_tokenizer(tiny_model):
    """Guards against a loss that needs a shared vocabulary, and a projection to the teacher's width that is not learned."""
    student, teacher = tiny_model(hidden=16), tiny_model(hidden=32, words=("good", "morning", "water"))
    project_tokens(student, 32)
    loss = OpticalLoss(student, teacher)([features(teacher, ENGLISH), features(student, SWAHILI)])
    loss.backward()
    assert student[1].linear.weight.grad.abs().sum() > 0


def test_widths_are_those_of_what_is_compared(tiny_model):
    """Guards against a crash in the first step, and a check of sentence widths for token losses.

    A teacher may narrow its sentences after pooling. sentence-transformers' own loss compares any two tensors.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense

    wide = tiny_model(hidden=64)
    teacher = SentenceTransformer(modules=[wide[0], wide[1], Dense(64, 32)], device="cpu")

    def build(objective, hidden):
        return build_loss(ObjectiveSettings.model_validate({objective: {}}), tiny_model(hidden=hidden), teacher)

    build("contrastive", 32)
    build("optical", 64)
    for objective, kind, own, others in [("optical", "token", 32, 64), ("sentence", "sentence", 64, 32)]:
        message = rf"objective: .*{kind} embeddings are {own} wide and the teacher's {others}.*a projection"
        with pytest.raises(InputError, match=message):
            build(objective, own)


def test_the_first_word_after_a_prompt(tiny_model):
    """Guards against losing the first word, to which byte-level tokenizers join a prompt's blank, whoever reads the text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from optical_mteb.training.explain import align
    from optical_mteb.training.reader import Reader
    from optical_mteb.training.trainer import by_column

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet, special = pre_tokenizers.ByteLevel.alphabet(), ["<pad>", "<s>", "</s>"]
    words = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=special, show_progress=False)
    backend.train_from_iterator(["query: habari yako", "query: maji"] * 9, words)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    students = [tiny_model(seed=seed) for seed in (0, 1)]
    for model in students:
        model[0].processor = PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **names)
        model[0].input_formatter.processor = model[0].processor
        model[0].model.resize_token_embeddings(320)

    def content(encoded):
        return [students[0].tokenizer.decode(own[kept]).strip() for own, kept in zip(*encoded, strict=True)]

    texts = ["habari yako", "maji"]
    for prompt in ("query: ", "query:", ""):
        encoded, _ = Reader(students[0], prompt).read(texts)
        assert content((encoded.ids, encoded.content)) == texts
        loss = OpticalLoss(*students)
        for batch in (texts, texts[:1]):
            features = students[0].preprocess(batch, prompt=prompt or None)
            encoded = loss.encode_student(loss.own_words("translation", features))
            assert content((encoded.ids, encoded.content)) == batch
        prompts = {"english": prompt, "translation": prompt}
        columns = by_column(collator(*students, prompts)([{"english": text, "translation": text} for text in texts]))
        for encoded in (loss.encode_student(columns["translation"]), loss.encode_teacher(columns["english"])):
            assert content((encoded.ids, encoded.content)) == texts
    aligned = align(*students, "maji", "habari yako", student_prompt="query: ", teacher_prompt="query: ")
    assert [word.strip("·") for word in aligned.translation] == ["habari", "yako"]


def test_maxsim_contrast_scores_as_sentence_transformers(models):
    """Guards against a score that is not the late-interaction retriever's: MaxSim over the number of query tokens."""
    from sentence_transformers.util import maxsim as stock

    student, teacher = handmade([3, 5, 1], 0), handmade([4, 2, 6], 1)
    unit = torch.nn.functional.normalize
    queries = [unit(tokens[content], dim=-1) for tokens, content in zip(student.tokens, student.content, strict=True)]
    documents = [unit(tokens[content], dim=-1) for tokens, content in zip(teacher.tokens, teacher.content, strict=True)]
    scores = stock(queries, documents) / torch.tensor([[3], [5], [1]])
    torch.testing.assert_close(maxsim(student, teacher), scores.float())
    loss = ContrastiveDistillationLoss(*models, temperature=0.5, score="maxsim")
    expected = torch.nn.functional.cross_entropy(scores / 0.5, torch.arange(3))
    assert loss.compute_loss_from_encoded(student, teacher).item() == pytest.approx(expected.item(), abs=1e-5)


def test_weights_reach_the_marginals(models):
    """Guards against weights on the wrong tokens: they follow the packed tokens, and <T, C> is that of the weighted problem."""
    student, teacher = handmade([4], 0), handmade([3], 1)
    student = student._replace(content=torch.tensor([[True, False, True, True]]))
    table = torch.rand(1000) + 0.1
    weights = IdfWeights(table)
    loss = OpticalLoss(*models, student_weights=weights, teacher_weights=NormWeights(), iterations=500)
    a = table[student.ids[0, [0, 2, 3]]].double()
    b = teacher.tokens[0].double().norm(dim=-1)
    cost = cosine_cost(student.tokens[:, [0, 2, 3]], teacher.tokens)[0].double()
    plan = ot.sinkhorn((a / a.sum()).numpy(), (b / b.sum()).numpy(), cost.numpy(), 0.05, stopThr=1e-12)
    value = loss.compute_loss_from_encoded(student, teacher).item()
    assert value == pytest.approx((plan * cost.numpy()).sum(), abs=1e-5)


def test_idf_counts_texts_not_tokens(tiny_model):
    """Guards against term frequency in the place of document frequency, and texts that count twice."""
    model = tiny_model()
    table = IdfWeights.count(model, ["aa", "a b", "b", "b"]).table
    a, b, z = model.tokenizer.convert_tokens_to_ids(["a", "b", "z"])
    assert table[a].item() == pytest.approx(np.log(1 + 1.5 / 2.5))
    assert table[b].item() == pytest.approx(np.log(1 + 1.5 / 2.5))
    assert table[z].item() == pytest.approx(np.log(1 + 3.5 / 0.5))


def test_centring_removes_a_common_direction(models):
    """Guards against centring of one side alone: an offset on all tokens of both sides changes nothing."""
    student, teacher = handmade([3, 5], 0), handmade([4, 2], 1)
    offset = 10 * torch.ones(6)
    loss = OpticalLoss(*models, center=True)
    plain = loss.compute_loss_from_encoded(student, teacher)
    moved = [side._replace(tokens=side.tokens + offset) for side in (student, teacher)]
    torch.testing.assert_close(loss.compute_loss_from_encoded(*moved), plain, rtol=1e-3, atol=1e-4)
    assert OpticalLoss(*models).compute_loss_from_encoded(*moved) < 0.1 * plain


def test_several_layers_are_averaged(models):
    """Guards against layers that are mixed up: the cost is the mean over the compared layers' costs, solved once."""
    student, teacher = models
    batch = [features(teacher, ENGLISH), features(student, SWAHILI)]
    loss = OpticalLoss(student, teacher, layers=[-1, -2])
    value = loss(batch).item()
    taught = encode(teacher, batch[0], loss.teacher_special_ids, (-2,))
    own = encode(student, batch[1], loss.special_ids, (-2,))
    s, t = packed(own), packed(taught)
    cost = 0.5 * cosine_cost(s.tokens, t.tokens) + 0.5 * cosine_cost(
        s.gather(own.hidden[-2]), t.gather(taught.hidden[-2])
    )
    expected = transport_cost(sinkhorn(cost, s.mask, t.mask), cost).mean().item()
    assert value == pytest.approx(expected, abs=1e-5)
    assert not torch.equal(own.hidden[-2], own.tokens)


@pytest.mark.parametrize("solver", ["sinkhorn", "ipot", "unbalanced", "exact"])
def test_every_solver_trains(models, solver):
    """Guards against a solver that the loss cannot call, or whose options it passes on wrongly."""
    student, teacher = models
    loss = OpticalLoss(student, teacher, solver=solver)
    loss([features(teacher, ENGLISH), features(student, SWAHILI)]).backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())
    assert loss.get_config_dict()["solver"] == solver


def test_the_anchor_holds_english_alone(tiny_model):
    """Guards against an anchor that reads the translation, or that moves a student that is the teacher still."""
    teacher = tiny_model(seed=1)
    student = tiny_model(seed=1)
    loss = EnglishAnchorLoss(student, teacher)
    batch = [features(teacher, ENGLISH, "passage: "), features(student, SWAHILI)]
    assert loss(batch).item() == pytest.approx(0.0, abs=1e-6)
    moved = tiny_model(seed=2)
    value = EnglishAnchorLoss(moved, teacher)(batch)
    other = [batch[0], features(student, ["kitu kingine", "tofauti", "kabisa"])]
    assert value.item() == pytest.approx(EnglishAnchorLoss(moved, teacher)(other).item())
    assert value.item() > 0.1


def test_figures_of_plans_and_students(models):
    """Guards against figures that say nothing: identical sides give the diagonal, and a sentence is not compared with itself."""
    student, teacher = models
    side = handmade([6, 6], 0)
    loss = OpticalLoss(*models, epsilon=0.02, iterations=200)
    loss.compute_loss_from_encoded(side, side)
    figures = loss.diagnostics()
    assert figures["same_position"] > 0.9
    assert figures["marginal_error"] < 1e-3
    rough = OpticalLoss(*models, iterations=1)
    rough.compute_loss_from_encoded(handmade([9, 9], 0), handmade([9, 9], 1))
    assert rough.diagnostics()["marginal_error"] > 1e-2
    assert figures["plan_entropy"] == pytest.approx(np.log(6), abs=0.3)
    combined = CombinedLoss(student, teacher, {"optical": (1.0, loss)})
    combined([features(teacher, ENGLISH), features(student, ["maji"] * 3)])
    figures = combined.diagnostics()
    assert figures["teacher_cosine"] < 0.9999
    assert figures["english_drift"] > 0.01
    assert "student_cosine" not in figures
    combined([features(teacher, ENGLISH), features(student, ["maji", "maji", "nyumba"])])
    embedded = student.encode(["maji", "nyumba"])
    assert combined.diagnostics()["student_cosine"] == pytest.approx(embedded[0] @ embedded[1], abs=1e-5)


def test_a_late_interaction_student_in_the_stock_trainer(models):
    """Guards against losses that need a pooling: on a MultiVectorEncoder <T, C> is that of the dense model of the same tokens."""
    from optical_mteb.bases import as_late_interaction

    student, teacher = models
    late = as_late_interaction(student)
    batch = [features(teacher, ENGLISH, "passage: "), late.preprocess(SWAHILI, prompt="query: ")]
    plain = [features(teacher, ENGLISH, "passage: "), features(student, SWAHILI, "query: ")]
    value = OpticalLoss(late, teacher)(batch)
    assert value.item() == pytest.approx(OpticalLoss(student, teacher)(plain).item(), abs=1e-6)
    assert torch.isfinite(ContrastiveDistillationLoss(late, teacher, score="maxsim")(batch))


@pytest.mark.parametrize("loss_class", LOSSES)
def test_losses_under_autocast(models, loss_class):
    """Guards against costs and scores in bfloat16, which has three digits: under autocast the loss stays float32."""
    student, teacher = models
    loss = loss_class(student, teacher)
    batch = [features(teacher, ENGLISH), features(student, SWAHILI)]
    encoded = loss.encode_student(batch[1]), loss.encode_teacher(batch[0])
    with torch.autocast("cpu", torch.bfloat16):
        value = loss.compute_loss_from_encoded(*encoded)
        assert torch.isfinite(loss(batch))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss.compute_loss_from_encoded(*encoded).item(), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["sinkhorn", "ipot", "unbalanced"])
def test_losses_compile(models, solver):
    """Guards against a loss that torch.compile cannot trace: its value is that of the eager one."""
    student, teacher = handmade([3, 5], 0), handmade([4, 2], 1)
    loss = OpticalLoss(*models, solver=solver, iterations=5)
    compiled = torch.compile(lambda a, b: loss.transport.pairs(a, b)[0], backend="aot_eager")
    torch.testing.assert_close(compiled(student, teacher), loss.transport.pairs(student, teacher)[0])


def test_arguments_that_cannot_train(models, tiny_model):
    """Guards against a student frozen as its own teacher, a sum over two students, and a failure in the first batch."""
    student, teacher = models
    optical, stranger = OpticalLoss(*models), OpticalLoss(tiny_model(), teacher)
    for broken, message in (
        (lambda: OpticalLoss(student, student), "are the same model"),
        (lambda: OpticalLoss(*models, epsilon=-1), r"epsilon -1.* expected positive"),
        (lambda: OpticalLoss(*models, solver="simplex"), "expected one of sinkhorn"),
        (lambda: OpticalLoss(*models, layers=[-1, -3]), "has 2 layers only"),
        (lambda: CombinedLoss(*models, {"a": (1.0, optical), "b": (1.0, stranger)}), "term 'b' was made with another"),
        (lambda: CombinedLoss(*models, {}), "at least one term"),
        (lambda: EnglishAnchorLoss(tiny_model(words=("water",)), teacher), "vocabularies differ"),
    ):
        with pytest.raises(ValueError, match=message):
            broken()
