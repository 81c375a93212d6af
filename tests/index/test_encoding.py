"""Texts to vectors: the same as the model's own, in fuller batches."""

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from optical_mteb.index.encoder import Encoder
from optical_mteb.index.encoding import TOKENS_PER_BATCH, encode, fast_precision
from tests.index.conftest import sentence

TEXTS = [sentence(number) for number in range(150)]


def cosines(found, expected):
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    return np.einsum("nw,nw->n", found, expected)


@pytest.fixture
def budget(monkeypatch):
    """Sets the tokens of a batch."""
    return lambda tokens: monkeypatch.setitem(TOKENS_PER_BATCH, "cpu", tokens)


@pytest.mark.parametrize(("at_once", "tokens"), [(1024, 2048), (32, 100)])
def test_documents_and_queries_are_encoded_as_the_model_does(tiny_model, monkeypatch, budget, at_once, tokens):
    """Guards against vectors in another order or part, with another prompt, or not of length 1."""
    monkeypatch.setattr("optical_mteb.index.encoding.TOKENIZED_AT_ONCE", at_once)
    budget(tokens)
    model = tiny_model()
    encoder = Encoder.of(model, name="tiny")
    documents = encoder.documents(TEXTS, torch.float32)
    assert cosines(documents.rows.vectors, model.encode_document(TEXTS)).min() > 0.9999
    assert cosines(encoder.queries(TEXTS).vectors, model.encode_query(TEXTS)).min() > 0.9999
    assert np.linalg.norm(documents.rows.vectors, axis=1) == pytest.approx(1)
    assert documents.rows.vectors.dtype == np.float32


@pytest.fixture
def shapes(monkeypatch):
    """The shapes of the batches that models read."""
    seen = []
    forward = SentenceTransformer.forward

    def recorded(model, features, **kwargs):
        seen.append(tuple(features["attention_mask"].shape))
        return forward(model, features, **kwargs)

    monkeypatch.setattr(SentenceTransformer, "forward", recorded)
    return seen


def test_batches_fill_the_budget_with_little_padding(tiny_model, shapes, budget):
    """Guards against batches of a fixed number of texts, and batches of texts as they come."""
    model = tiny_model()
    tokens = [len(ids) for ids in model.tokenizer([f"passage: {text}" for text in TEXTS])["input_ids"]]
    budget(400)
    encode(model, TEXTS, task="document", prompt="passage: ")
    assert all(rows * columns <= 400 for rows, columns in shapes)
    assert len(shapes) <= 1.2 * sum(tokens) / 400 + 1
    assert sum(rows * columns for rows, columns in shapes) < 1.1 * sum(tokens)


def test_a_text_of_more_tokens_than_the_budget_is_a_batch_by_itself(tiny_model, shapes, budget):
    """Guards against an endless loop over a batch of no text."""
    model = tiny_model()
    budget(4)
    found = encode(model, ["rain " * 20, "rain"], task="document")
    assert [rows for rows, _ in shapes] == [1, 1]
    assert cosines(found.rows.vectors, model.encode(["rain " * 20, "rain"])).min() > 0.9999


def test_padding_on_the_left_is_cut_on_the_left(tiny_model, budget):
    """Guards against tokens that are cut off where a tokenizer pads on the other side."""
    model = tiny_model()
    model.tokenizer.padding_side = "left"
    budget(100)
    found = encode(model, TEXTS, task="document", prompt="passage: ")
    # BERT counts positions from the padding on, so only texts of one length are comparable.
    alone = np.concatenate([model.encode_document([text]) for text in TEXTS[:5]])
    single = [encode(model, [text], task="document", prompt="passage: ").rows.vectors for text in TEXTS[:5]]
    assert cosines(np.concatenate(single), alone).min() > 0.9999
    assert np.isfinite(found.rows.vectors).all()


def test_texts_longer_than_the_model_reads_are_counted(tiny_model):
    """Guards against a count that takes a text of exactly the limit for a longer one, or forgets the prompt."""
    model = tiny_model()
    model.max_seq_length = 12
    # A letter is one piece, and so are [CLS] and [SEP].
    pieces = len(model.tokenizer("passage: ")["input_ids"])
    texts = [" ".join("abcdefghij"[: 12 - pieces + more]) for more in (-1, 0, 1, 4)]
    whole = model.tokenizer([f"passage: {text}" for text in texts], truncation=False)["input_ids"]
    assert [len(ids) for ids in whole] == [11, 12, 13, 16]
    encoder = Encoder.of(model, name="tiny")
    assert encoder.record.max_tokens == 12
    assert encoder.documents(texts, torch.float32).truncated == 2


def test_a_vector_without_direction_is_not_a_number(tiny_model):
    """Guards against a zero vector that passes for a document's."""
    model = tiny_model()
    model[2] = torch.nn.Identity()
    for parameter in model[0].parameters():
        parameter.data.zero_()
    assert np.isnan(encode(model, ["rain"], task="document").rows.vectors).all()


def test_a_lower_precision_is_used_only_where_it_is_as_good(tiny_model, monkeypatch):
    """Guards against a check that always says yes, and a lower precision on a device that gains nothing by it."""
    model = tiny_model()
    monkeypatch.setattr("optical_mteb.index.encoding.computes_in_bfloat16", lambda device: False)
    assert fast_precision(model, TEXTS[:8], "passage: ") is torch.float32
    monkeypatch.setattr("optical_mteb.index.encoding.computes_in_bfloat16", lambda device: True)
    assert fast_precision(model, TEXTS[:8], "passage: ") is torch.bfloat16
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    forward = SentenceTransformer.forward

    def rough(model, features, **kwargs):
        output = forward(model, features, **kwargs)
        if next(model.parameters()).dtype == torch.bfloat16:
            output["sentence_embedding"][-1, :2] += 0.1
        return output

    monkeypatch.setattr(SentenceTransformer, "forward", rough)
    assert fast_precision(model, TEXTS[:8], "passage: ") is torch.float32


def test_the_prompts_are_those_of_the_model(tiny_model):
    """Guards against documents that are encoded as queries, and models that call their prompt something else."""
    model = tiny_model()
    record = Encoder.of(model, name="tiny").record
    assert (record.document_prompt, record.query_prompt, record.max_tokens) == ("passage: ", "query: ", 128)
    model.prompts = {"query": "q: ", "passage": "p: "}
    assert Encoder.of(model, name="tiny").record.document_prompt == "p: "
    model.prompts = {"both": "b: "}
    model.default_prompt_name = "both"
    record = Encoder.of(model, name="tiny").record
    assert (record.document_prompt, record.query_prompt) == ("b: ", "b: ")


def test_a_task_has_the_prompts_that_mteb_picks_for_it(tiny_model):
    """Guards against an index of a task's corpus whose scores are not MTEB's."""
    import mteb

    model = tiny_model()
    model.prompts = {"query": "q: ", "document": "d: ", "Retrieval-query": "r: "}
    task = mteb.get_task("NFCorpus").metadata
    record = Encoder.of(model, name="tiny").for_task(task).record
    assert (record.document_prompt, record.query_prompt) == ("d: ", "r: ")
