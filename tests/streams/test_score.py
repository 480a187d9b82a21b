"""The score stage: frames are acknowledged only when every shard covers them; a crash loses and doubles nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import pytest
from pydantic import SecretStr

from detectors.core import ScoreCore
from detectors.placement import Placement
from schemas.config import DetectorsConfig
from schemas.config.wiring import StateConfig
from schemas.fingerprint import Fingerprinter
from schemas.frame import decode_frame, encode_frame
from schemas.records import DeadLetter, Finding, PartitionStats, Record
from sources.batch import BatchParser, RawRecord
from sources.pricing import PriceBook
from streams.acks import Arrived
from streams.errors import Overtaken
from streams.health import StageProgress
from streams.metrics import Metrics
from streams.score import ScoreStage
from streams.topics import Topic, Topics
from tests.streams.world import T0, MemoryOutbox, MemoryShards

SETTINGS = DetectorsConfig.model_validate(
    {"limits": {"usd_per_min": 0.5}, "velocity": {"min_usd_per_min": 0, "alarm_per_key_week": 300}}
)
"""Touchy, so that keys of a few seconds are spoken of."""


def frames(count: int, *, keys: int = 12, rows: int = 30) -> Iterator[bytes]:
    """`count` frames of some keys; one key spends too much from the middle on."""
    parser = BatchParser(fingerprinter=Fingerprinter(SecretStr("p")), prices=PriceBook(), max_future_s=None)
    for number in range(count):
        lines = []
        for row in range(rows):
            dear = row == 0 and number > count // 2
            ts = T0 + number * 2000 + row * 50
            lines.append(
                b'{"event_id":"%d-%d","ts":%d,"provider":"openai","model":"gpt-4.1","key_id":"key-%d","cost_usd":%s}'
                % (number, row, ts, row % keys, b"9.0" if dear else b"0.001")
            )
        records = [RawRecord(0, number * rows + row, line, None) for row, line in enumerate(lines)]
        yield encode_frame(parser.parse(records, topic="t", now_ms=T0).frame)


class Worker:
    """One process's life: its memory goes when it is killed, the store and the acknowledged offset stay."""

    def __init__(self, store: MemoryShards, outbox: MemoryOutbox) -> None:
        self.acked, self.metrics, self.outbox = -1, Metrics(), outbox
        self.stage = ScoreStage(
            new_core=lambda partition: ScoreCore(SETTINGS, partition=partition, shards=4), store=store, outbox=outbox,
            topics=Topics(), metrics=self.metrics, progress=StageProgress("score", 0),
            settings=StateConfig(shards=4, rotation_s=4),
        )  # fmt: skip

    def _ack(self, offset: int) -> None:
        self.acked = max(self.acked, offset)

    async def take(self, offset: int, frame: bytes) -> None:
        arrived = Arrived("frames", 0, offset, frame, lambda: self._ack(offset))
        await self.stage.on_frame(arrived, now_s=offset * 0.5, now_ms=T0)

    def windows(self) -> dict[str, dict[str, float] | None]:
        [core] = self.stage.cores()
        return {f"key-{n}": core.windows(f"key-{n}") for n in range(12)}


def ids(outbox: MemoryOutbox) -> set[str]:
    return {record.finding_id for record in outbox.of(Topic.FINDINGS) if isinstance(record, Finding)}


async def test_frames_are_acknowledged_behind_the_shards() -> None:
    worker = Worker(MemoryShards(), MemoryOutbox())
    for offset, frame in enumerate(frames(20)):
        await worker.take(offset, frame)
        assert worker.acked < offset
    assert worker.acked > 5


@pytest.mark.parametrize("killed_at", [3, 9, 14, 21, 28])
async def test_a_killed_worker_ends_with_the_windows_and_findings_of_an_undisturbed_one(killed_at: int) -> None:
    log = list(frames(30))
    quiet_outbox = MemoryOutbox()
    undisturbed = Worker(MemoryShards(), quiet_outbox)
    for offset, frame in enumerate(log):
        await undisturbed.take(offset, frame)
    store, outbox = MemoryShards(), MemoryOutbox()
    first = Worker(store, outbox)
    for offset, frame in enumerate(log[: killed_at + 1]):
        await first.take(offset, frame)
    second = Worker(store, outbox)
    for offset in range(first.acked + 1, len(log)):
        await second.take(offset, log[offset])
    assert second.windows() == undisturbed.windows()
    assert ids(outbox) == ids(quiet_outbox)
    assert ids(outbox)


async def stopped_after_thirty_frames() -> tuple[MemoryShards, Worker, int, list[bytes]]:
    """The store, the worker that comes next, and the frames that it is to go on with, from this offset on."""
    store, log = MemoryShards(), list(frames(40))
    first = Worker(store, MemoryOutbox())
    for offset, frame in enumerate(log[:30]):
        await first.take(offset, frame)
    return store, Worker(store, MemoryOutbox()), first.acked + 1, log[first.acked + 1 :]


async def test_others_get_a_turn_between_shards_that_are_restored() -> None:
    """With a million keys, all at once is seconds in which the ingest sends no heartbeat and no probe is answered."""
    _, worker, first, (frame, *_) = await stopped_after_thirty_frames()
    known: list[int] = []

    async def look() -> None:
        while len(known) < 4:
            known.append(sum(core.known_keys for core in worker.stage.cores()))
            await asyncio.sleep(0)

    await asyncio.gather(worker.take(first, frame), look())
    assert 0 < known[1] < known[2] < known[3] == 12


