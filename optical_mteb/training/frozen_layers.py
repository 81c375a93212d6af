"""Outputs of a transformer's frozen lower layers, computed once per text and kept on disk.

Many students of a study share their base, their texts and the layers that no training changes. What those layers give for
a text is the same in all of them. It is kept as float16 below the package's home, by a hash of the layers' weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from torch import Tensor, nn
from transformers import PreTrainedModel

from optical_mteb.bases import transformer_layers
from optical_mteb.errors import InputError
from optical_mteb.storage import home, remove
from optical_mteb.training.freezing import embedding_modules
from optical_mteb.training.recipe import StudentSettings
from optical_mteb.training.shards import DIGEST_BYTES, DamagedShardError, ShardStore, StoreKey

LARGEST_STORE = 8 * 2**30
"""Bytes that all outputs may take on disk; the oldest shards make room for new ones."""

MOST_IN_MEMORY = 2**28
"""Bytes of new outputs that are held in memory before they are written."""

_READ = {"input_ids", "attention_mask", "token_type_ids", "return_dict"}
_NOT_OF_OUTPUTS = ("architectures", "dtype", "torch_dtype", "transformers_version", "num_hidden_layers")
_log = logging.getLogger(__name__)

Rows = NDArray[np.float16]


class LayersKey(StoreKey):
    """What the output of the lower layers depends on besides the token ids.

    Attributes:
        weights: SHA-256 of the weights and of the configuration.
        layers: How many layers.
        precision: What they compute in, and on which kind of device.
    """

    weights: str
    layers: int
    precision: str


def shared_layers(student: StudentSettings) -> int:
    """How many lower layers all students of these settings have in common, on whatever they are trained."""
    same_words = student.freeze_embeddings is True and not student.prune_vocabulary
    return student.freeze_layers if same_words else 0


@contextmanager
def kept_outputs(model: SentenceTransformer | MultiVectorEncoder, layers: int) -> Iterator[None]:
    """Take what the lower layers give for a text from disk inside the block; what is missing is computed once.

    Modules and the names of weights stay as they are; the lower layers must not change inside the block. A model on a GPU or
    with weights besides those of a BERT, layers that use dropout and inputs padded on the left are computed as ever.

    Raises:
        InputError: The layers cannot be told.
    """
    if not layers:
        yield
        return
    lower = _LowerLayers(model, layers)
    if not lower.fits():
        yield
        return
    try:
        with lower.in_place():
            yield
    finally:
        lower.write()


class _Reached(Exception):  # noqa: N818 - no error
    """The first layer that is not kept is reached, with its input."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _LowerLayers:
    def __init__(self, model: SentenceTransformer | MultiVectorEncoder, layers: int) -> None:
        self._transformer = cast("PreTrainedModel", model.transformers_model)
        self._run = self._transformer.forward
        self._layers = transformer_layers(model)
        self._lower, self._upper = self._layers[:layers], self._layers[layers:]
        self._embeddings = embedding_modules(model)
        self._folder = home() / "frozen-layers"
        self._weights = ""
        self._stores: dict[str, ShardStore] = {}
        self._new: dict[str, dict[bytes, Rows]] = {}
        self._bytes = 0
        self._drops = _drops(self._transformer)

    def fits(self) -> bool:
        """Whether the lower layers depend on their own weights and on those of the embeddings alone, and run on a CPU."""
        known = [*self._embeddings, self._layers, getattr(self._transformer, "pooler", None)]
        weights = {weight for module in known if module is not None for weight in module.parameters()}
        return self._transformer.device.type == "cpu" and weights.issuperset(self._transformer.parameters())

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put what is kept in the place of what the layers give."""

        def looked_up(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the transformer's own
            given = self._look_up(args, kwargs)
            with nullcontext() if given is None else self._starting_with(given):
                return self._run(*args, **kwargs)

        # A hook would not do: sentence-transformers calls `forward` itself.
        before = vars(self._transformer).get("forward")
        vars(self._transformer)["forward"] = looked_up
        try:
            yield
        finally:
            del vars(self._transformer)["forward"]
            if before is not None:
                vars(self._transformer)["forward"] = before

    @contextmanager
    def _starting_with(self, given: Tensor) -> Iterator[None]:
        """Have the transformer run the upper layers alone inside the block, the first of them on `given`."""

        def replaced(
            _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]]:
            return ((given, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": given})

        every = self._layers._modules
        hook = self._upper[0].register_forward_pre_hook(replaced, with_kwargs=True)
        self._layers._modules = self._upper._modules
        try:
            yield
        finally:
            self._layers._modules = every
            hook.remove()

    def write(self) -> None:
        """Write what was computed; where that fails, it is computed again another time."""
        for precision, rows in self._new.items():
            store, digests = self._stores[precision], list(rows)
            if not digests:
                continue
            try:
                self._make_room()
                with store.writing() as shard:
                    for start in range(0, len(digests), 256):
                        part = digests[start : start + 256]
                        lengths = torch.tensor([len(rows[digest]) for digest in part])
                        hidden = torch.from_numpy(np.concatenate([rows[digest] for digest in part]))
                        shard.append(part, {"lengths": lengths, "hidden": hidden})
            except InputError as error:
                _log.warning("frozen layers: %s", error)
        self._new, self._bytes = {}, 0

    def _look_up(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """Before the transformer runs: find, or compute, the outputs of all rows; None where the layers must run."""
        # A loss that compares hidden layers may ask for these.
        if (self._drops and self._transformer.training) or self._transformer.config.output_hidden_states:
            return None
        read = {name for name, value in kwargs.items() if value is not None}
        ids, mask, types = (kwargs.get(name) for name in ("input_ids", "attention_mask", "token_type_ids"))
        if args or read - _READ or ids is None or mask is None or mask.shape != ids.shape:
            return None
        lengths = mask.sum(1)
        until = torch.arange(mask.shape[1], device=mask.device) < lengths.unsqueeze(1)
        if (types is not None and types.any()) or (mask.bool() != until).any():
            return None
        return self._outputs(kwargs, ids, lengths.tolist())

    def _outputs(self, inputs: Mapping[str, Any], ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """What the layers give for a batch, zero on padding."""
        precision = self._precision()
        store, new = self._store(precision), self._new.setdefault(precision, {})
        texts = ids.cpu().numpy().astype(np.int32)
        digests = [
            hashlib.sha256(row[:length].tobytes()).digest()[:DIGEST_BYTES]
            for row, length in zip(texts, lengths, strict=True)
        ]
        rows: dict[bytes, NDArray[Any]] = {}
        for digest in digests:
            if digest in new:
                rows[digest] = new[digest]
            elif digest in store and digest not in rows:
                try:
                    rows[digest] = store.row(digest)["hidden"]
                except DamagedShardError as error:
                    _log.warning("frozen layers: %s; computes it again", error)
        missing = {digest: row for row, digest in enumerate(digests) if digest not in rows}
        if missing:
            places = torch.tensor(list(missing.values()), device=ids.device)
            longest = max(lengths[row] for row in missing.values())
            computed = self._compute(
                {name: inputs[name][places, :longest] for name in _READ - {"return_dict"} if name in inputs}
            )
            for digest, values in zip(missing, computed.float().cpu().numpy(), strict=True):
                values = values[: lengths[missing[digest]]]
                kept = values.astype(np.float16)
                rows[digest] = kept if np.isfinite(kept).all() else values
                if rows[digest] is kept:
                    new[digest] = kept
                    self._bytes += kept.nbytes
        width = next(iter(rows.values())).shape[1]
        given = np.zeros((len(digests), ids.shape[1], width), np.float32)
        for digest, length, target in zip(digests, lengths, given, strict=True):
            target[:length] = rows[digest]
        if self._bytes > MOST_IN_MEMORY:
            self.write()
        return torch.from_numpy(given).to(ids.device, self._transformer.dtype)

    @torch.no_grad()
    def _compute(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """What the first of the upper layers would read."""

        def reached(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            raise _Reached(args[0] if args else kwargs["hidden_states"])

        hook = self._upper[0].register_forward_pre_hook(reached, with_kwargs=True)
        try:
            self._run(**inputs)
        except _Reached as found:
            return found.hidden
        finally:
            hook.remove()
        raise AssertionError("the transformer has left out a layer")

    def _precision(self) -> str:
        device = self._transformer.device.type
        if torch.is_autocast_enabled(device):
            return f"{device} {self._transformer.dtype} autocast {torch.get_autocast_dtype(device)}"
        return f"{device} {self._transformer.dtype}"

    def _store(self, precision: str) -> ShardStore:
        if precision not in self._stores:
            self._weights = self._weights or self._hash()
            key = LayersKey(weights=self._weights, layers=len(self._lower), precision=precision)
            self._stores[precision] = ShardStore(self._folder / key.digest(), key, "frozen layers")
        return self._stores[precision]

    def _hash(self) -> str:
        settings = {
            name: value
            for name, value in self._transformer.config.to_dict().items()
            if name not in _NOT_OF_OUTPUTS and not name.startswith("_")
        }
        found = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        for module in (*self._embeddings, *self._lower):
            for name, weight in module.named_parameters():
                found.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
                found.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return found.hexdigest()

    def _make_room(self) -> None:
        """Remove the oldest shards of all stores where they would take too much with what is new."""
        sizes = {
            shard: sum(file.stat().st_size for file in shard.glob("*"))
            for shard in sorted(self._folder.glob("*/shard-*"), key=lambda path: path.name)
        }
        total = sum(sizes.values()) + self._bytes
        for shard, size in sizes.items():
            if total <= LARGEST_STORE:
                return
            remove(shard)
            total -= size


def _drops(module: nn.Module) -> bool:
    """Whether chance changes what a module gives while it is trained."""
    return any(
        (isinstance(each, nn.Dropout) and each.p > 0) or bool(getattr(each, "attention_dropout", 0.0))
        for each in module.modules()
    )
