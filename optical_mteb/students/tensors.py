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
    """Weighted mean of one tensor over files, in float32, then in the type that it has in the first file.

    It is counted from the tensor of the largest weight: values that all files share stay as they are, to the last bit.
    What is not a floating-point number (positions) is that of the first file.

    Args:
        paths: The files.
        weights: Their weights, which sum to 1.
        name: Of the tensor.
    """
    from safetensors import safe_open

    def read(path: Path) -> Tensor:
        with safe_open(path, framework="pt") as stream:
            tensor: Tensor = stream.get_tensor(name)
        return tensor

    first = read(paths[0])
    if not first.is_floating_point():
        return first
    lead = max(range(len(paths)), key=weights.__getitem__)
    middle = read(paths[lead]).float()
    mean = middle.clone()
    for place, (path, weight) in enumerate(zip(paths, weights, strict=True)):
        if place != lead:
            mean += weight * (read(path).float() - middle)
    return mean.to(first.dtype)
