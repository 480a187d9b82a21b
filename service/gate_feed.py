"""What a gate is told: topics read to their ends, then followed; never backwards, whatever the connection does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from gate.kept import Place
from streams.kafka import Timing, at_end
from streams.topics import Topic, Topics

Take = Callable[[bytes | None, Place], None]
"""One record's value. What it cannot read it counts and leaves: one bad record must not stop the rest."""
_AT_ONCE: Final = 200  # records between two calls that are answered meanwhile
_PAUSE_S: Final = 0.5
log = structlog.get_logger()


class GateFeed:
    """Every record of some topics, in the order of each partition.

    `applied` is how far it got. Once all that was there at the start is known, `caught_up` is called, `filled` is set.
    """

    def __init__(
        self, bootstrap: str, topics: Topics, takers: Mapping[Topic, Take], *, timing: Timing,
        progressed: Callable[[], None] = lambda: None, caught_up: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._bootstrap, self._topics, self._timing = bootstrap, topics, timing
        self._progressed, self._caught_up = progressed, caught_up
        self._takers = {topics.name(topic): take for topic, take in takers.items()}
        self._tps = [
            TopicPartition(topics.name(topic), number) for topic in takers for number in range(topics.count(topic))
        ]
        self._positions: dict[TopicPartition, int] = {}
        self.filled = asyncio.Event()
        self.problem = ""

    def applied(self, topic: Topic) -> dict[int, int]:
        """By partition: the offset up to which all of the topic is in force here."""
        name = self._topics.name(topic)
        return {tp.partition: offset for tp, offset in self._positions.items() if tp.topic == name}

    async def run(self, stopping: Callable[[], bool]) -> None:
        """Until `stopping`; without the broker it tries again, and what is known stays in force."""
        while not stopping():
            try:
                await self._follow(stopping)
            except (KafkaError, OSError) as error:
                self.problem = f"the broker does not answer: {error}"
                log.warning("gate has lost the broker; what it knows stays in force", why=str(error))
                await asyncio.sleep(_PAUSE_S)

    async def _follow(self, stopping: Callable[[], bool]) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, enable_auto_commit=False, auto_offset_reset="earliest",
            fetch_max_wait_ms=self._timing.fetch_wait_ms, max_poll_records=_AT_ONCE,
        )  # fmt: skip
        try:  # a consumer that did not start stays, too, unless it is stopped
            await consumer.start()
            consumer.assign(self._tps)
            for tp, offset in self._positions.items():
                consumer.seek(tp, offset)
            while not stopping():
                batch = await consumer.getmany(timeout_ms=200)
                for tp, records in batch.items():
                    self._take(tp, records)
                if not self.filled.is_set() and await at_end(consumer, self._tps):
                    await self._note_positions(consumer)
                    self._caught_up()
                    self.filled.set()
                self.problem = ""
                if batch:
                    self._progressed()
                    await asyncio.sleep(0)  # calls that came meanwhile are answered before the next records
        finally:
            await consumer.stop()

    def _take(self, tp: TopicPartition, records: list[ConsumerRecord[bytes, bytes]]) -> None:
        take = self._takers[tp.topic]
        for record in records:
            take(record.value, Place(tp.partition, record.offset))
            self._positions[tp] = record.offset + 1

    async def _note_positions(self, consumer: AIOKafkaConsumer) -> None:
        """Of empty partitions too: nothing is in force there, and that is all there is."""
        for tp in self._tps:
            self._positions[tp] = await consumer.position(tp)
