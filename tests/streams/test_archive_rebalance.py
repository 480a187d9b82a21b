"""Partitions that change hands while the archive waits for the store or the broker: nothing old is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition

from schemas.frame import encode_frame
from storage.client import open_store
from storage.migrate import migrate
from storage.store import Store
from storage.testing import fresh_dsn
from streams.archive import ArchiveDeps, UsageArchive
from streams.health import StageProgress
from streams.metrics import Metrics
from tests.storage.frames import Use, frame

TOPIC = "usage.frames"
P0, P1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)
Batch = dict[TopicPartition, list[Any]]


@dataclass
class Group:
    """A consumer that is handed `batches`, and the group's commits. `interrupt` comes in the middle of something."""

    batches: list[Batch]
    offsets: dict[TopicPartition, tuple[int, str]] = field(default_factory=dict)
    commits: list[tuple[int, int]] = field(default_factory=list)  # partition, offset
    rebalance: Callable[[], Awaitable[None]] | None = None

    def subscribe(self, topics: Sequence[str], listener: UsageArchive) -> None:
        self._listener = listener

    def assignment(self) -> set[TopicPartition]:
        return set()

    async def getmany(self, *, timeout_ms: int, max_records: int) -> Batch:
        if self.batches:
            return self.batches.pop(0)
        self._listener.stop()
        return {}

    async def commit(self, offsets: dict[TopicPartition, Any]) -> None:
        for tp, said in offsets.items():
            self.commits.append((tp.partition, said.offset))
            self.offsets[tp] = (said.offset, said.metadata)

    async def committed(self, bootstrap: str, group: str, tp: TopicPartition) -> tuple[int, str]:
        await self.interrupt("asking")
        return self.offsets.get(tp, (0, ""))

    async def interrupt(self, when: str) -> None:
        if when == self.when:
            self.when = ""
            await self._listener.on_partitions_revoked([])
            self.offsets |= self.meanwhile

    when: str = ""
    meanwhile: dict[TopicPartition, tuple[int, str]] = field(default_factory=dict)  # what others committed


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    opened.close()


def record(tp: TopicPartition, offset: int, key_id: str) -> Any:
    value = encode_frame(frame([Use(f"{key_id}-{tp.partition}-{offset}", offset, key_id=key_id)]))
    return ConsumerRecord(TOPIC, tp.partition, offset, 0, 0, b"", value, None, 0, len(value), ())


async def archived(store: Store, group: Group) -> int:
    """Run until the batches are through, and write what has come when the last one has; rows of usage_events since."""
    loop = asyncio.get_running_loop()
    [(before,)] = store.connection.rows("SELECT count() FROM usage_events")

    class Interrupted:
        """The store, whose insert is where a rebalance may come; in the thread that writes."""

        connection = store.connection

        def insert_usage(self, table: Any, token: str) -> None:
            asyncio.run_coroutine_threadsafe(group.interrupt("writing"), loop).result()
            store.insert_usage(table, token)

    clock = iter(range(0, 1_000_000, 10))
    deps = ArchiveDeps(
        bootstrap="", group="", store=Interrupted, outbox=None, metrics=Metrics(), sleep=asyncio.sleep,  # type: ignore[arg-type]  # nothing is said here
        progress=StageProgress("archive", 0), now_s=lambda: 0 if group.batches else next(clock), now_ms=lambda: 1,
        committed=group.committed,
    )  # fmt: skip
    await UsageArchive(group, TOPIC, deps).run()
    [(after,)] = store.connection.rows("SELECT count() FROM usage_events")
    return int(after - before)


async def test_records_that_come_again_after_a_rebalance_while_it_was_asking_are_archived_once(store: Store) -> None:
    first = record(P0, 0, "asked")
    group = Group([{P0: [first]}, {P0: [first]}], when="asking")
    assert await archived(store, group) == 1
    assert group.commits[-1] == (0, 1)


async def test_what_was_read_before_a_rebalance_of_another_partition_is_not_added(store: Store) -> None:
    """The second partition has gone on elsewhere meanwhile, and comes back further ahead."""
    group = Group(
        [{P0: [record(P0, 0, "other")], P1: [record(P1, 0, "other")]}, {P1: [record(P1, 5, "other")]}], when="asking",
        meanwhile={P1: (5, "")},
    )  # fmt: skip
    assert await archived(store, group) == 1
    assert [commit for commit in group.commits if commit[0] == 1] == [(1, 5), (1, 6)]


async def test_a_partition_that_changed_hands_during_a_write_is_not_committed_back(store: Store) -> None:
    batch = {P0: [record(P0, 0, "late")], P1: [record(P1, 0, "late")]}
    group = Group([batch, {}], when="writing", meanwhile={P0: (90, ""), P1: (90, "")})
    group.offsets = {P0: (0, ""), P1: (0, "")}
    await archived(store, group)
    assert (group.offsets[P0][0], group.offsets[P1][0]) == (90, 90)
