"""Puts the workload into Kafka before anything is measured."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.workload import Workload, events, packed, partitioned


@dataclass(frozen=True)
class Preloaded:
    """A topic full of events."""

    topic: str
    events: int
    records: int
    record_bytes: float  # mean


async def preload(
    bootstrap: str, topic: str, workload: Workload, *, partitions: int, per_record: int = 1, keyed: bool = False
) -> Preloaded:
    """Each event goes to the partition of its key, uncompressed, as a plain producer sends it; `keyed`: with it."""
    placed = partitioned(events(workload), partitions)
    if per_record > 1:
        placed = [packed(values, per_record) for values in placed]
    await create_topic(bootstrap, topic, partitions)
    await produce(bootstrap, topic, placed, keyed=keyed)
    records = sum(map(len, placed))
    total_bytes = sum(len(value) for values in placed for value in values)
    return Preloaded(topic, workload.events, records, total_bytes / records)


async def create_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """A topic that is not there yet."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, placed: list[list[bytes]], *, keyed: bool = False) -> None:
    """Values for each partition, in their order."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, max_batch_size=500_000, max_request_size=5_000_000)
    await producer.start()
    try:
        for partition, values in enumerate(placed):
            await _produce(producer, topic, partition, values, keyed=keyed)
    finally:
        await producer.stop()


async def _produce(producer: AIOKafkaProducer, topic: str, partition: int, values: list[bytes], *, keyed: bool) -> None:
    sent, batch = [], producer.create_batch()
    for value in values:
        key = orjson.loads(value)["key_id"].encode() if keyed else None
        if batch.append(key=key, value=value, timestamp=None) is None:
            sent.append(await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None)
    if batch.record_count():
        sent.append(await producer.send_batch(batch, topic, partition=partition))
    await asyncio.gather(*sent)
