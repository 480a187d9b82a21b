"""Frames and records → the store. Batches with edges fixed before the insert: see storage/archive.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata
from pydantic import ValidationError

from containment.orders import Doubted, believe
from controls.registry import Registry
from schemas.config.keys import KeysConfig
from schemas.evidence import Hold, KeyState, config_record
from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.frame import decode_frame
from schemas.key_record import KeyRecord
from schemas.records import AuditRow, Command, DeadLetter, DeadReason, Finding, Incident, Mark, Outcome
from storage.archive import DEFAULT_LIMITS, BatchLimits, Commit, PartitionArchive
from storage.archiving import resume, write
from storage.errors import Unreachable
from storage.rows import StoredRecord, record_row
from storage.store import Store
from streams.audit import CHAIN, AuditKeeper, Sealing, chain_of
from streams.census import tell
from streams.health import StageProgress
from streams.holds import HoldKeeper
from streams.kafka import committed, rewind
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.owners import OwnerKeeper
from streams.stale_keys import StaleKeys
from streams.topics import Topic

_PAUSES_S: Final = (0.2, 1.0, 5.0, 15.0)
_RECORDS: Final[dict[Topic, Callable[[bytes], StoredRecord]]] = {
    Topic.FINDINGS: Finding.from_bytes,
    Topic.INCIDENTS: Incident.from_bytes,
    Topic.COMMANDS: Command.from_bytes,
    Topic.OUTCOMES: Outcome.from_bytes,
    Topic.SHADOW: Finding.from_bytes,
    Topic.MARKS: Mark.from_bytes,
    Topic.AUDIT: AuditRow.from_bytes,
    Topic.DEAD: DeadLetter.from_bytes,
    Topic.HOLDS: Hold.from_bytes,
    Topic.CONFIG: config_record,
    Topic.KEY_STATES: KeyState.from_bytes,
    Topic.KEYS: KeyRecord.from_bytes,
    Topic.EXCEPTIONS: PolicyException.from_bytes,
    Topic.FOLLOW_UPS: FollowUp.from_bytes,
}
_NOBODY: Final = Registry(KeysConfig())
_TABLES: Final = {Topic.SHADOW: "findings_shadow"}  # records of a kind whose table is another topic's
RECORD_TOPICS: Final = tuple(_RECORDS)
T = TypeVar("T")
Lost = (CommitFailedError, IllegalStateError)  # the partition has a new owner, who goes on from the last commit


@dataclass(frozen=True)
class ArchiveDeps:
    """What both loops work with."""

    bootstrap: str
    group: str
    store: Callable[[], Store]  # raises Unreachable until the store has answered once
    outbox: Outbox
    metrics: Metrics
    progress: StageProgress
    now_s: Callable[[], float]
    now_ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]
    committed: Callable[[str, str, TopicPartition], Awaitable[tuple[int, str]]] = committed
    limits: BatchLimits = DEFAULT_LIMITS
    sealing: Sealing = field(default_factory=Sealing)
    order_keys: frozenset[str] = frozenset()
    """Public keys that sign orders; empty: not known here, so every order is stored."""
    registry: Callable[[], Registry] = field(default_factory=lambda: lambda: _NOBODY)
    """Whose keys are whose: its owners are written down beside the events."""
    stale_days: Callable[[], float] = field(default_factory=lambda: lambda: 30.0)
    """Registered keys that were not used for so long are told of."""


async def patiently(deps: ArchiveDeps, blocking: Callable[[], T]) -> T:
    """Run a store call in a thread until the store answers: nothing is acknowledged meanwhile, so nothing is lost."""
    tries = 0
    while True:
        try:
            answer = await asyncio.to_thread(blocking)
        except Unreachable as error:
            deps.progress.waiting = str(error)
            deps.metrics.inc("keyfuse_retries_total", where="store")
            await deps.sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
            tries += 1
        else:
            deps.progress.waiting = ""
            return answer


class UsageArchive(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """`usage.frames` → `usage_events`."""

    def __init__(self, consumer: AIOKafkaConsumer, topic: str, deps: ArchiveDeps) -> None:
        self._consumer = consumer
        self._topic = topic
        self._deps = deps
        self._archives: dict[TopicPartition, PartitionArchive] = {}
        self._lost: set[TopicPartition] = set()  # until they are assigned again: what is read of them has holes
        self._rebalances = 0
        self._stopping = False

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._archives.clear()
        self._lost.clear()
        self._rebalances += 1

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Archives are resumed at their first record."""

    def stop(self) -> None:
        self._stopping = True

    async def close(self) -> None:
        await self._consumer.stop()

    def assigned(self) -> Collection[TopicPartition]:
        """What its group has given it, as far as it knows."""
        found: Collection[TopicPartition] = self._consumer.assignment()
        return found

    async def run(self) -> None:
        """Until `stop`."""
        self._consumer.subscribe([self._topic], listener=self)
        self._archives.clear()
        await rewind(self._consumer)
        while not self._stopping:
            fetched = await self._consumer.getmany(timeout_ms=200, max_records=64)
            rebalances = self._rebalances
            for tp, records in fetched.items():
                if tp in self._lost:
                    continue
                archive = self._archives.get(tp) or await self._resume(tp)
                if rebalances != self._rebalances:
                    break  # all of it comes again, to whoever has the partitions now
                for record in records:
                    await self._add(archive, record)
            for tp, archive in list(self._archives.items()):
                if self._archives.get(tp) is archive and archive.ready(self._deps.now_s()):
                    await self._flush(tp, archive)
            waiting = sum(archive.waiting_rows for archive in self._archives.values())
            self._deps.metrics.set("keyfuse_archive_pending_rows", waiting)
            self._deps.progress.lag_records = waiting

    async def _resume(self, tp: TopicPartition) -> PartitionArchive:
        rebalances = self._rebalances
        offset, metadata = await self._deps.committed(self._deps.bootstrap, self._deps.group, tp)
        archive = await patiently(
            self._deps,
            lambda: resume(
                self._deps.store(),
                self._topic,
                tp.partition,
                offset=offset,
                metadata=metadata,
                now_ms=self._deps.now_ms(),
                limits=self._deps.limits,
            ),
        )
        if rebalances == self._rebalances:  # else somebody else may have gone on since
            self._archives[tp] = archive
        return archive

    async def _add(self, archive: PartitionArchive, record: ConsumerRecord) -> None:
        try:
            frame = decode_frame(record.value)
        except ValueError:
            frame = None  # the score stage tells that it is dead
        archive.add(record.offset, frame, now_s=self._deps.now_s())

    async def _flush(self, tp: TopicPartition, archive: PartitionArchive) -> None:
        try:
            await self._commit(tp, archive, archive.intent())
            batch = await patiently(self._deps, lambda: write(self._deps.store(), archive))
            await self._commit(tp, archive, archive.done())
        except Lost:
            if self._archives.get(tp) is archive:
                del self._archives[tp]
                self._lost.add(tp)
            return
        self._deps.metrics.inc("keyfuse_archive_rows_total", batch.table.num_rows)
        self._deps.progress.committed(self._deps.now_s())

    async def _commit(self, tp: TopicPartition, archive: PartitionArchive, commit: Commit) -> None:
        """Raises one of Lost when a rebalance was faster: a partition that came back may be far ahead of this."""
        offsets = {tp: OffsetAndMetadata(commit.offset, commit.metadata)}
        for pause_s in (*_PAUSES_S, None):
            if self._archives.get(tp) is not archive:
                raise IllegalStateError(f"{tp} went through other hands")
            try:
                await self._consumer.commit(offsets)
            except Lost:
                raise
            except KafkaError:
                if pause_s is None:
                    raise
                await self._deps.sleep(pause_s)
            else:
                return


