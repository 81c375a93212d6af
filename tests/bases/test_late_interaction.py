"""Between a vector per text and a vector per token: what is kept, and what is recognised."""

import json

import pytest
import torch

from optical_mteb.bases import as_dense, as_late_interaction, load_base


def test_both_kinds_share_their_tokens(tiny_model):
    """Guards against a conversion that changes embeddings: tokens are those that the dense model pools, at unit length."""
    model = tiny_model()
    late = as_late_interaction(model)
    row = model.encode("abc", prompt_name="query", output_value=None)
    tokens = torch.nn.functional.normalize(row["token_embeddings"][1:-1], dim=-1)
    torch.testing.assert_close(late.encode_query("abc"), tokens)
    assert torch.equal(
        as_dense(late).encode("abc", convert_to_tensor=True), model.encode("abc", convert_to_tensor=True)
    )


def test_a_text_without_tokens_is_last(tiny_model):
    """Guards against a crash, or a best match, for a text that has special tokens alone."""
    late = as_late_interaction(tiny_model())
    late.prompts = {}
    documents = late.encode_document(["", "abc"])
    scores = late.similarity(late.encode_query(["abc", ""]), documents)
    assert scores[0, 0] < scores[0, 1]
    assert torch.isfinite(scores).all()


def test_a_model_that_pools_nothing(tiny_model):
    """Guards against a late-interaction model made of who knows which embeddings."""
    model = tiny_model()
    del model[1]
    with pytest.raises(ValueError, match="has no pooling"):
        as_late_interaction(model)


def test_a_late_interaction_base_keeps_its_scoring_mask(tiny_model, tmp_path):
    """Guards against punctuation that a student scores and its base does not."""
    late = as_late_interaction(tiny_model())
    late[1].skiplist_words = [".", "!"]
    late[1].skiplist_tasks = ["document"]
    late.save_pretrained(str(tmp_path / "late"), create_model_card=False)
    again = as_late_interaction(load_base(str(tmp_path / "late"), device="cpu"))
    assert again[1].skiplist_words == [".", "!"]
    assert len(again.encode_document("ab.!")) == len(again.encode_query("ab.!")) - 2 + len("passage: ") - len("query: ")


@pytest.mark.parametrize("kind", ["MultiVectorEncoder", "ColBERT"])
def test_checkpoints_are_known_by_their_settings(tiny_model, tmp_path, kind):
    """Guards against a ColBERT checkpoint, which lists no scoring mask, read as a dense model without its projection."""
    late = as_late_interaction(tiny_model())
    late.save_pretrained(str(tmp_path / "late"), create_model_card=False)
    settings = tmp_path / "late" / "config_sentence_transformers.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"model_type": kind}))
    base = load_base(str(tmp_path / "late"), device="cpu")
    assert [type(module).__name__ for module in base] == ["Transformer", "Pooling", "Normalize"]
    assert base.prompts["query"] == "query: "
