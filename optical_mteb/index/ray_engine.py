"""Documents encoded by the workers of a Ray cluster, with Ray Data; the shards are written here as they come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from optical_mteb.errors import InputError
from optical_mteb.index.build import write_shard
from optical_mteb.index.rows import Rows
from optical_mteb.progress import progress_line
from optical_mteb.ray_cluster import cluster, own_error

if TYPE_CHECKING:
    import torch

    from optical_mteb.index.corpus import Corpus
    from optical_mteb.index.encoder import Encoder
    from optical_mteb.index.manifest import ModelRecord
    from optical_mteb.index.shards import ShardStore


@dataclass(frozen=True)
class RayEngine:
    """Fills the shards of a build as `fill_shards` does, on a cluster.

    Every machine of it must find the corpus's files and the model under the same names. A worker that dies has its
    shards encoded by another one.

    Attributes:
        address: As in `cluster`.
        workers: As in `cluster`.
        device: Torch device of the workers; the best one each has by default.
        prepare: What a worker calls before it loads the model, such as what registers models with MTEB.
    """

    address: str | None = None
    workers: int | None = None
    device: str | None = None
    prepare: Callable[[], None] | None = None

    def __call__(self, store: ShardStore, corpus: Corpus, encoder: Encoder, say: Callable[[str], None]) -> None:
        """Encode the documents of the shards that are missing.

        Raises:
            InputError: As `fill_shards`; or Ray is not installed, no cluster answers, or a worker cannot load the model
                in its revision.
        """
        missing = store.missing()
        if not missing:
            return
        precision = encoder.precision(corpus.texts(0, 64))
        with cluster(self.address, workers=self.workers) as workers:
            say(f"encodes {len(missing):,} of {len(store):,} shards by Ray, {workers} workers")
            import ray

            ray.data.DataContext.get_current().enable_progress_bars = False
            shards = ray.data.from_items(
                [{"number": number, "bounds": store.bounds(number)} for number in missing],
                override_num_blocks=len(missing),
            ).map_batches(
                EncodeShard,
                fn_constructor_args=(ray.put(corpus), encoder.record, self.device, precision, self.prepare),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(missing))),
                num_cpus=1,
            )
            try:
                with progress_line("encode", len(corpus), store.bounds(missing[0])[0], unit="documents") as advance:
                    for row in shards.iter_rows():
                        advance(_write(store, corpus, encoder, row))
            except InputError:
                raise
            except Exception as error:
                raise own_error(error) from error


class EncodeShard:
    """A worker: loads the model once, and encodes one shard at a time."""

    def __init__(
        self,
        corpus: Any,  # noqa: ANN401 - Ray's
        record: ModelRecord,
        device: str | None,
        precision: torch.dtype,
        prepare: Callable[[], None] | None,
    ) -> None:
        import ray

        self._precision, self._lock, self._error = precision, Lock(), ""
        try:
            if prepare is not None:
                prepare()
            self._encoder = _encoder(record, device)
            self._corpus: Corpus = ray.get(corpus)
        except InputError as error:
            # Raised, it would have Ray begin the worker again for ever.
            self._error = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The rows of the documents of a shard as the model gives them, or why there are none."""
        found = {"vectors": np.zeros((1, 0, 0), np.float32), "lengths": np.zeros((1, 0), np.int64), "truncated": [0]}
        if not self._error:
            [(start, stop)] = batch["bounds"]
            with self._lock:
                encoded = self._encoder.documents(self._corpus.texts(int(start), int(stop)), self._precision)
            found = {
                "vectors": encoded.rows.vectors[np.newaxis],
                "lengths": encoded.rows.lengths[np.newaxis],
                "truncated": [encoded.truncated],
            }
        return {"number": batch["number"], "error": [self._error], **found}


def _encoder(record: ModelRecord, device: str | None) -> Encoder:
    from optical_mteb.index.encoder import load_encoder

    loaded = load_encoder(record.name, device=device)
    if loaded.record.revision != record.revision:
        raise InputError(
            f"model {record.name}: a worker has revision {loaded.record.revision[:12]}, expected {record.revision[:12]}; "
            "bring all machines to the same revision"
        )
    return replace(loaded, record=record)


def _write(store: ShardStore, corpus: Corpus, encoder: Encoder, row: dict[str, Any]) -> int:
    if row["error"]:
        raise InputError(str(row["error"]))
    from optical_mteb.index.encoding import EncodedTexts

    lengths = np.asarray(row["lengths"], np.int64)
    vectors = np.asarray(row["vectors"], np.float32).reshape(lengths.sum(), -1)
    return write_shard(
        store, int(row["number"]), corpus, encoder, EncodedTexts(Rows(vectors, lengths), int(row["truncated"]))
    )
