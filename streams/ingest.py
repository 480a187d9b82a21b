"""`usage.raw` → `usage.frames`: records become columns, are checked, priced and routed by key.

Offsets are committed only after the frames and dead letters of their records are acknowledged. A crash in between
writes the same rows again with the same raw coordinates, and the later stages skip them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas.frame import encode_frame
from sources.alignment import Alignment
from sources.batch import BatchParser, ParsedBatch, RawRecord
from sources.routing import split_by_partition
from streams.errors import PoisonedInput
from streams.health import StageProgress
from streams.kafka import rewind
from streams.metrics import Metrics
from streams.topics import Topic, Topics

ROWS_PER_FRAME: Final = 8192
_MUCH_HELD: Final = 20_000  # rows waiting for slower partitions: read those first
_PATIENCE_S: Final = 2.0
_RATIO_OVER: Final = 2000  # records the dead-letter ratio is judged over


class InFlight(NamedTuple):
    """Sent and not yet acknowledged; then this may be committed."""

    acks: Sequence[asyncio.Future[object]]
    resume: dict[int, int]


class IngestLoop(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """One reader of `usage.raw`; scale by running more of them in the same group."""

    def __init__(  # noqa: PLR0913 - the two ends of the stage and what it is measured by
        self,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        parser: BatchParser,
        topics: Topics,
        *,
        metrics: Metrics,
        progress: StageProgress,
        now_ms: Callable[[], int],
        now_s: Callable[[], float],
        stop_ratio: float,
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._parser = parser
        self._topics = topics
        self._metrics = metrics
        self._progress = progress
        self._now_ms = now_ms
        self._now_s = now_s
        self._ratio = DeadRatio(stop_ratio)
        self._alignment = Alignment()
        self._next: dict[int, int] = {}  # raw partition -> behind the last record read
        self._heard_s: dict[int, float] = {}
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def close(self) -> None:
        await self._consumer.stop()

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._forget()

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._forget()

    async def run(self) -> None:
        """Until `stop`; raises PoisonedInput when too much is bad. Parses one batch while the last is in flight."""
        self._consumer.subscribe([self._topics.name(Topic.RAW)], listener=self)
        self._forget()
        await rewind(self._consumer)
        in_flight: InFlight | None = None
        while not self._stopping:
            behind = await self._behind()
            fetched = await self._consumer.getmany(*self._wanted(behind), timeout_ms=100)
            self._heard(fetched)
            busy = bool(fetched) or self._alignment.held_rows > 0
            sent = await self._send(fetched, await self._behind()) if busy else None
            if in_flight is not None:
                await self._finish(in_flight)
            in_flight = sent
        if in_flight is not None:
            await self._finish(in_flight)

    def _forget(self) -> None:
        self._alignment.forget()
        self._next.clear()
        self._heard_s.clear()

    def _heard(self, fetched: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]]) -> None:
        for tp, records in fetched.items():
            self._next[tp.partition] = records[-1].offset + 1
            self._heard_s[tp.partition] = self._now_s()

    async def _behind(self) -> list[int]:
        """Raw partitions with more to read. One that is silent for two seconds holds nobody back any longer."""
        behind = []
        for tp in self._consumer.assignment():
            since_s = self._heard_s.setdefault(tp.partition, self._now_s())
            high = self._consumer.highwater(tp)
            more = high is None or await self._consumer.position(tp) < high
            if more and self._now_s() - since_s < _PATIENCE_S:
                behind.append(tp.partition)
        return behind

    def _wanted(self, behind: list[int]) -> list[TopicPartition]:
        """Everything; when much is held back, only what the others wait for."""
        if self._alignment.held_rows < _MUCH_HELD:
            return []
        slowest = set(self._alignment.slowest(behind))
        return [tp for tp in self._consumer.assignment() if tp.partition in slowest]

    async def _send(
        self, fetched: dict[TopicPartition, list[ConsumerRecord[bytes, bytes]]], behind: list[int]
    ) -> InFlight:
        records = [_raw(record) for records in fetched.values() for record in records]
        parsed = self._parser.parse(records, topic=self._topics.name(Topic.RAW), now_ms=self._now_ms())
        self._count(parsed)
        if records:
            self._ratio.add(len({(d.partition, d.offset) for d in parsed.dead}), len(records))
        aligned = self._alignment.add(parsed.frame, behind=behind)
        acks: list[asyncio.Future[object]] = []
        for partition, part in split_by_partition(aligned.rows, self._topics.partitions).items():
            for start in range(0, part.num_rows, ROWS_PER_FRAME):
                frame = encode_frame(part.slice(start, ROWS_PER_FRAME))
                acks.append(await self._producer.send(self._topics.name(Topic.FRAMES), frame, partition=partition))
                self._metrics.inc("keyfuse_frames_total")
        dead_topic = self._topics.name(Topic.DEAD)
        acks.extend([await self._producer.send(dead_topic, dead.to_bytes()) for dead in parsed.dead])
        return InFlight(acks, {p: aligned.resume.get(p, offset) for p, offset in self._next.items()})

    async def _finish(self, sent: InFlight) -> None:
        for ack in sent.acks:
            await ack
        topic = self._topics.name(Topic.RAW)
        try:
            await self._consumer.commit({TopicPartition(topic, p): offset for p, offset in sent.resume.items()})
        except (CommitFailedError, IllegalStateError):
            return  # the partitions have a new owner, who reads these records again
        except KafkaError:
            self._metrics.inc("keyfuse_retries_total", where="ingest_commit")  # the next commit covers this one
            return
        self._progress.committed(self._now_s())
        self._progress.lag_records = self._alignment.held_rows

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
