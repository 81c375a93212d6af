"""Outputs of a transformer's frozen lower layers, computed once per text and kept on disk.

Many students of a study share their base, their texts and the layers that no training changes. What those layers give for
a text is the same in all of them. It is kept as float16 below the package's home, by a hash of the layers' weights.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
    of another form than BERT's, layers that use dropout and inputs padded on the left are computed as ever.

    Raises:
        InputError: The layers cannot be told.
    """
    if not layers:
        yield
        return
    lower = _LowerLayers(model, layers)
    with ExitStack() as stack:
        if lower.fits():
            stack.callback(lower.write)
            stack.enter_context(lower.in_place())
        yield


class _Reached(Exception):  # noqa: N818 - no error
    """The first layer that is not kept is reached, with its input."""

    def __init__(self, hidden: Tensor) -> None:
        super().__init__()
        self.hidden = hidden


class _LowerLayers:
    def __init__(self, model: SentenceTransformer | MultiVectorEncoder, layers: int) -> None:
        self._transformer = cast("PreTrainedModel", model.transformers_model)
        found = list(transformer_layers(model))
        self._lower, self._next = found[:layers], found[layers]
        embedding = embedding_modules(model)
        self._embeddings = embedding[0] if len(embedding) == 1 else None
        self._folder = home() / "frozen-layers"
        self._weights = ""
        self._stores: dict[str, ShardStore] = {}
        self._new: dict[str, dict[bytes, Rows]] = {}
        self._bytes = 0
        self._given: Tensor | None = None
        self._computing = self._as_tuple = False
        self._drops = _drops(self._transformer)

    def fits(self) -> bool:
        """Whether the layers read what the embeddings give and nothing else, and hand on one tensor; found by a trial."""
        seen: dict[str, Any] = {}
        if self._embeddings is None or self._transformer.device.type != "cpu":
            return False
        with ExitStack() as stack:
            for name, module in (("embedded", self._embeddings), ("last", self._lower[-1])):
                hook = module.register_forward_hook(lambda _, __, output, name=name: seen.update({name: output}))
                stack.callback(hook.remove)
            first = self._lower[0].register_forward_pre_hook(
                lambda _, args, kwargs: seen.update(read=_hidden(args, kwargs)), with_kwargs=True
            )
            stack.callback(first.remove)
            ids = torch.ones(1, 2, dtype=torch.long, device=self._transformer.device)
            self._compute({"input_ids": ids, "attention_mask": ids})
        self._as_tuple = isinstance(seen["last"], tuple)
        return seen["embedded"] is seen["read"]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put what is kept in the place of what the layers give."""
        embeddings = cast("nn.Module", self._embeddings)
        embed = embeddings.forward
        with ExitStack() as stack:
            run = self._transformer.forward

            def looked_up(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the transformer's own
                self._look_up(args, kwargs)
                try:
                    return run(*args, **kwargs)
                finally:
                    self._given = None

            # A hook would not do: sentence-transformers calls `forward` itself.
            stack.enter_context(_forward_is(self._transformer, looked_up))

            def given(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the module's own
                return embed(*args, **kwargs) if self._given is None else self._given

            stack.enter_context(_forward_is(embeddings, given))
            for layer in self._lower:
                stack.enter_context(_forward_is(layer, self._passing(layer.forward)))
            yield

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

    def _passing(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def passed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the layer's own
            if self._given is None:
                return forward(*args, **kwargs)
            hidden = _hidden(args, kwargs)
            return (hidden,) if self._as_tuple else hidden

        return passed

    def _look_up(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the transformer runs: find, or compute, the outputs of all rows."""
        if self._computing or (self._drops and self._transformer.training):
            return
        # A loss that compares hidden layers may ask for these.
        if getattr(self._transformer.config, "output_hidden_states", False):
            return
        read = {name for name, value in kwargs.items() if value is not None}
        ids, mask, types = (kwargs.get(name) for name in ("input_ids", "attention_mask", "token_type_ids"))
        if args or read - _READ or ids is None or mask is None or mask.shape != ids.shape:
            return
        lengths = mask.sum(1)
        until = torch.arange(mask.shape[1], device=mask.device) < lengths.unsqueeze(1)
        if (types is not None and types.any()) or (mask.bool() != until).any():
            return
        self._given = self._outputs(kwargs, ids, lengths.tolist())

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
        """What the first layer that is not kept would read."""

        def reached(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the layer's own
            raise _Reached(_hidden(args, kwargs))

        self._computing = True
        try:
            with _forward_is(self._next, reached):
                self._transformer(**inputs)
        except _Reached as found:
            return found.hidden
        finally:
            self._computing = False
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
        for module in (cast("nn.Module", self._embeddings), *self._lower):
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


@contextmanager
def _forward_is(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """Have a module run another function inside the block; what it is made of stays."""
    before = vars(module).get("forward")
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        if before is not None:
            vars(module)["forward"] = before


def _hidden(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a tensor, of any layer
    return args[0] if args else kwargs["hidden_states"]


def _drops(module: nn.Module) -> bool:
    """Whether chance changes what a module gives while it is trained."""
    return any(
        (isinstance(each, nn.Dropout) and each.p > 0) or bool(getattr(each, "attention_dropout", 0.0))
        for each in module.modules()
    )
