"""A topic from now on: what a person's command waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition


@asynccontextmanager
async def newest(bootstrap: str, topic: str, partitions: int) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader of all that is written after this was entered; it belongs to no group and commits nothing."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="latest")
    await consumer.start()
    try:
        all_of_it = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(all_of_it)
        for tp, end in (await consumer.end_offsets(all_of_it)).items():
            consumer.seek(tp, end)  # now, not with the first fetch: what is ordered next must not be missed
        yield consumer
    finally:
        await consumer.stop()
