"""What the devices of this machine are, and what they are quick in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SHORT = 128
"""Tokens of a text up to which plain attention takes little memory beside the rest of a layer."""


def check_device(device: str | None) -> None:
    """Check that a device is there.

    Raises:
        InputError: It is not.
    """
    if device not in (None, "cpu", "cuda", "mps"):
        raise InputError(f"device {device!r}: expected cpu, cuda or mps; choose a GPU with CUDA_VISIBLE_DEVICES")
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device or "cpu", True):
        raise InputError(
            f"device {device!r}: torch {torch.__version__} finds none here; use cpu, or install its build for {device}"
        )


def check_inference_device(device: str | None) -> None:
    """Check that texts can be encoded on a device, `cuda:1` and the like included.

    Raises:
        InputError: torch does not know it, was not built for it, or finds none here.
    """
    if device is None:
        return
    try:
        torch.ones(1, device=device).cpu()
    # Nothing narrower: every kind of device says that it is not there by an exception of its own.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"device {device!r}: {reason}; use cpu, cuda, cuda:0 or mps, or leave it out") from error


def on_cpu(device: str | None) -> bool:
    """Whether a process that was given a device, or None for the best one, computes on the CPU."""
    return device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies matrices of bfloat16 faster than those of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Older releases of torch do not tell.
    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def use_quick_attention(model: PreTrainedModel, *, bfloat16: bool, tokens: int) -> None:
    """Have a model train with the attention that is quickest: torch's own, but for short texts on a CPU in bfloat16.

    There the backward pass of torch's fused kernel takes several times as long as that of plain matrix products, which
    keep the attention of every token to every other. The model is on its device; `tokens` is the longest text.
    """
    if model.device.type == "cpu" and bfloat16 and tokens <= SHORT:
        model.set_attn_implementation("eager")


def free_memory() -> int:
    """Bytes of memory that processes can still take."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)
