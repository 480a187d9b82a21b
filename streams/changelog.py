"""State in a compacted topic: a write is done when the broker has it, a partition is read back before its first use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.errors import Overtaken

_OWNER: Final = b"owner"
_HEADER: Final = "owner"


class StateRecord(NamedTuple):
    """One value as it was written. `claim` is the offset of its writer's claim; -1: the writer made none."""

    key: bytes
    value: bytes
    claim: int = -1


def newest(records: Iterable[StateRecord]) -> dict[bytes, bytes]:
    """The newest value of each key, where a writer that lost the partition comes after those that claimed it since.

    >>> newest([StateRecord(b"k", b"old", 3), StateRecord(b"k", b"new", 7), StateRecord(b"k", b"late", 3)])
    {b'k': b'new'}
    """
    found: dict[bytes, StateRecord] = {}
    for record in records:
        if record.key != _OWNER and record.claim >= found.get(record.key, record).claim:
            found[record.key] = record
    return {key: record.value for key, record in found.items()}


def claim_of(headers: Iterable[tuple[str, bytes]]) -> int:
    """Of the writer of a record, by its headers."""
    return next((int(value) for name, value in headers if name == _HEADER), -1)


class Changelog:
    """The newest value of each key of the partitions this worker owns. See docs/adr/0006-model-state.md.

    Who writes state that follows from what was read claims a partition before it loads it (docs/adr/0031).
    """

    def __init__(self, bootstrap: str, topic: str, producer: AIOKafkaProducer) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer = producer
        self._values: dict[int, dict[bytes, bytes]] = {}
        self._drops = 0
        self._claims: dict[int, int] = {}
        self._last: dict[int, int] = {}  # of a claimed partition, the offset of what was written here last

    def drop(self) -> None:
        """Forget everything: after a rebalance others may have written."""
        self._values.clear()
        self._drops += 1

    def loaded(self, partition: int) -> bool:
        return partition in self._values

    def items(self, partition: int) -> dict[bytes, bytes]:
        return self._values.get(partition, {})

    def get(self, key: bytes) -> bytes | None:
        """The newest value in any loaded partition; a key lives in one only."""
        return next((values[key] for values in self._values.values() if key in values), None)

    async def claim(self, partition: int) -> None:
        """From now on what owners before still write counts for nothing. To be loaded after it."""
        written = await self._producer.send_and_wait(self._topic, b"1", key=_OWNER, partition=partition)
        self._claims[partition] = self._last[partition] = written.offset

    async def put(self, partition: int, key: bytes, value: bytes) -> None:
        """Returns when all in-sync replicas have it.

        A partition that was dropped meanwhile stays so: with this one value it would pass for loaded.

        Raises:
            Overtaken: it is not loaded; what is to be written was made of a state that may be another owner's by now.
                Or it was claimed, and somebody else has written to it since the last write here: nothing more may be
                acknowledged before it is claimed and loaded again.
        """
        if partition not in self._values:
            raise Overtaken(f"partition {partition} of {self._topic} was given up: nothing is written to it")
        claim = self._claims.get(partition)
        if claim is None:
            await self._producer.send_and_wait(self._topic, value, key=key, partition=partition)
        else:
            await self._put_as_owner(partition, key, value, claim)
        if partition in self._values:
            self._values[partition][key] = value

    async def _put_as_owner(self, partition: int, key: bytes, value: bytes, claim: int) -> None:
        written = await self._producer.send_and_wait(
            self._topic, value, key=key, partition=partition, headers=[(_HEADER, str(claim).encode())]
        )
        expected, self._last[partition] = self._last[partition] + 1, written.offset
        if written.offset != expected:
            raise Overtaken(f"somebody else has written to {self._topic}-{partition} at {expected}")

    async def load(self, partition: int) -> None:
        """Read the partition from its beginning to its present end."""
        while partition not in self._values:
            drops, values = self._drops, newest(await self._records(partition))
            if drops == self._drops:  # else another owner may have written what this reading did not see
                self._values[partition] = values

    async def _records(self, partition: int) -> list[StateRecord]:
        tp = TopicPartition(self._topic, partition)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=8_000_000,
        )
        await consumer.start()
        found: list[StateRecord] = []
        try:
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            while await consumer.position(tp) < max(end, consumer.highwater(tp) or 0):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found.extend(StateRecord(record.key, record.value, claim_of(record.headers)) for record in records)
        finally:
            await consumer.stop()
        return found
