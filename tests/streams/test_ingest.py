"""The ingest reads all partitions alike, and nothing overtakes rows that a rebalance took away."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import RequestTimedOutError

from schemas.frame import decode_frame
from streams.health import StageProgress
from streams.ingest import EVENTS_PER_BATCH, IngestLoop
from streams.metrics import Metrics
from streams.pace import MUCH
from streams.topics import Topic, Topics
from tests.sources.events import NOW_MS, event, parser

TOPICS = Topics(partitions=2)
RAW, FRAMES = TOPICS.name(Topic.RAW), TOPICS.name(Topic.FRAMES)


class Fetched(NamedTuple):
    """A record as aiokafka gives it."""

    partition: int
    offset: int
    value: bytes
    headers: tuple[()] = ()


class Kafka:
    """A group's only member, as consumer and producer: raw partitions from memory, acknowledged at once."""

    def __init__(self, records: dict[int, list[bytes]]) -> None:
        self.log = {TopicPartition(RAW, p): values for p, values in records.items()}
        self.at = dict.fromkeys(self.log, 0)
        self.done: dict[TopicPartition, int] = {}
        self.asked: list[tuple[int, int]] = []
        self.sent: list[tuple[str, bytes]] = []
        self.rebalance_at: int | None = None  # before the call of this number
        self.refused_commits = self.idle = 0
        self.loop: IngestLoop
        self._fetcher = SimpleNamespace(_records={})  # aiokafka's own, which holds nothing here

    def subscribe(self, _topics: list[str], listener: IngestLoop) -> None:
        self.loop = listener

    def assignment(self) -> set[TopicPartition]:
        return set(self.log)

    async def committed(self, tp: TopicPartition) -> int | None:
        return self.done.get(tp)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at[tp] = offset

    async def seek_to_beginning(self, tp: TopicPartition) -> None:
        self.at[tp] = 0

    def highwater(self, tp: TopicPartition) -> int:
        return len(self.log[tp])

    async def position(self, tp: TopicPartition) -> int:
        return self.at[tp]

    async def getmany(
        self, *tps: TopicPartition, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Fetched]]:
        if len(self.asked) == self.rebalance_at:
            await self.loop.on_partitions_revoked(list(self.log))
            self.at = {tp: self.done.get(tp, 0) for tp in self.log}
            await self.loop.on_partitions_assigned(list(self.log))
        (tp, *others) = tps or sorted(self.log)
        self.asked.append((tp.partition, max_records))
        start = self.at[tp]
        if timeout_ms and all(self.at[each] == len(self.log[each]) for each in (tp, *others)):
            self.idle += 1
            if self.idle > 1:
                self.loop.stop()
        values = self.log[tp][start : start + max_records]
        self.at[tp] += len(values)
        return {tp: [Fetched(tp.partition, start + n, value) for n, value in enumerate(values)]} if values else {}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.refused_commits:
            self.refused_commits -= 1
            raise RequestTimedOutError
        self.done |= offsets

    async def send(self, topic: str, value: bytes, partition: int | None = None) -> asyncio.Future[object]:
        self.sent.append((topic, value))
        acked: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        acked.set_result(None)
        return acked

    def places(self) -> list[tuple[int, int]]:
        """Raw partition and offset of each row that was sent."""
        frames = [decode_frame(value) for topic, value in self.sent if topic == FRAMES]
        return [
            place
            for frame in frames
            for place in zip(frame["raw_partition"].to_pylist(), frame["raw_offset"].to_pylist(), strict=True)
        ]


async def ingested(kafka: Kafka) -> Kafka:
    loop = IngestLoop(
        cast("AIOKafkaConsumer", kafka), cast("AIOKafkaProducer", kafka), parser(max_future_s=None), TOPICS,
        metrics=Metrics(), progress=StageProgress("ingest", 0), now_ms=lambda: NOW_MS, now_s=lambda: 0.0,
        stop_ratio=0.5,
    )  # fmt: skip
    async with asyncio.timeout(30):
        await loop.run()
    return kafka


def events(count: int, first_s: int, **more: Any) -> list[bytes]:
    return [
        orjson.dumps(event(event_id=f"e{first_s}-{n}", ts=NOW_MS // 1000 - 90_000 + first_s + n, **more))
        for n in range(count)
    ]


async def test_every_partition_is_read_in_the_same_share_and_all_is_committed() -> None:
    kafka = await ingested(Kafka({0: events(40, 0), 1: events(30, 5)}))
    assert kafka.asked[:2] == [(0, EVENTS_PER_BATCH // 2), (1, EVENTS_PER_BATCH // 2)]
    assert Counter(kafka.places()) == Counter([(0, n) for n in range(40)] + [(1, n) for n in range(30)])
    assert {tp.partition: offset for tp, offset in kafka.done.items()} == {0: 40, 1: 30}


@pytest.mark.parametrize(
    ("records", "waits"),
    [(MUCH, [0.05]), (MUCH - 1, [0.005, 0.05, 0.05])],
    ids=["a backlog is read on at once", "little is gathered, with what comes on asking"],
)
async def test_between_two_turns_the_ingest_waits_while_little_comes(
    records: int, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands, so each wait is a whole one; the turn after the last record always waits."""
    waited, sleep = list[float](), asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    await ingested(Kafka({0: events(records, 0)}))
    assert waited == waits


async def test_what_came_since_the_client_last_asked_goes_with_what_it_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client asks anew when what it holds is taken: without a second look all is as old as the turn before."""
    kafka, fresh, sleep = Kafka({0: events(5, 0), 1: []}), {0: events(3, 5), 1: events(2, 7)}, asyncio.sleep

    async def arrives(_seconds: float) -> None:
        for partition, values in fresh.items():
            kafka.log[TopicPartition(RAW, partition)] += values
            fresh[partition] = []
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", arrives)
    await ingested(kafka)
    [first, *_] = [decode_frame(value) for topic, value in kafka.sent if topic == FRAMES]
    assert Counter(kafka.places()) == Counter([(0, n) for n in range(8)] + [(1, n) for n in range(2)])
    assert Counter(first["raw_partition"].to_pylist()) == {0: 8, 1: 2}


async def test_a_large_batch_is_read_beside_the_loop_and_ends_the_same() -> None:
    values = events(3000, 0)
    values[1500] = b"{"
    kafka = await ingested(Kafka({0: values, 1: []}))
    assert kafka.places() == [(0, n) for n in range(3000) if n != 1500]
    dead = [orjson.loads(value) for topic, value in kafka.sent if topic == TOPICS.name(Topic.DEAD)]
    assert [(letter["offset"], letter["reason"]) for letter in dead] == [(1500, "not_json")]


async def test_what_was_read_before_a_rebalance_is_not_sent_after_it() -> None:
    """
    partition 0   0 ........ 39              read; then a rebalance; read again from what is committed
    partition 1   read after the rebalance
    """
    kafka = Kafka({0: events(40, 0), 1: events(30, 5)})
    kafka.rebalance_at = 1
    await ingested(kafka)
    assert Counter(kafka.places()) == Counter([(0, n) for n in range(40)] + [(1, n) for n in range(30)])


async def test_a_commit_that_failed_last_is_tried_again_without_new_records() -> None:
    kafka = Kafka({0: events(5, 0), 1: []})
    kafka.refused_commits = 1
    await ingested(kafka)
    assert kafka.done == {TopicPartition(RAW, 0): 5}
