"""What the service relies on in Faust and aiokafka, on both brokers."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import Self, cast

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, OffsetAndMetadata, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from faust.transport.consumer import RecordMap
from faust.types import TP, EventT, StreamT

from streams.faust_engine import Engine, OneNumberOneWorker
from streams.kafka import Timing
from tests.brokers import ROOT, Broker
from tests.integration.faust_engine import (
    CHECKPOINT_EVERY,
    PARTITIONS,
    SESSION_TIMEOUT_S,
    HoleError,
    admin,
    committed,
    create_topics,
    read_all,
    without_holes,
)

PATIENCE_S = 30.0


def engine(broker: Broker, app_id: str) -> Engine:
    return Engine(app_id, broker.bootstrap, timing=Timing(SESSION_TIMEOUT_S, 20 if broker.name == "tansu" else 500))


@asynccontextmanager
async def started(app: Engine) -> AsyncIterator[Engine]:
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


@asynccontextmanager
async def producer(broker: Broker) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def produce(broker: Broker, topic: str, *, each: int, partitions: int = PARTITIONS) -> None:
    async with producer(broker) as client:
        for number in range(each):
            for partition in range(partitions):
                await client.send_and_wait(topic, b"%d" % number, partition=partition)


async def until_committed(broker: Broker, group: str, topic: str, offsets: dict[int, int]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while await committed(broker.bootstrap, group, topic) != offsets:  # noqa: ASYNC110 - the broker has no event
            await asyncio.sleep(0.05)


def collecting(app: Engine, *topics: str, name: str) -> asyncio.Queue[EventT[bytes]]:
    events: asyncio.Queue[EventT[bytes]] = asyncio.Queue()

    @app.agent(app.bytes_topic(*topics), name=name, concurrency=1)
    async def collect(stream: StreamT[bytes]) -> None:
        async for event in without_holes(stream, app.guarded_consumer):
            await events.put(event)

    return events


async def take(events: asyncio.Queue[EventT[bytes]], number: int) -> list[EventT[bytes]]:
    async with asyncio.timeout(PATIENCE_S):
        return [await events.get() for _ in range(number)]


async def test_what_is_done_is_committed_and_the_rest_comes_again_after_a_restart(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}source", f"{prefix}app"
    await create_topics(broker.bootstrap, {topic: 1})
    await produce(broker, topic, each=5, partitions=1)
    first = engine(broker, group)
    events = collecting(first, topic, name=group)
    async with started(first):
        await take(events, 5)
        first.guarded_consumer.done(TP(topic, 0), 3)
        await until_committed(broker, group, topic, {0: 3})

    again = engine(broker, group)
    events = collecting(again, topic, name=group)
    async with started(again):
        assert [event.message.offset for event in await take(events, 2)] == [3, 4]


async def test_stopping_commits_what_is_done_and_does_not_wait_for_the_rest(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}source", f"{prefix}app"
    await create_topics(broker.bootstrap, {topic: 1})
    await produce(broker, topic, each=4, partitions=1)
    app = engine(broker, group)
    events = collecting(app, topic, name=group)
    held = []
    async with started(app):
        held += await take(events, 4)
        app.guarded_consumer.done(TP(topic, 0), 2)
    assert len(held) == 4
    assert await committed(broker.bootstrap, group, topic) == {0: 2}


@pytest.mark.parametrize("done", [0, 2])
async def test_what_a_rebalance_overtook_comes_again_also_where_nothing_is_committed_yet(
    broker: Broker, prefix: str, done: int
) -> None:
    topic, group = f"{prefix}source", f"{prefix}app"
    await create_topics(broker.bootstrap, {topic: 1})
    await produce(broker, topic, each=4, partitions=1)
    app = engine(broker, group)
    came: asyncio.Queue[int] = asyncio.Queue()

    @app.agent(app.bytes_topic(topic), name=group, concurrency=1)
    async def collect(stream: StreamT[bytes]) -> None:
        async for event in cast("faust.Stream[bytes]", stream).noack().events():
            await came.put(event.message.offset)

    async with started(app), asyncio.timeout(PATIENCE_S):
        assert [await came.get() for _ in range(4)] == [0, 1, 2, 3]
        if done:
            app.guarded_consumer.done(TP(topic, 0), done)
            await until_committed(broker, group, topic, {0: done})
        await app.guarded_consumer.perform_seek()  # as Faust does after each rebalance
        assert [await came.get() for _ in range(4 - done)] == [0, 1, 2, 3][done:]


def numbers(app: Engine, topic: str) -> list[int]:
    return sorted(tp.partition for tp in app.guarded_consumer.assignment() if tp.topic == topic)


async def until_shared(apps: Sequence[Engine], topics: Sequence[str]) -> None:
    """Each partition has one owner, and each worker has some."""

    def shared() -> bool:
        owned = [[number for app in apps for number in numbers(app, topic)] for topic in topics]
        once = all(sorted(each) == list(range(PARTITIONS)) for each in owned)
        return once and all(any(numbers(app, topic) for topic in topics) for app in apps)

    while not shared():  # noqa: ASYNC110 - an assignment has no event
        await asyncio.sleep(0.05)


async def test_of_three_workers_each_has_the_same_partitions_of_both_topics_of_a_stage(
    broker: Broker, prefix: str
) -> None:
    topics, group = (f"{prefix}one", f"{prefix}other"), f"{prefix}app"
    await create_topics(broker.bootstrap, dict.fromkeys(topics, PARTITIONS))
    apps = [engine(broker, group) for _ in range(3)]
    for app in apps:
        collecting(app, *topics, name=group)

    async with AsyncExitStack() as running, asyncio.timeout(PATIENCE_S):
        for app in apps:
            await running.enter_async_context(started(app))
        await until_shared(apps, topics)
        assert [numbers(app, topics[0]) for app in apps] == [numbers(app, topics[1]) for app in apps]


async def test_a_worker_of_before_shares_a_group_with_one_of_now(
    broker: Broker, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, group = f"{prefix}source", f"{prefix}app"
    await create_topics(broker.bootstrap, {topic: PARTITIONS})
    old, new = engine(broker, group), engine(broker, group)
    for app in (old, new):
        collecting(app, topic, name=group)
    async with AsyncExitStack() as running, asyncio.timeout(PATIENCE_S):
        with monkeypatch.context() as before:
            before.setattr("streams.faust_engine.OneNumberOneWorker", RoundRobinPartitionAssignor)
            await running.enter_async_context(started(old))
            await until_shared([old], [topic])
        await running.enter_async_context(started(new))
        await until_shared([old, new], [topic])


async def test_nobody_waits_long_for_others_while_a_partition_is_full_here(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}source", f"{prefix}app"
    await create_topics(broker.bootstrap, {topic: 2})
    await produce(
        broker, topic, each=15, partitions=1
    )  # enough that Faust asks for no more, not so many that it blocks
    app = engine(broker, group)
    events: asyncio.Queue[EventT[bytes]] = asyncio.Queue()
    full_here = asyncio.Event()
    consumer, waits = app.guarded_consumer, list[float]()
    fetch = consumer._getmany

    @app.agent(app.bytes_topic(topic), name=group, concurrency=1)
    async def slow(stream: StreamT[bytes]) -> None:
        async for event in without_holes(stream, consumer):
            await full_here.wait()
            await events.put(event)

    async def watched(active_partitions: set[TP] | None, timeout: float) -> RecordMap:  # noqa: ASYNC109 - Faust's own
        if consumer._buffered_partitions:
            full_here.set()
            waits.append(timeout)
        return await fetch(active_partitions, timeout)

    consumer._getmany = watched  # type: ignore[method-assign]  # only looked at
    async with started(app):
        await take(events, 15)
    assert max(waits) < 0.1


async def test_sending_tells_where_the_record_was_written(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}out"
    await create_topics(broker.bootstrap, {topic: 2, f"{prefix}in": 1})
    app = engine(broker, f"{prefix}app")
    collecting(app, f"{prefix}in", name=prefix)
    async with started(app):
        written = [await (await app.bytes_topic(topic).send(value=b"x", partition=1)) for _ in range(3)]
    assert [(place.partition, place.offset) for place in written] == [(1, 0), (1, 1), (1, 2)]


async def test_one_process_runs_two_apps_and_one_agent_reads_two_topics(broker: Broker, prefix: str) -> None:
    topics = {f"{prefix}a": 2, f"{prefix}b": 1}
    await create_topics(broker.bootstrap, topics)
    apps = [engine(broker, f"{prefix}{name}") for name in ("one", "two")]
    queues = [collecting(app, *topics, name=app.conf.id) for app in apps]
    for topic, partitions in topics.items():
        await produce(broker, topic, each=1, partitions=partitions)
    async with started(apps[0]), started(apps[1]):
        for events in queues:
            places = {(event.message.topic, event.message.partition) for event in await take(events, 3)}
            assert places == {(f"{prefix}a", 0), (f"{prefix}a", 1), (f"{prefix}b", 0)}


async def test_a_service_of_the_app_reads_batches_and_commits_by_itself(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}raw", f"{prefix}ingest"
    await create_topics(broker.bootstrap, {topic: 1, f"{prefix}in": 1})
    await produce(broker, topic, each=10, partitions=1)
    app = engine(broker, f"{prefix}app")
    collecting(app, f"{prefix}in", name=prefix)

    @app.service
    class Ingest(faust.Service):
        async def on_start(self) -> None:
            self.consumer = _reader(broker, topic, group)
            await self.consumer.start()

        @faust.Service.task
        async def run(self) -> None:
            while not self.should_stop:
                for tp, records in (await self.consumer.getmany(timeout_ms=100, max_records=4)).items():
                    await self.consumer.commit({tp: records[-1].offset + 1})

        async def on_stop(self) -> None:
            await self.consumer.stop()

    async with started(app):
        await until_committed(broker, group, topic, {0: 10})


def _reader(broker: Broker, topic: str, group: str) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker.bootstrap,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=2000,
        heartbeat_interval_ms=500,
        fetch_max_wait_ms=20,
    )


async def test_a_note_on_a_commit_comes_back_from_kafka_and_is_dropped_by_tansu(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}source", f"{prefix}group"
    await create_topics(broker.bootstrap, {topic: 1})
    await produce(broker, topic, each=3, partitions=1)
    tp, consumer = TopicPartition(topic, 0), _reader(broker, topic, group)
    await consumer.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await consumer.getone()
        await consumer.commit({tp: OffsetAndMetadata(2, "batch 0-500")})
    finally:
        await consumer.stop()
    async with admin(broker.bootstrap) as client:
        kept = (await client.list_consumer_group_offsets(group, partitions=[tp]))[tp]
    assert kept.offset == 2
    assert kept.metadata == {"kafka": "batch 0-500", "tansu": ""}[broker.name]


async def test_a_checkpoint_topic_is_read_to_its_very_end(broker: Broker, prefix: str) -> None:
    topic = f"{prefix}checkpoint"
    await create_topics(broker.bootstrap, {topic: 1}, **{"cleanup.policy": "compact"})
    assert await read_all(broker.bootstrap, topic, 0) == []
    async with producer(broker) as client:
        await client.send_and_wait(topic, b"first", key=b"k")
        one_batch = client.create_batch()
        for number in range(5):
            one_batch.append(key=b"k", value=b"%d" % number, timestamp=None)
        await (await client.send_batch(one_batch, topic, partition=0))
    assert [value for _, value in await read_all(broker.bootstrap, topic, 0)] == [b"first", *b"0 1 2 3 4".split()]


class Delivery:
    """A stream that delivers these (generation, offset) of one partition, and the consumer behind it."""

    def __init__(self, *events: tuple[int, int], committed: int | None, earliest: int = 0) -> None:
        self._events = events
        self._earliest = earliest
        self._committed_offset = {TP("usage", 0): committed}

    def noack(self) -> Self:
        return self

    async def events(self) -> AsyncIterator[SimpleNamespace]:
        for generation, offset in self._events:
            message = SimpleNamespace(tp=TP("usage", 0), offset=offset, generation_id=generation)
            yield SimpleNamespace(message=message)

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, self._earliest)


@pytest.mark.parametrize(
    ("delivery", "used", "hole"),
    [
        pytest.param(Delivery((1, 0), (1, 1), committed=None), [0, 1], None, id="a new group starts at the beginning"),
        pytest.param(Delivery((1, 1), (1, 2), committed=None), [], "1 came where 0", id="the first is skipped"),
        pytest.param(Delivery((1, 5), (1, 7), committed=5), [5], "7 came where 6", id="one in the middle is skipped"),
        pytest.param(Delivery((1, 6), committed=5), [], "6 came where 5", id="the first after a restart is skipped"),
        pytest.param(Delivery((1, 9), (1, 10), committed=5, earliest=9), [9, 10], None, id="retention took some"),
        pytest.param(Delivery((1, 5), (2, 5), (2, 6), committed=5), [5, 5, 6], None, id="a rebalance replays"),
        pytest.param(Delivery((1, 5), (2, 6), committed=5), [5], "6 came where 5", id="skipped after a rebalance"),
    ],
)
async def test_a_skipped_record_is_noticed_before_anything_after_it_is_used(
    delivery: Delivery, used: list[int], hole: str | None
) -> None:
    seen: list[int] = []

    async def use() -> None:
        async for event in without_holes(delivery, delivery):  # type: ignore[arg-type]
            seen.append(event.message.offset)  # noqa: PERF401 - what was used before it raised is the point

    with nullcontext() if hole is None else pytest.raises(HoleError, match=hole):
        await use()
    assert seen == used


class Counters:
    """Counting programs as processes that can be killed; what they say comes to one place. None outlives the test."""

    def __init__(self, broker: Broker, prefix: str) -> None:
        self._program = ("-m", "tests.integration.faust_engine", broker.bootstrap, prefix, broker.name)
        self._running: list[tuple[asyncio.subprocess.Process, asyncio.Task[None]]] = []
        self._said: asyncio.Queue[dict[str, int]] = asyncio.Queue()

    async def start_one(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *self._program, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        self._running.append((process, asyncio.create_task(self._listen(process))))

    async def kill_oldest(self) -> None:
        process, listener = self._running.pop(0)
        process.kill()
        await listener
        await process.wait()

    async def until_counted(self, records: int) -> None:
        """Return once each partition's checkpoint covers so many records."""
        counted = dict.fromkeys(range(PARTITIONS), 0)
        async with asyncio.timeout(PATIENCE_S):
            while min(counted.values()) < records:
                fact = await self._said.get()
                assert fact["records"] == fact["highest"] + 1, "each offset counts once"
                counted[fact["partition"]] = max(fact["records"], counted[fact["partition"]])
        assert max(counted.values()) == records

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            await self._said.put(json.loads(line))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        while self._running:
            await self.kill_oldest()


