"""`usage.raw` → `usage.frames`: records become columns, are checked, priced and routed by key.

Offsets are committed only after the frames and dead letters of their records are acknowledged. A crash in between
writes the same rows again with the same raw coordinates, and the later stages skip them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from schemas.frame import encode_frame
from schemas.records import DeadLetter
from sources.alignment import Aligned, Alignment
from sources.batch import BatchParser, ParsedBatch, RawRecords
from sources.routing import split_by_partition
from streams.errors import PoisonedInput
from streams.health import StageProgress
from streams.kafka import lighten, rewind
from streams.metrics import Metrics
from streams.pace import MUCH, Pace
from streams.topics import Topic, Topics

Fetched = dict[TopicPartition, list["ConsumerRecord[bytes, bytes]"]]
ROWS_PER_FRAME: Final = 12_288
EVENTS_PER_BATCH: Final = 36_864  # of a backlog; what is fresh is taken as it comes
_MUCH_HELD: Final = 40_000  # rows waiting for slower partitions: read those first
_LARGE: Final = 1024  # records: below, handing them to a thread takes longer than reading them
_ASKED_S: Final = 0.005  # in which a broker answers a fetch
_PATIENCE_S: Final = 2.0
_RATIO_OVER: Final = 2000  # records the dead-letter ratio is judged over


class Ready(NamedTuple):
    """Made of what was read and not yet sent; when all of it is taken, this may be committed."""

    frames: Mapping[int, Sequence[bytes]]  # by partition, in order
    dead: Sequence[bytes]
    resume: dict[int, int]
    assignments: int


class InFlight(NamedTuple):
    """Sent and not yet acknowledged; then this may be committed."""

    acks: Sequence[asyncio.Future[object]]
    resume: dict[int, int]
    assignments: int


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
        self._assignments = 0
        self._owes_commit = False
        self._events_per_record = 1.0  # of the last batch
        self._pace = Pace()
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def close(self) -> None:
        await self._consumer.stop()

    def assigned(self) -> Collection[TopicPartition]:
        """What its group has given it, as far as it knows."""
        found: Collection[TopicPartition] = self._consumer.assignment()
        return found

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
            if wait_s := self._pace.wait_s(self._now_s()):
                await asyncio.sleep(wait_s)
            self._pace.began(self._now_s())
            ready = await self._turn()
            # Later rows never overtake earlier ones that were not taken: sent again, those would pass for known.
            if in_flight is not None:
                await self._finish(in_flight)
            in_flight = await self._send(ready) if ready is not None else None
        if in_flight is not None:
            await self._finish(in_flight)

    async def _turn(self) -> Ready | None:
        """Read and parse; None when there was nothing, or when a rebalance came in between. Then all is read
        again from what is committed: rows that waited are gone, and none behind them may overtake them.
        """
        assignments = self._assignments
        fetched = await self._fetch(self._wanted(await self._behind()))
        if not fetched and self._alignment.held_rows == 0 and not self._owes_commit:
            return None
        behind = await self._behind()
        parsed = await self._parse(_raw(fetched))
        if assignments != self._assignments:
            await rewind(self._consumer)
            return None
        self._heard(fetched)
        records = sum(map(len, fetched.values()))
        self._pace.read(records, parsed.frame.num_rows)
        self._count(parsed, records)
        return self._ready(self._alignment.add(parsed.frame, behind=behind), parsed.dead)

    async def _parse(self, records: RawRecords) -> ParsedBatch:
        """A large batch is read beside the loop, which would be held up for long."""
        read = self._parser.read
        found = read(records) if len(records) < _LARGE else await asyncio.to_thread(read, records)
        return self._parser.build(found, topic=self._topics.name(Topic.RAW), now_ms=self._now_ms())

    def _forget(self) -> None:
        self._assignments += 1
        self._owes_commit = False
        self._alignment.forget()
        self._next.clear()
        self._heard_s.clear()

    def _heard(self, fetched: Fetched) -> None:
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

    async def _fetch(self, wanted: list[TopicPartition]) -> Fetched:
        """What the client holds, and then what came since: it asked for the first when the turn before took its own,
        and for more only now.
        """
        held = await self._held(wanted)
        if not held:
            first: Fetched = await self._consumer.getmany(*wanted, timeout_ms=100, max_records=EVENTS_PER_BATCH)
            return first
        if sum(map(len, held.values())) >= MUCH:
            return held
        await asyncio.sleep(_ASKED_S)
        for tp, records in (await self._held(wanted)).items():
            held[tp] = [*held.get(tp, ()), *records]
        return held

    async def _held(self, wanted: list[TopicPartition]) -> Fetched:
        """The same share of each partition, so that few rows have to wait for those of another."""
        fetched: Fetched = {}
        for tp in wanted:
            share = max(1, int(EVENTS_PER_BATCH / self._events_per_record) // len(wanted))
            lighten(self._consumer, tp)
            fetched |= await self._consumer.getmany(tp, timeout_ms=0, max_records=share)
        return fetched

    def _wanted(self, behind: list[int]) -> list[TopicPartition]:
        """Everything; when much is held back, only what the others wait for."""
        assigned: list[TopicPartition] = sorted(self._consumer.assignment())
        if self._alignment.held_rows < _MUCH_HELD:
            return assigned
        slowest = set(self._alignment.slowest(behind))
        return [tp for tp in assigned if tp.partition in slowest]

    def _ready(self, aligned: Aligned, dead: Sequence[DeadLetter]) -> Ready:
        parts = split_by_partition(aligned.among, self._topics.partitions, aligned.order)
        frames = {
            partition: [encode_frame(part.slice(at, ROWS_PER_FRAME)) for at in range(0, part.num_rows, ROWS_PER_FRAME)]
            for partition, part in parts.items()
        }
        resume = {p: aligned.resume.get(p, offset) for p, offset in self._next.items()}
        return Ready(frames, [letter.to_bytes() for letter in dead], resume, self._assignments)

    async def _send(self, ready: Ready) -> InFlight:
        """Of one partition the next frame only when the one before it is taken; mostly there is one."""
        topic, dead_topic = self._topics.name(Topic.FRAMES), self._topics.name(Topic.DEAD)
        acks: list[asyncio.Future[object]] = []
        for nth in range(max(map(len, ready.frames.values()), default=0)):
            for ack in acks:
                await ack
            acks = [
                await self._producer.send(topic, frames[nth], partition=partition)
                for partition, frames in ready.frames.items()
                if nth < len(frames)
            ]
            self._metrics.inc("keyfuse_frames_total", len(acks))
        acks.extend([await self._producer.send(dead_topic, letter) for letter in ready.dead])
        return InFlight(acks, ready.resume, ready.assignments)

    async def _finish(self, sent: InFlight) -> None:
        for ack in sent.acks:
            await ack
        if sent.assignments != self._assignments:
            return  # a rebalance meanwhile: what others have committed since may be further
        topic = self._topics.name(Topic.RAW)
        try:
            await self._consumer.commit({TopicPartition(topic, p): offset for p, offset in sent.resume.items()})
        except (CommitFailedError, IllegalStateError):
            return  # the partitions have a new owner, who reads these records again
        except KafkaError:
            self._metrics.inc("keyfuse_retries_total", where="ingest_commit")
            self._owes_commit = True  # the next commit covers this one, and comes also when nothing more is read
            return
        self._owes_commit = False
        self._progress.committed(self._now_s())
        self._progress.lag_records = self._alignment.held_rows

    def _count(self, parsed: ParsedBatch, records: int) -> None:
        if records:
            self._events_per_record = max(1.0, parsed.frame.num_rows / records)
            self._ratio.add(len({(d.partition, d.offset) for d in parsed.dead}), records)
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


def _raw(fetched: Fetched) -> RawRecords:
    partition: list[int] = []
    offset: list[int] = []
    values: list[bytes] = []
    formats: dict[int, str] = {}
    for tp, records in fetched.items():
        if any([record.headers for record in records]):  # noqa: C419 - a generator would cost a call for each
            named = ((len(values) + at, _format(record)) for at, record in enumerate(records))
            formats |= {at: name for at, name in named if name is not None}
        partition += [tp.partition] * len(records)
        offset += [record.offset for record in records]
        values += [record.value or b"" for record in records]
    return RawRecords(partition, offset, values, formats)


def _format(record: ConsumerRecord[bytes, bytes]) -> str | None:
    return next((v.decode("ascii", "replace") for k, v in record.headers if k == "format"), None)
