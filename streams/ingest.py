"""`usage.raw` → `usage.frames`: records become columns, are checked, priced and routed by key.

Offsets are committed only after the frames and dead letters of their records are acknowledged. A crash in between
writes the same rows again with the same raw coordinates, and the later stages skip them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas.frame import encode_frame
from sources.batch import BatchParser, ParsedBatch, RawRecord
from sources.routing import split_by_partition
from streams.errors import PoisonedInput
from streams.metrics import Metrics
from streams.topics import Topic, Topics

ROWS_PER_FRAME: Final = 8192
_RATIO_OVER: Final = 2000  # records the dead-letter ratio is judged over


class IngestLoop:
    """One reader of `usage.raw`; scale by running more of them in the same group."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        parser: BatchParser,
        topics: Topics,
        *,
        metrics: Metrics,
        now_ms: Callable[[], int],
        stop_ratio: float,
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._parser = parser
        self._topics = topics
        self._metrics = metrics
        self._now_ms = now_ms
        self._ratio = DeadRatio(stop_ratio)
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def close(self) -> None:
        await self._consumer.stop()

    async def run(self) -> None:
        """Until `stop`; raises PoisonedInput when too much is bad. Parses one batch while the last is in flight."""
        in_flight: tuple[Sequence[asyncio.Future[object]], dict[TopicPartition, int]] | None = None
        while not self._stopping:
            fetched = await self._consumer.getmany(timeout_ms=100)
            sent = await self._send(fetched) if fetched else None
            if in_flight is not None:
                await self._finish(*in_flight)
            in_flight = sent
        if in_flight is not None:
            await self._finish(*in_flight)

    async def _send(
        self, fetched: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]
    ) -> tuple[Sequence[asyncio.Future[object]], dict[TopicPartition, int]]:
        records = [_raw(record) for records in fetched.values() for record in records]
        parsed = self._parser.parse(records, topic=self._topics.name(Topic.RAW), now_ms=self._now_ms())
        self._count(parsed)
        self._ratio.add(len({(d.partition, d.offset) for d in parsed.dead}), len(records))
        acks: list[asyncio.Future[object]] = []
        for partition, part in split_by_partition(parsed.frame, self._topics.partitions).items():
            for start in range(0, part.num_rows, ROWS_PER_FRAME):
                frame = encode_frame(part.slice(start, ROWS_PER_FRAME))
                acks.append(await self._producer.send(self._topics.name(Topic.FRAMES), frame, partition=partition))
                self._metrics.inc("keyfuse_frames_total")
        dead_topic = self._topics.name(Topic.DEAD)
        acks.extend([await self._producer.send(dead_topic, dead.to_bytes()) for dead in parsed.dead])
        return acks, {tp: records[-1].offset + 1 for tp, records in fetched.items()}

    async def _finish(self, acks: Sequence[asyncio.Future[object]], offsets: dict[TopicPartition, int]) -> None:
        for ack in acks:
            await ack
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            return  # the partitions have a new owner, who reads these records again
        except KafkaError:
            self._metrics.inc("keyfuse_retries_total", where="ingest_commit")  # the next commit covers this one
            return
        self._metrics.set("keyfuse_stage_last_commit_age_seconds", 0, stage="ingest")

    def _count(self, parsed: ParsedBatch) -> None:
        self._metrics.inc("keyfuse_events_ingested_total", parsed.frame.num_rows)
        for dead in parsed.dead:
            self._metrics.inc("keyfuse_dead_letters_total", reason=dead.reason.value)


class DeadRatio:
    """Stops the ingest when most of the last records are bad: that is our fault or an attack, not an accident.

    >>> ratio = DeadRatio(0.5)
    >>> ratio.add(10, 10)  # a few bad records in a row are no reason
    """

    def __init__(self, stop_ratio: float) -> None:
        self._stop_ratio = stop_ratio
        self._recent: deque[tuple[int, int]] = deque()

    def add(self, dead: int, records: int) -> None:
        """PoisonedInput when the ratio over the last records passes the limit."""
        self._recent.append((dead, records))
        while sum(n for _, n in self._recent) - self._recent[0][1] >= _RATIO_OVER:
            self._recent.popleft()
        total_dead, total = (sum(pair) for pair in zip(*self._recent, strict=True))
        if total >= _RATIO_OVER and total_dead > self._stop_ratio * total:
            raise PoisonedInput(f"{total_dead} of the last {total} records are bad: the ingest stops; see usage.dead")


def _raw(record: ConsumerRecord[bytes, bytes]) -> RawRecord:
    fmt = None
    if record.headers:
        fmt = next((v.decode("ascii", "replace") for k, v in record.headers if k == "format"), None)
    return RawRecord(record.partition, record.offset, record.value or b"", fmt)
