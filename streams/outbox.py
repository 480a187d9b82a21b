"""Records out: each awaited until the broker has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer

from schemas.partition import partition_of
from schemas.records import Record
from streams.topics import Topic, Topics


class Outbox:
    """Sends the records of one worker, each to the partition of its key, and returns when all are acknowledged."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics) -> None:
        self._producer = producer
        self._topics = topics

    async def send(self, topic: Topic, records: Iterable[tuple[str, Record]]) -> dict[int, int]:
        """(key, record) pairs, in order. Gives back the offset after the newest record, by partition written to."""
        count = self._topics.count(topic)
        name = self._topics.name(topic)
        acks = [
            await self._producer.send(name, record.to_bytes(), key=key.encode(), partition=partition_of(key, count))
            for key, record in records
        ]
        return {done.partition: done.offset + 1 for done in await asyncio.gather(*acks)}

    async def forget(self, topic: Topic, keys: Iterable[str]) -> None:
        """Nothing is under these keys of a compacted topic any more."""
        count, name = self._topics.count(topic), self._topics.name(topic)
        acks = [
            await self._producer.send(name, None, key=key.encode(), partition=partition_of(key, count)) for key in keys
        ]
        await asyncio.gather(*acks)
