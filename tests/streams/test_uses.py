"""Frames are read once for all who want to see them; sums are told in order; a kill changes no sum."""

from __future__ import annotations

import asyncio

import pytest

from schemas.config.wiring import StateConfig
from schemas.frame import encode_frame
from schemas.spend import SpendSums
from streams.acks import Arrived
from streams.errors import Overtaken
from streams.health import StageProgress
from streams.metrics import Metrics
from streams.spend_core import SpendCore
from streams.topics import Topic
from streams.uses import Used, UsesStage
from tests.streams.test_spend_core import Desk, frame
from tests.streams.world import T0, MemoryOutbox, MemoryShards

LOG = [
    encode_frame(frame((n * 10 + i, (i, n * 61 - 900 * (i == 3), 7, n * 10 + i)) for i in range(6))) for n in range(20)
]


class Seen:
    """An observer that counts."""

    def __init__(self) -> None:
        self.rows, self.counted, self.ticks, self.drops = 0, 0, 0, 0
        self.fails = False

    async def saw(self, used: Used) -> None:
        await asyncio.sleep(0)  # whoever waits for its turn does so now
        if self.fails:
            raise ConnectionError("the broker is gone")
        self.rows += used.frame.num_rows
        self.counted += int(used.counted.sum())

    async def tick(self, *, now_s: float, now_ms: int) -> None:
        assert now_ms == T0
        self.ticks += 1

    def drop(self) -> None:
        self.drops += 1


class Worker:
    """One process's life: its memory goes when it is killed, the store and the acknowledged offset stay."""

    def __init__(self, store: MemoryShards, outbox: MemoryOutbox) -> None:
        self.acked, self.seen, self.progress = -1, Seen(), StageProgress("uses", 0)
        self.stage = UsesStage(
            new_core=lambda: SpendCore(shards=4, dedup_s=900), store=store, outbox=outbox, metrics=Metrics(),
            progress=self.progress, settings=StateConfig(shards=4, rotation_s=4), observers=(self.seen,),
        )  # fmt: skip

    def _ack(self, offset: int) -> None:
        self.acked = max(self.acked, offset)

    async def take(self, offset: int, value: bytes) -> None:
        arrived = Arrived("frames", 2, offset, value, lambda: self._ack(offset))
        await self.stage.on_frame(arrived, now_s=offset)

    async def live(self, log: list[bytes], *, start: int = 0, until: int) -> None:
        for offset in range(start, until):
            await self.take(offset, log[offset])
            await self.stage.tick(now_s=offset + 0.5, now_ms=T0)


def sums_of(outbox: MemoryOutbox) -> dict[tuple[int, str, str], tuple[int, int, int]]:
    desk = Desk()
    for record in outbox.of(Topic.SPEND):
        assert isinstance(record, SpendSums)
        assert record.partition == 2
        desk.hear(record.sums)
    return {name: sums for name, sums in desk.sums.items() if sums[0]}


@pytest.mark.parametrize("killed_at", [1, 4, 9, 14, 19])
async def test_a_killed_worker_ends_with_the_sums_of_an_undisturbed_one(killed_at: int) -> None:
    quiet = MemoryOutbox()
    await Worker(MemoryShards(), quiet).live(LOG, until=20)
    store, outbox = MemoryShards(), MemoryOutbox()
    first, second = Worker(store, outbox), Worker(store, outbox)
    await first.live(LOG, until=killed_at)
    await second.live(LOG, start=first.acked + 1, until=20)
    assert sums_of(outbox) == sums_of(quiet)
    assert sum(sums[0] for sums in sums_of(outbox).values()) == 120


async def test_a_changelog_that_fails_breaks_the_stage_and_costs_nothing() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    first = Worker(store, outbox)
    store.crash_after = 7
    with pytest.raises(ConnectionError):
        await first.live(LOG, until=20)
    store.crash_after = None
    await Worker(store, outbox).live(LOG, start=first.acked + 1, until=20)
    assert sum(sums[0] for sums in sums_of(outbox).values()) == 120


async def test_a_frame_that_an_observer_could_not_take_is_neither_written_nor_passed() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    first = Worker(store, outbox)
    await first.live(LOG, until=6)
    written, first.seen.fails = dict(store.values), True
    failed, waited = await asyncio.gather(first.take(6, LOG[6]), first.take(7, LOG[7]), return_exceptions=True)
    assert (type(failed), type(waited)) == (ConnectionError, Overtaken)
    for now_s in range(10, 20):
        await first.stage.tick(now_s=now_s, now_ms=T0)
    assert store.values == written != {}
    assert (first.seen.drops, first.acked < 6) == (1, True)

    second = Worker(store, outbox)
    await second.live(LOG, start=first.acked + 1, until=20)
    assert second.seen.rows == 6 * (20 - first.acked - 1)
    assert sum(sums[0] for sums in sums_of(outbox).values()) == 120


async def test_observers_see_every_frame_and_which_rows_were_counted() -> None:
    worker = Worker(MemoryShards(), MemoryOutbox())
    for offset, value in enumerate([LOG[0], LOG[0], LOG[1], b"not a frame"]):
        await worker.take(offset, value)
    await worker.stage.tick(now_s=9.0, now_ms=T0)
    worker.stage.drop()
    seen = worker.seen
    assert (seen.rows, seen.counted, seen.ticks, seen.drops) == (18, 12, 1, 1)


async def test_without_traffic_all_is_written_and_acknowledged() -> None:
    worker = Worker(MemoryShards(), MemoryOutbox())
    await worker.live(LOG, until=3)
    assert worker.progress.lag_records > 0
    for second in range(10, 20):
        await worker.stage.tick(now_s=second, now_ms=T0)
    assert (worker.acked, worker.progress.lag_records) == (2, 0)
