"""Marks through a running worker and its broker: read before the first frame, followed, archived, taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer

from schemas.records import Finding, Mark, Request
from streams.kafka import create_topics
from streams.marks import follow_marks, read_marks
from streams.outbox import Outbox
from streams.topics import Topic, Topics, TopicSpec
from tests.brokers import Broker
from tests.integration.uses import T0_MS, Event, use
from tests.integration.world import World, running, until
from tests.marks import HOUR_MS, expected, false_positive, withdrawn

CLOSE_MS = 2 * HOUR_MS
KEY, LOUD = "key_with_a_mark", "key_without_a_mark"


async def send(broker: Broker, topics: Topics, *marks: Mark) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as sender:
        await Outbox(sender, topics).send(Topic.MARKS, [(mark.mark_id, mark) for mark in marks])


async def new_topics(broker: Broker, prefix: str) -> Topics:
    topics = Topics(prefix, 2)
    await create_topics(broker.bootstrap, topics.specs())
    return topics


async def test_all_marks_are_read_to_the_end(broker: Broker, prefix: str) -> None:
    topics = await new_topics(broker, prefix)
    name, count = topics.name(Topic.MARKS), topics.count(Topic.MARKS)
    assert await read_marks(broker.bootstrap, name, count) == []
    marks = [false_positive(f"k{number}") for number in range(300)]
    gone = [withdrawn(mark) for mark in marks[:100]]
    await send(broker, topics, *marks, *gone)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as sender:
        await sender.send_and_wait(name, b"not a mark", key=b"x")
    assert await read_marks(broker.bootstrap, name, count) == Mark.newest([*marks, *gone])


async def test_marks_of_several_partitions_are_read_together(broker: Broker, prefix: str) -> None:
    name = f"{prefix}spread"
    await create_topics(broker.bootstrap, [TopicSpec(name, 3, compacted=True)])
    marks = [false_positive(f"k{number}") for number in range(3)]
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as sender:
        for partition, mark in enumerate(marks):
            await sender.send_and_wait(name, mark.to_bytes(), key=mark.mark_id.encode(), partition=partition)
    assert await read_marks(broker.bootstrap, name, 3) == Mark.newest(marks)


async def test_whoever_follows_hears_of_all_marks_first_and_then_of_each_change(broker: Broker, prefix: str) -> None:
    topics = await new_topics(broker, prefix)
    one, other = false_positive("k1"), expected("k2")
    await send(broker, topics, one)
    heard: list[Sequence[Mark]] = []
    stop = asyncio.Event()
    following = asyncio.create_task(
        follow_marks(
            broker.bootstrap, topics.name(Topic.MARKS), topics.count(Topic.MARKS), changed=heard.append,
            stopping=stop.is_set,
        )
    )  # fmt: skip
    await until(lambda: heard == [[one]], lambda: f"the mark that was there; heard {heard}")
    await send(broker, topics, other, one)
    await until(lambda: heard[-1] == Mark.newest([one, other]), lambda: f"the second mark; heard {heard}")
    await send(broker, topics, withdrawn(one))
    await until(lambda: heard[-1] == Mark.newest([withdrawn(one), other]), lambda: f"it withdrawn; heard {heard}")
    stop.set()
    await asyncio.wait_for(following, 20)
    assert len(heard) == 3


def burst(key_id: str, start_ms: int, tokens: int) -> list[Event]:
    """Seven seconds of requests with so many tokens each: far above a new key's allowance, and no certain limit. Two
    hours later one more request closes the last of them."""
    events = [use(f"{key_id}-{start_ms}-{n}", key_id, start_ms + n * 1000, input_tokens=tokens) for n in range(7)]
    return [*events, use(f"{key_id}-{start_ms}-close", key_id, start_ms + CLOSE_MS)]


def learned(world: World, key_id: str, since_ms: int) -> list[Finding]:
    told: list[Finding] = world.told(Finding, key_id)
    return [finding for finding in told if not finding.certain and finding.at_ms >= since_ms]


def marks_of(world: World) -> list[Mark]:
    """What the core of the key goes by."""
    for core in world.worker.score.cores():
        if core.windows(KEY) is not None:
            return list(core.judge.allowances.marked.marks)
    return []


async def test_a_worker_goes_by_the_marks_from_its_first_frame_and_by_each_change(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    first_ms, second_ms = T0_MS, T0_MS + 86_400_000
    quiet = expected(KEY, at_ms=first_ms - HOUR_MS, hours=24 * 30, times=1000)
    await send(broker, await new_topics(broker, prefix), quiet)
    async with running(broker, prefix, tmp_path, idle_s=3600, keys=(KEY, LOUD), mode="observe") as world:
        for key_id in (KEY, LOUD):
            await world.produce(*burst(key_id, first_ms, 5_000_000), key=key_id)
        await until(lambda: learned(world, LOUD, first_ms), "the burst of the key without a mark is told")
        await until(lambda: world.windows(KEY)[1] >= (first_ms + CLOSE_MS) // 1000, "the other's is scored")

        await send(broker, world.worker.install.topics, withdrawn(quiet))
        await until(lambda: marks_of(world) == [withdrawn(quiet)], "the mark is withdrawn in the core")
        await world.produce(*burst(KEY, second_ms, 100_000_000), key=KEY)
        await until(lambda: learned(world, KEY, second_ms), "the second burst is told")
        assert learned(world, KEY, first_ms) == learned(world, KEY, second_ms)

        said_ms = second_ms + 60_000
        asked = Request(request_id="r", at_ms=said_ms, by="ada", action="false_positive", key_id=KEY, reason="batch")
        await world.ask(asked)
        await until(lambda: len(marks_of(world)) == 2, "the false positive is a mark in the core")
        [mark] = [mark for mark in marks_of(world) if mark.verdict == "false_positive"]
        assert (mark.key_id, mark.by, mark.reason, mark.at_ms) == (KEY, "ada", "batch", said_ms)
        assert "velocity" in mark.families

        store = world.worker.store
        assert store is not None

        async def archived() -> bool:
            return Mark.newest(await asyncio.to_thread(store().marks)) == marks_of(world)

        await until(archived, "both marks in the store, the newest version of each")
