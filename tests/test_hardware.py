"""What a device is quick in."""

import pytest
from transformers import BertConfig, BertModel

from optical_mteb.hardware import use_quick_attention

SMALL = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(("bfloat16", "tokens", "plain"), [(True, 96, True), (False, 96, False), (True, 512, False)])
def test_attention_on_a_cpu(bfloat16, tokens, plain):
    """Guards against training short texts in bfloat16 with the fused kernel, whose backward pass is slow there."""
    model = BertModel(BertConfig(**SMALL), add_pooling_layer=False)
    model.set_attn_implementation("sdpa")
    use_quick_attention(model, bfloat16=bfloat16, tokens=tokens)
    assert model.config._attn_implementation == ("eager" if plain else "sdpa")
