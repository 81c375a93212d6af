"""What the student's sentences are to be brought to: put together from several readers, and from several devices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed
from torch.nn.functional import pad

from optical_mteb.training.losses.encoding import Encoded


def joined(parts: Sequence[Encoded]) -> Encoded:
    """Sentences of several batches as one batch, in their order; the shorter ones are padded on the right.

    Args:
        parts: Batches of B_i sentences of equal width; hidden layers and groups are kept where all have them.
    """
    if len(parts) == 1:
        return parts[0]
    longest = max(part.tokens.shape[1] for part in parts)
    wide = [_padded(part, longest) for part in parts]
    hidden = None
    if all(part.hidden for part in wide):
        hidden = {layer: torch.cat([(part.hidden or {})[layer] for part in wide]) for layer in wide[0].hidden or {}}
    groups = [part.group for part in wide if part.group is not None]
    return Encoded(
        tokens=torch.cat([part.tokens.to(wide[0].tokens.dtype) for part in wide]),
        content=torch.cat([part.content for part in wide]),
        sentence=torch.cat([part.sentence.to(wide[0].sentence.dtype) for part in wide]),
        ids=torch.cat([part.ids for part in wide]),
        hidden=hidden,
        group=torch.cat(groups) if len(groups) == len(wide) else None,
    )


def from_all_devices(own: Encoded) -> Encoded:
    """The targets of all processes of a distributed training, this process's first; without one, these alone.

    So the contrast of a batch that is spread over processes has the negatives of the whole batch. Targets carry no
    gradient, so none has to travel back.

    Args:
        own: B sentences of this process; every process has as many.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return own
    longest = torch.tensor(own.tokens.shape[1], device=own.tokens.device)
    distributed.all_reduce(longest, op=distributed.ReduceOp.MAX)
    wide = _padded(own, int(longest))
    first = distributed.get_rank()

    def gathered(values: Tensor) -> Tensor:
        if values.is_floating_point():
            # Under autocast a process whose targets are all the student's has another dtype than one that has a teacher's.
            values = values.float()
        values = values.contiguous()
        everyones = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
        distributed.all_gather(everyones, values)
        return torch.cat([*everyones[first:], *everyones[:first]])

    return Encoded(
        tokens=gathered(wide.tokens),
        content=gathered(wide.content.byte()).bool(),
        sentence=gathered(wide.sentence),
        ids=gathered(wide.ids),
        hidden=None if wide.hidden is None else {layer: gathered(output) for layer, output in wide.hidden.items()},
        group=None if wide.group is None else gathered(wide.group),
    )


def _padded(encoded: Encoded, columns: int) -> Encoded:
    missing = columns - encoded.tokens.shape[1]
    if not missing:
        return encoded
    hidden = encoded.hidden
    return encoded._replace(
        tokens=pad(encoded.tokens, (0, 0, 0, missing)),
        content=pad(encoded.content, (0, missing)),
        ids=pad(encoded.ids, (0, missing)),
        hidden=None if hidden is None else {layer: pad(output, (0, 0, 0, missing)) for layer, output in hidden.items()},
    )