async def test_a_killed_worker_continues_its_counts_and_none_is_lost_or_doubled(broker: Broker, prefix: str) -> None:
    source = f"{prefix}source"
    await create_topics(broker.bootstrap, {source: PARTITIONS, f"{prefix}checkpoint": PARTITIONS})
    async with Counters(broker, prefix) as counters:
        for life in (1, 2, 3):
            # Not a multiple of the checkpoint interval: each life ends with records counted that no checkpoint covers.
            await produce(broker, source, each=CHECKPOINT_EVERY + 2)
            await counters.start_one()
            checkpoints = life * (CHECKPOINT_EVERY + 2) // CHECKPOINT_EVERY
            await counters.until_counted(checkpoints * CHECKPOINT_EVERY)
            await counters.kill_oldest()


async def test_two_workers_share_the_counting_and_survive_the_death_of_one(broker: Broker, prefix: str) -> None:
    source = f"{prefix}source"
    await create_topics(broker.bootstrap, {source: PARTITIONS, f"{prefix}checkpoint": PARTITIONS})
    async with Counters(broker, prefix) as counters:
        await counters.start_one()
        await produce(broker, source, each=CHECKPOINT_EVERY)
        await counters.until_counted(CHECKPOINT_EVERY)

        await counters.start_one()
        await produce(broker, source, each=CHECKPOINT_EVERY)
        await counters.until_counted(2 * CHECKPOINT_EVERY)

        await counters.kill_oldest()
        await produce(broker, source, each=CHECKPOINT_EVERY)
        await counters.until_counted(3 * CHECKPOINT_EVERY)


@asynccontextmanager
async def a_client(broker: Broker, prefix: str) -> AsyncIterator[AIOKafkaConsumer]:
    """aiokafka's consumer of an engine that has started."""
    await create_topics(broker.bootstrap, {f"{prefix}in": 1})
    app = engine(broker, f"{prefix}app")
    collecting(app, f"{prefix}in", name=prefix)
    async with started(app):
        client = app.guarded_consumer._thread._consumer
        assert client is not None
        yield client


async def test_the_fetch_wait_reaches_the_client(broker: Broker, prefix: str) -> None:
    async with a_client(broker, prefix) as client:
        assert client._fetcher._fetch_max_wait_ms == {"tansu": 20, "kafka": 500}[broker.name]


async def test_a_member_offers_one_assignor_for_aiokafka_joins_anew_for_each(broker: Broker, prefix: str) -> None:
    async with a_client(broker, prefix) as client:
        assert client._coordinator._assignors == (OneNumberOneWorker,)
