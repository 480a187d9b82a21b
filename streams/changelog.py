"""State in a compacted topic: a write is done when the broker has it, a partition is read back before its first use."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.errors import Overtaken


class Changelog:
    """The newest value of each key of the partitions this worker owns. See docs/adr/0006-model-state.md."""

    def __init__(self, bootstrap: str, topic: str, producer: AIOKafkaProducer) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer = producer
        self._values: dict[int, dict[bytes, bytes]] = {}
        self._drops = 0

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

    async def put(self, partition: int, key: bytes, value: bytes) -> None:
        """Returns when all in-sync replicas have it.

        A partition that was dropped meanwhile stays so: with this one value it would pass for loaded.

        Raises:
            Overtaken: it is not loaded; what is to be written was made of a state that may be another owner's by now.
        """
        if partition not in self._values:
            raise Overtaken(f"partition {partition} of {self._topic} was given up: nothing is written to it")
        await self._producer.send_and_wait(self._topic, value, key=key, partition=partition)
        if partition in self._values:
            self._values[partition][key] = value

    async def load(self, partition: int) -> None:
        """Read the partition from its beginning to its present end."""
        while partition not in self._values:
            drops, values = self._drops, await self._read(partition)
            if drops == self._drops:  # else another owner may have written what this reading did not see
                self._values[partition] = values

    async def _read(self, partition: int) -> dict[bytes, bytes]:
        tp = TopicPartition(self._topic, partition)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=8_000_000,
        )
        await consumer.start()
        values: dict[bytes, bytes] = {}
        try:
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            while await consumer.position(tp) < max(end, consumer.highwater(tp) or 0):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    values.update((record.key, record.value) for record in records)
        finally:
            await consumer.stop()
        return values