class RecordArchive:
    """Findings, incidents and the rest → their tables, the audit as a chain. Ids make repeats harmless."""

    def __init__(self, consumer: AIOKafkaConsumer, names: dict[str, Topic], deps: ArchiveDeps) -> None:
        self._consumer = consumer
        self._names = names
        self._deps = deps
        self._audit = AuditKeeper(deps.sealing, now_s=deps.now_s, now_ms=deps.now_ms)
        self._holds = HoldKeeper(deps.metrics, now_s=deps.now_s, now_ms=deps.now_ms)
        self._owners = OwnerKeeper(deps.registry, now_s=deps.now_s, now_ms=deps.now_ms)
        self._stale = StaleKeys(deps.registry, deps.stale_days, now_s=deps.now_s, now_ms=deps.now_ms)
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True

    async def close(self) -> None:
        await self._consumer.stop()

    def assigned(self) -> Collection[TopicPartition]:
        """What its group has given it, as far as it knows."""
        found: Collection[TopicPartition] = self._consumer.assignment()
        return found

    async def run(self) -> None:
        """Until `stop`."""
        await rewind(self._consumer)
        while not self._stopping:
            fetched = await self._consumer.getmany(timeout_ms=500, max_records=1000)
            tables: dict[str, list[dict[str, Any]]] = {}
            for records in fetched.values():
                for record in records:
                    for table, row in await self._row(record):
                        tables.setdefault(table, []).append(row)
            for table, rows in tables.items():
                await patiently(self._deps, lambda table=table, rows=rows: self._insert(table, rows))  # type: ignore[misc]
            if "holds" in tables or self._holds.due():
                await self._keep_holds()
            await self._look_at_keys()
            if self._audit.due():
                await patiently(self._deps, lambda: self._audit.seal(self._deps.store()))
            if fetched:
                await self._commit({tp: records[-1].offset + 1 for tp, records in fetched.items()})
        await asyncio.to_thread(self._audit.seal_last, self._deps.store)

    async def _look_at_keys(self) -> None:
        if self._owners.due():
            await patiently(self._deps, lambda: self._owners.keep(self._deps.store()))
        if self._stale.due():
            found = await patiently(self._deps, lambda: self._stale.find(self._deps.store()))
            await tell(found, self._deps.outbox, self._deps.metrics)

    async def _keep_holds(self) -> None:
        rows = await patiently(self._deps, lambda: self._holds.keep(self._deps.store()))
        if rows:
            await self._deps.outbox.send(Topic.AUDIT, [(row.audit_id, row) for row in rows])

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        if table == "audit":
            self._audit.append(self._deps.store(), rows)
        else:
            self._deps.store().insert_records(table, rows)

    async def _row(self, record: ConsumerRecord) -> list[tuple[str, dict[str, Any]]]:
        topic = self._names[record.topic]
        if record.value is None:  # a tombstone in a compacted topic
            return []
        if topic is Topic.COMMANDS and b'"type":"request"' in record.value:
            return []  # a freeze: the contain stage writes its audit row
        if topic is Topic.COMMANDS and b'"type":"mint"' in record.value:
            return []  # likewise; the key itself is a record of its own
        if topic is Topic.COMMANDS and self._is_forged(record.value):
            return []  # a forged order has no place beside the true ones; the contain stage writes what it claimed
        try:
            table, row = record_row(_RECORDS[topic](record.value))
            if topic is Topic.AUDIT:
                row[CHAIN] = chain_of(record.topic, record.partition)
            return [(_TABLES.get(topic, table), row)]
        except ValidationError:
            dead = DeadLetter(
                topic=record.topic, partition=record.partition, offset=record.offset, index=-1,
                reason=DeadReason.BAD_RECORD, bytes=len(record.value), at_ms=self._deps.now_ms(),
            )  # fmt: skip
            if topic is not Topic.DEAD:  # a bad dead letter would make another for ever
                await self._deps.outbox.send(Topic.DEAD, [(record.topic, dead)])
            return []

    def _is_forged(self, value: bytes) -> bool:
        keys = self._deps.order_keys
        order = believe(value, public_keys=keys) if keys else None
        return isinstance(order, Doubted) and order.claim is not None

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        try:
            await self._consumer.commit(offsets)
        except Lost:
            return
        except KafkaError:
            self._deps.metrics.inc("keyfuse_retries_total", where="archive_commit")  # the next commit covers this one
