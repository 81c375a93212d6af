"""Means of safetensors files, tensor by tensor: in memory is one tensor at a time, not a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optical_mteb.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


def tensors_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a file; nothing else is read.

    Raises:
        InputError: It is not a safetensors file, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            names = list(stream.keys())
            return {name: tuple(stream.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({error}); train or copy the model again") from error


def mean_file(paths: Sequence[Path], weights: Sequence[float], target: Path) -> None:
    """Write the weighted mean of files that hold tensors of the same names and shapes.

    Args:
        paths: The files; the first one's tensors, their types and order are written.
        weights: Their weights.
        target: File to write.
    """
    import torch

    # The format (8 bytes of length, a JSON header, the tensors' bytes) is written here: the library's writers take all
    # tensors at once.
    with paths[0].open("rb") as stream:
        length = stream.read(8)
        header = stream.read(int.from_bytes(length, "little"))
    entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        out.write(length + header)
        for name in sorted(entries, key=lambda name: entries[name]["data_offsets"]):
            out.write(mean_tensor(paths, weights, name).contiguous().flatten().view(torch.uint8).numpy().tobytes())


def mean_tensor(paths: Sequence[Path], weights: Sequence[float], name: str) -> Tensor:
    """Weighted mean of one tensor over files, summed in float32, in the type that it has in the first file.

    What is not a floating-point number (positions) is that of the first file.
    """
    import torch
    from safetensors import safe_open

    total, kind = torch.zeros(()), torch.float32
    for place, (path, weight) in enumerate(zip(paths, weights, strict=True)):
        with safe_open(path, framework="pt") as stream:
            tensor: Tensor = stream.get_tensor(name)
        if place == 0:
            if not tensor.is_floating_point():
                return tensor
            total, kind = torch.zeros(tensor.shape), tensor.dtype
        total.add_(tensor.float(), alpha=weight)
    return total.to(kind)
