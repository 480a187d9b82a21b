"""A real worker on a real broker: feed it, wait until every stage has finished, read what was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from service.worker import Worker
from streams.kafka import producer
from streams.topics import Topic, Topics

PATIENCE_S: Final = 60.0
_SCORED_S: Final = 300.0  # a minute of work on a quiet machine; how fast it is, benchmarks say
_POLL_S: Final = 0.1
_AT_ONCE: Final = 2000
_READ_BY: Final = {"decide": (Topic.FINDINGS, Topic.OUTCOMES, Topic.REQUESTS), "contain": (Topic.COMMANDS,)}


async def feed(bootstrap: str, topic: str, values: Iterable[bytes], *, partition: int | None = 0) -> None:
    """One producer, in order, each awaited in groups."""
    sender = producer(bootstrap, linger_ms=5)
    await sender.start()
    try:
        acks: list[Any] = []
        for value in values:
            acks.append(await sender.send(topic, value, partition=partition))
            if len(acks) >= _AT_ONCE:
                await asyncio.gather(*acks)
                acks.clear()
        await asyncio.gather(*acks)
    finally:
        await sender.stop()


async def until(true: Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S) -> None:
    """Polls; AssertionError with `what` when it never becomes true."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while not true():
        assert asyncio.get_running_loop().time() < deadline, f"never came true: {what}"
        await asyncio.sleep(_POLL_S)


async def until_scored(worker: Worker, events: int) -> None:
    """Every event is scored, and time has gone on so far that the last second is judged too."""
    await until(lambda: worker.score.scored >= events, f"{events} events scored", patience_s=_SCORED_S)
    await until(
        lambda: not any(core.pending for core in worker.score.cores()), "the last second judged", patience_s=_SCORED_S
    )


async def until_decided(bootstrap: str, topics: Topics) -> None:
    """Decide and contain have acknowledged all there is, twice in a row: neither has anything left for the other."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    before: object = None
    while True:
        behind, ends = await _behind(bootstrap, topics)
        if not behind and ends == before:
            return
        before = ends
        assert asyncio.get_running_loop().time() < deadline, f"never read to the end: {behind}"
        await asyncio.sleep(_POLL_S)


async def _behind(bootstrap: str, topics: Topics) -> tuple[dict[str, int], dict[TopicPartition, int]]:
    """Records each group has not acknowledged, and the ends of all topics."""
    ends = await end_offsets(bootstrap, topics, [topic for part in _READ_BY.values() for topic in part])
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        behind = {}
        for stage, read in _READ_BY.items():
            names = {topics.name(topic) for topic in read}
            mine = [tp for tp in ends if tp.topic in names and ends[tp]]
            group = f"{topics.prefix}keyfuse-{stage}"
            done = await admin.list_consumer_group_offsets(group, partitions=mine) if mine else {}
            left = sum(ends[tp] - max(done[tp].offset if tp in done else 0, 0) for tp in mine)
            if left > 0:
                behind[stage] = left
        return behind, ends
    finally:
        await admin.close()


async def end_offsets(bootstrap: str, topics: Topics, wanted: Sequence[Topic]) -> dict[TopicPartition, int]:
    """Number of records of each partition. Tansu's own answer stands within the last batch, so it is read."""
    return {tp: len(values) for topic in wanted for tp, values in (await _read(bootstrap, topics, topic)).items()}


async def read_topic(bootstrap: str, topics: Topics, topic: Topic) -> list[bytes]:
    """All values, partition by partition, each in its order."""
    return [value for values in (await _read(bootstrap, topics, topic)).values() for value in values]


async def _read(bootstrap: str, topics: Topics, topic: Topic) -> dict[TopicPartition, list[bytes]]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest",
        max_partition_fetch_bytes=8_000_000,
    )  # fmt: skip
    await consumer.start()
    found: dict[TopicPartition, list[bytes]] = {}
    try:
        for number in range(topics.count(topic)):
            tp = TopicPartition(topics.name(topic), number)
            values = found.setdefault(tp, [])
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            while await consumer.position(tp) < max(end, consumer.highwater(tp) or 0):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    values.extend(record.value for record in records)
    finally:
        await consumer.stop()
    return found
