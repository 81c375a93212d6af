"""Documents encoded by the workers of a Ray cluster; the shards are written here as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optical_mteb.errors import InputError
from optical_mteb.index.build import write_shard
from optical_mteb.progress import progress_line
from optical_mteb.ray_cluster import RETRIES, cluster, own_error

if TYPE_CHECKING:
    import torch
    from ray.util import ActorPool

    from optical_mteb.index.corpus import Corpus
    from optical_mteb.index.encoder import Encoder
    from optical_mteb.index.encoding import EncodedTexts
    from optical_mteb.index.manifest import ModelRecord
    from optical_mteb.index.shards import ShardStore


@dataclass(frozen=True)
class RayEngine:
    """Fills the shards of a build as `fill_shards` does, on a cluster.

    Every machine of it must find the corpus's files and the model under the same names. A worker that dies is begun
    anew, with the shard that it had.

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
            InputError: As `fill_shards`; or Ray is not installed, no cluster answers, a worker cannot load the model in
                its revision, or workers keep dying.
        """
        missing = store.missing()
        if not missing:
            return
        precision = encoder.precision(corpus.texts(0, 64))
        with cluster(self.address, workers=self.workers) as workers:
            say(f"encodes {len(missing):,} of {len(store):,} shards by Ray, {workers} workers")
            import ray
            from ray.util import ActorPool

            worker = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=RETRIES)(ShardEncoder)
            arguments = (encoder.record, self.device, precision, self.prepare)
            pool = ActorPool([worker.remote(*arguments) for _ in range(min(workers, len(missing)))])
            shared = ray.put(corpus)
            shards = [(shared, number, *store.bounds(number)) for number in missing]
            with progress_line("encode", len(corpus), store.bounds(missing[0])[0], unit="documents") as advance:
                for number, encoded in _encoded(pool, shards):
                    advance(write_shard(store, number, corpus, encoder, encoded))


class ShardEncoder:
    """A worker: loads the model once, and encodes one shard at a time."""

    def __init__(
        self,
        record: ModelRecord,
        device: str | None,
        precision: torch.dtype,
        prepare: Callable[[], None] | None,
    ) -> None:
        self._record, self._device, self._precision, self._prepare = record, device, precision, prepare
        self._encoder: Encoder | None = None

    def encode(self, corpus: Corpus, number: int, start: int, stop: int) -> tuple[int, EncodedTexts]:
        """The number of a shard, and its documents as the model gives them.

        Raises:
            InputError: The model cannot be loaded in its revision.
        """
        # Not when the worker begins: Ray does not hand on what is raised there.
        self._encoder = self._encoder or self._loaded()
        return number, self._encoder.documents(corpus.texts(start, stop), self._precision)

    def _loaded(self) -> Encoder:
        from optical_mteb.index.encoder import load_encoder

        if self._prepare is not None:
            self._prepare()
        record = self._record
        loaded = load_encoder(record.name, device=self._device)
        if loaded.record.revision != record.revision:
            raise InputError(
                f"model {record.name}: a worker has revision {loaded.record.revision[:12]}, expected "
                f"{record.revision[:12]}; bring all machines to the same revision"
            )
        return replace(loaded, record=record)


def _encoded(pool: ActorPool, shards: list[Any]) -> Iterator[tuple[int, EncodedTexts]]:
    """What the workers make of shards, as it comes; their errors become one line."""
    try:
        yield from pool.map_unordered(lambda worker, shard: worker.encode.remote(*shard), shards)
    except Exception as error:
        raise own_error(error) from error
