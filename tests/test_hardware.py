"""What a device is quick in."""

import torch

from optical_mteb.hardware import quick_attention


def test_attention_in_bfloat16_on_a_cpu():
    """Guards against training with the fused kernel, whose backward pass is slow there, and a choice that outlasts the training."""
    with quick_attention(torch.device("cpu"), bfloat16=True, tokens=96):
        assert not torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.math_sdp_enabled()
    for device, bfloat16, tokens in (("cpu", False, 96), ("cuda", True, 96), ("cpu", True, 512)):
        with quick_attention(torch.device(device), bfloat16=bfloat16, tokens=tokens):
            assert torch.backends.cuda.flash_sdp_enabled()
