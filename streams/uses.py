"""`usage.frames` → `keyfuse.spend`, and to whoever else wants to see each use: frames are read once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from detectors.state import Array
from schemas.config.wiring import StateConfig
from schemas.frame import decode_frame
from schemas.spend import SpendSum, SpendSums
from streams.acks import Arrived
from streams.checkpoint import ShardStore
from streams.errors import Overtaken
from streams.health import StageProgress
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.rotation import Rotation
from streams.spend_core import SpendCore
from streams.topics import Topic
from streams.turns import Turns

_SUMS_PER_RECORD: Final = 2000  # some 150 KB before they are compressed


class Used(NamedTuple):
    """One frame as observers see it. After a restart the frames since the last checkpoint are seen again.

    `counted` is False for rows that were counted before: replays, and a producer's own retries. An observer that
    keeps what it knows by itself must go by `frame` alone, for it may have forgotten what the sums have not.
    """

    partition: int
    frame: pa.RecordBatch
    counted: Array  # one bool for each row
    clock_s: int  # newest event time of the partition


class UseObserver(Protocol):
    """Whoever wants to see each use. Called in turn, so that none sees half of a frame."""

    async def saw(self, used: Used) -> None:
        """One frame. What it raises breaks the stage, and the frame comes again."""

    async def tick(self, *, now_s: float, now_ms: int) -> None:
        """Twice a second: `now_s` is monotonic, `now_ms` the wall clock."""

    def drop(self) -> None:
        """A rebalance: other partitions from now on."""


class UsesStage:
    """All partitions of one worker. Holds no clock."""

    def __init__(
        self, *, new_core: Callable[[], SpendCore], store: ShardStore, outbox: Outbox, metrics: Metrics,
        progress: StageProgress, settings: StateConfig, observers: Sequence[UseObserver] = (),
    ) -> None:  # fmt: skip
        self._new_core, self._settings = new_core, settings
        self._store, self._outbox = store, outbox
        self._metrics, self._progress = metrics, progress
        self._partitions: dict[int, tuple[SpendCore, Rotation]] = {}
        self._turns = Turns(self.drop)  # sums are told as they are between two frames
        self.observers = list(observers)

    def drop(self) -> None:
        """A rebalance: whatever stays assigned is read again from its last checkpoint."""
        self._turns.given_up()
        self._partitions.clear()
        for observer in self.observers:
            observer.drop()

    async def on_frame(self, arrived: Arrived, *, now_s: float) -> None:
        """Count it, show it to the observers, and remember that it waits for its shards."""
        async with self._turns.frame():
            core, rotation = self._partition(arrived.partition, now_s)
            try:
                frame = decode_frame(arrived.value)
            except ValueError:
                pass  # the score stage tells that it is dead
            else:
                counted = core.count(frame)
                self._metrics.inc("keyfuse_events_counted_total", int(np.count_nonzero(counted)))
                used = Used(arrived.partition, frame, counted, core.clock_s)
                for observer in self.observers:
                    await observer.saw(used)
            rotation.folded(arrived)

    async def tick(self, *, now_s: float, now_ms: int) -> None:
        """Tell what has grown, write a shard, acknowledge."""
        async with self._turns.tick():
            for partition, (core, rotation) in list(self._partitions.items()):
                await self._tell(partition, core)  # first: what is acknowledged, the desk can hear
                if await rotation.step(now_s):
                    self._progress.committed(now_s)
            self._progress.lag_records = sum(rotation.waiting for _, rotation in self._partitions.values())
            self._metrics.set("keyfuse_spend_sums", sum(core.remembered for core, _ in self._partitions.values()))
            for observer in self.observers:
                await observer.tick(now_s=now_s, now_ms=now_ms)

    async def _tell(self, partition: int, core: SpendCore) -> None:
        grown = core.grown()
        await self._send(partition, grown.final)  # before any later part: whoever sums then forgets this one
        await self._send(partition, grown.open)
        core.told(grown)

    async def _send(self, partition: int, sums: Sequence[SpendSum]) -> None:
        starts = range(0, len(sums), _SUMS_PER_RECORD)
        records = [SpendSums(partition=partition, sums=tuple(sums[at : at + _SUMS_PER_RECORD])) for at in starts]
        await self._outbox.send(Topic.SPEND, [(str(partition), record) for record in records])

    def _partition(self, partition: int, now_s: float) -> tuple[SpendCore, Rotation]:
        known = self._partitions.get(partition)
        if known is not None:
            return known

        async def put(name: str, value: bytes) -> None:
            if core is not self._partitions.get(partition, (None, None))[0]:
                raise Overtaken("the partition was given up: another owner may have written a newer state")
            await self._store.put(partition, f"{partition}:{name}".encode(), value)
            self._metrics.inc("keyfuse_checkpoint_bytes_total", len(value))

        core = self._new_core()
        rotation = Rotation(
            core, self._settings, get=lambda name: self._store.get(f"{partition}:{name}".encode()), put=put, now_s=now_s
        )
        self._partitions[partition] = (core, rotation)
        return core, rotation
