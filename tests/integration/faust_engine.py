"""The smallest worker on Faust that loses nothing: what the engine tests hold the engine's settings against.

As a program (`python -m tests.integration.faust_engine BOOTSTRAP PREFIX`) it counts the records of each partition,
checkpoints the count, acknowledges, and says each step as one JSON line, so that a test can kill it anywhere.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from faust.types import TP, EventT, StreamT

from streams.faust_engine import Engine, GuardedConsumer
from streams.kafka import Timing

PARTITIONS = 4
CHECKPOINT_EVERY = 5
SESSION_TIMEOUT_S = 2.0  # a killed worker's partitions are free after this; 30 s in production


class HoleError(RuntimeError):
    """A record was skipped on its way to the agent. Start again from the last commit."""


async def without_holes(stream: StreamT[bytes], consumer: GuardedConsumer) -> AsyncIterator[EventT[bytes]]:
    """The events of `stream`, in the order of their offsets; a skipped one raises, before anything after it is used.

    Raises:
        HoleError: an offset is missing that the broker still has.
    """
    expected: dict[tuple[TP, int | None], int] = {}
    async for event in cast("faust.Stream[bytes]", stream).noack().events():
        message = event.message
        position = (message.tp, message.generation_id)
        if position not in expected:
            earliest = (await consumer.earliest_offsets(message.tp))[message.tp]
            expected[position] = max(consumer._committed_offset[message.tp] or 0, earliest)
        if message.offset > expected[position]:
            raise HoleError(f"{message.tp}: {message.offset} came where {expected[position]} was expected")
        expected[position] = message.offset + 1
        yield event


async def create_topics(bootstrap: str, topics: Mapping[str, int], **config: str) -> None:
    """Make topics with that many partitions, one replica each."""
    async with admin(bootstrap) as client:
        await client.create_topics([NewTopic(name, count, 1, topic_configs=config) for name, count in topics.items()])


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def committed(bootstrap: str, group: str, topic: str, *, partitions: int = PARTITIONS) -> dict[int, int]:
    """Committed offset by partition, without those that have none."""
    # Tansu cannot answer "all partitions", so they are named.
    wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
    async with admin(bootstrap) as client:
        offsets = await client.list_consumer_group_offsets(group, partitions=wanted)
    return {tp.partition: found.offset for tp, found in offsets.items() if found.offset >= 0}


async def read_all(bootstrap: str, topic: str, partition: int) -> list[tuple[bytes | None, bytes | None]]:
    """Key and value of each record in a partition now, oldest first: how a checkpoint is loaded."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    tp = TopicPartition(topic, partition)
    records: list[tuple[bytes | None, bytes | None]] = []
    try:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        # Tansu's end offset stands in the middle of the last batch; its fetch answers carry the true high watermark.
        while await consumer.position(tp) < max(end, consumer.highwater(tp) or 0):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records.extend((record.key, record.value) for record in batch)
    finally:
        await consumer.stop()
    return records


@dataclass
class Count:
    """The state of one partition."""

    records: int = 0
    highest: int = -1
    since_checkpoint: int = 0

    def fold(self, offset: int) -> None:
        """Count one record, once."""
        if offset > self.highest:
            self.records, self.highest = self.records + 1, offset
            self.since_checkpoint += 1


def counting_app(bootstrap: str, prefix: str, *, embedded: bool) -> Engine:
    """Counts `<prefix>source` by partition, with checkpoints in `<prefix>checkpoint`."""
    app = Engine(f"{prefix}count", bootstrap, timing=Timing(SESSION_TIMEOUT_S, 20 if embedded else 500))
    source, checkpoint = app.bytes_topic(f"{prefix}source"), app.bytes_topic(f"{prefix}checkpoint")
    counts: dict[tuple[int | None, int], Count] = {}

    @app.agent(source, concurrency=1)
    async def count(stream: StreamT[bytes]) -> None:
        async for event in without_holes(stream, app.guarded_consumer):
            message = event.message
            state = counts.get((message.generation_id, message.partition))
            if state is None:
                state = await _load(bootstrap, f"{prefix}checkpoint", message.partition)
                counts[message.generation_id, message.partition] = state
            state.fold(message.offset)
            if state.since_checkpoint >= CHECKPOINT_EVERY:
                value = json.dumps([state.records, state.highest]).encode()
                await (await checkpoint.send(key=b"count", value=value, partition=message.partition))
                app.guarded_consumer.done(message.tp, state.highest + 1)
                state.since_checkpoint = 0
                _say(partition=message.partition, records=state.records, highest=state.highest)

    return app


async def _load(bootstrap: str, topic: str, partition: int) -> Count:
    last = dict(await read_all(bootstrap, topic, partition)).get(b"count")
    return Count(*json.loads(last)) if last is not None else Count()


def _say(**fact: int) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


async def _main(bootstrap: str, prefix: str, embedded: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = counting_app(bootstrap, prefix, embedded=embedded == "tansu")
    await app.start()
    await stop.wait()
    await app.stop()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