async def test_a_partition_that_is_given_up_while_it_is_restored_is_not_kept() -> None:
    store, worker, first, (frame, *_) = await stopped_after_thirty_frames()
    written = dict(store.values)
    taking = asyncio.create_task(worker.take(first, frame))
    await asyncio.sleep(0)
    worker.stage.drop()
    with pytest.raises(Overtaken):
        await taking
    assert (worker.stage.cores(), store.values) == ([], written)


async def test_new_settings_reach_a_partition_that_is_being_restored() -> None:
    _, worker, first, (frame, *others) = await stopped_after_thirty_frames()
    taking = asyncio.create_task(worker.take(first, frame))
    await asyncio.sleep(0)
    worker.stage.reconfigure(DetectorsConfig.model_validate({"limits": {"usd_per_min": 0.0001}}))
    await taking
    for offset, each in enumerate(others, first + 1):
        await worker.take(offset, each)
    told = {finding.key_id for finding in worker.outbox.of(Topic.FINDINGS) if isinstance(finding, Finding)}
    assert told == {f"key-{n}" for n in range(12)}


@pytest.mark.parametrize("acknowledged", [True, False])
async def test_keys_stay_in_the_shards_in_which_an_older_build_put_them(acknowledged: bool) -> None:
    """Also where it had written shards, and died before it acknowledged a frame."""
    log = list(frames(30))
    before = ScoreCore(SETTINGS, partition=0, shards=4)
    before.book.place_as(Placement.LIKE_PARTITIONS)
    before.process(decode_frame(log[0]))
    store, outbox = MemoryShards(), MemoryOutbox()
    store.values = {b"0:cohorts": before.export_cohorts(), b"0:1": before.export_shard(1)}
    if acknowledged:
        store.values |= {b"0:%d" % shard: before.export_shard(shard) for shard in range(4)}
        store.values[b"0:clock"] = str(before.clock_s).encode()
    worker = Worker(store, outbox)
    for offset, frame in enumerate(log):
        await worker.take(offset, frame)
    assert {data[:4] for name, data in store.values.items() if name != b"0:clock"} == {b"KFS4"}

    undisturbed = Worker(MemoryShards(), MemoryOutbox())
    for offset, frame in enumerate(log):
        await undisturbed.take(offset, frame)
    assert worker.windows() == undisturbed.windows()


async def test_rows_that_come_again_are_told_by_kind() -> None:
    worker = Worker(MemoryShards(), MemoryOutbox())
    first, second = frames(2)
    for offset, frame in enumerate([first, second, first]):
        await worker.take(offset, frame)
    assert b'keyfuse_events_duplicate_total{kind="replay"} 30.0' in worker.metrics.render()
    assert b'keyfuse_events_duplicate_total{kind="retry"} 0.0' in worker.metrics.render()


async def test_a_frame_that_is_none_is_buried_and_passed() -> None:
    outbox = MemoryOutbox()
    worker = Worker(MemoryShards(), outbox)
    await worker.take(0, b"not a frame")
    for offset, frame in enumerate(frames(3), start=1):
        await worker.take(offset, frame)
    [dead] = [record for record in outbox.of(Topic.DEAD) if isinstance(record, DeadLetter)]
    assert (dead.offset, dead.reason.value) == (0, "bad_frame")
    assert worker.stage.scored == 90


async def test_without_traffic_the_last_second_is_judged_and_everything_is_written() -> None:
    outbox = MemoryOutbox()
    worker = Worker(MemoryShards(), outbox)
    log = list(frames(8))
    for offset, frame in enumerate(log):
        await worker.take(offset, frame)
    for second in range(10, 40):
        await worker.stage.tick(now_s=float(second), now_ms=T0)
    assert worker.acked == len(log) - 1
    stats = [record for record in outbox.of(Topic.STATS) if isinstance(record, PartitionStats)]
    assert (stats[-1].known_keys, stats[-1].active_registered_keys) == (12, 0)  # nobody has registered any
    assert stats[-1].clock_s > T0 // 1000 + 16


async def test_a_rebalance_while_findings_are_told_writes_nothing_over_the_next_owners_state() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    worker = Worker(store, outbox)
    log = list(frames(30))
    for offset, frame in enumerate(log):
        stored = dict(store.values)
        outbox.meanwhile[Topic.FINDINGS] = worker.stage.drop
        try:
            await worker.take(offset, frame)
        except Overtaken:
            break
    assert Topic.FINDINGS not in outbox.meanwhile
    assert store.values == stored != {}


async def test_state_is_not_written_past_findings_that_could_not_be_told() -> None:
    """Whoever restores it takes them for told."""

    class Deaf(MemoryOutbox):
        async def send(self, topic: Topic, records: Iterable[tuple[str, Record]]) -> dict[int, int]:
            if topic is Topic.FINDINGS:
                raise ConnectionError("the broker is gone")
            return await super().send(topic, records)

    store = MemoryShards()
    worker = Worker(store, Deaf())

    async def take_all() -> None:
        for offset, frame in enumerate(frames(30)):
            await worker.take(offset, frame)

    with pytest.raises(ConnectionError):
        await take_all()
    written = dict(store.values)
    await worker.stage.tick(now_s=1000.0, now_ms=T0)
    assert store.values == written
