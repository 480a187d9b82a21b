"""The archive of the audit: rows become a chain in the order of their topic, and heads are written when it is time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiokafka import TopicPartition

from containment.orders import sign
from schemas.audit_chain import problems
from schemas.records import Record
from storage.audit import heads, links
from storage.client import open_store
from storage.errors import Unreachable
from storage.migrate import migrate
from storage.rows import record_row
from storage.store import Store
from storage.testing import fresh_dsn
from streams.archive import ArchiveDeps, RecordArchive
from streams.audit import CHAIN, AuditKeeper, Sealing, chain_of
from streams.health import StageProgress
from streams.metrics import Metrics
from streams.topics import Topic
from tests.alerting.world import command
from tests.schemas.test_audit_chain import row
from tests.storage.test_audit import SIGNER

TP = TopicPartition("p.keyfuse.audit", 0)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    opened.close()


@dataclass
class Delivered:
    """One record of a topic."""

    topic: str
    partition: int
    offset: int
    value: bytes | None


class Reader:
    """A consumer that gives each batch once, then stops its archive."""

    def __init__(self, *batches: list[Record]) -> None:
        self.batches = [[each.to_bytes() for each in batch] for batch in batches]
        self.offset = 0
        self.commits: list[int] = []
        self.archive: RecordArchive | None = None

    def assignment(self) -> set[TopicPartition]:
        return set()

    async def getmany(self, **_: Any) -> dict[TopicPartition, list[Delivered]]:
        if not self.batches:
            assert self.archive is not None
            self.archive.stop()
            return {}
        values = self.batches.pop(0)
        found = [Delivered(TP.topic, TP.partition, self.offset + n, value) for n, value in enumerate(values)]
        self.offset += len(found)
        return {TP: found}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.commits.append(offsets[TP])


@dataclass
class Shaky:
    """A store that is away once, after an insert has landed: the answer got lost."""

    store: Store
    away: list[str] = field(default_factory=lambda: ["audit"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def insert_records(self, table: str, rows: Any, token: str = "") -> None:
        self.store.insert_records(table, rows, token)
        if table in self.away:
            self.away.remove(table)
            raise Unreachable("the answer got lost")


def archived(
    store: Any,
    *batches: list[Record],
    now_s: Any = lambda: 100.0,
    sealing: Sealing | None = None,
    topic: Topic = Topic.AUDIT,
    order_keys: frozenset[str] = frozenset(),
) -> Reader:
    """Runs an archive over the batches until they are in the store."""

    async def pause(_: float) -> None:
        await asyncio.sleep(0)

    reader = Reader(*batches)
    deps = ArchiveDeps(
        bootstrap="none", group="g", store=lambda: store, outbox=None, metrics=Metrics(),  # type: ignore[arg-type]
        progress=StageProgress("archive", 0.0), now_s=now_s, now_ms=lambda: 7000, sleep=pause,
        sealing=sealing or Sealing(SIGNER, 300), order_keys=order_keys,
    )  # fmt: skip
    reader.archive = RecordArchive(reader, {TP.topic: topic}, deps)
    asyncio.run(reader.archive.run())
    return reader


def test_rows_of_the_topic_become_one_chain_with_a_signed_head(store: Store) -> None:
    reader = archived(store, [row(2), row(1)], [row(3)])
    assert [one.row.audit_id for one in links(store)] == ["aud_2", "aud_1", "aud_3"]
    assert {one.chain for one in links(store)} == {"p.keyfuse.audit:0"}
    assert reader.commits == [2, 3]
    first, last = heads(store)  # at the start, and before the end
    assert (first.seq, last.seq) == (2, 3)
    assert (last.at_ms, last.public_key) == (7000, SIGNER.public_key)


def test_an_insert_whose_answer_got_lost_and_a_batch_that_comes_again_do_not_fork_the_chain(store: Store) -> None:
    archived(Shaky(store), [row(1), row(2)])
    archived(store, [row(1), row(2)], [row(2), row(3)])
    assert [(one.seq, one.row.audit_id) for one in links(store)] == [(1, "aud_1"), (2, "aud_2"), (3, "aud_3")]
    assert list(problems(links(store), heads=heads(store))) == []


def test_heads_come_at_the_start_and_then_as_often_as_is_set(store: Store) -> None:
    clock = [0.0]
    keeper = AuditKeeper(Sealing(None, 60), now_s=lambda: clock[0], now_ms=lambda: 1)
    told = []
    for second in (0.0, 1.0, 59.0, 60.0, 61.0, 120.0):
        clock[0] = second
        told.append(keeper.due())
        if keeper.due():
            keeper.seal(store)
    assert told == [True, False, False, True, False, True]


def test_a_store_that_is_away_at_the_end_does_not_hold_up_the_end() -> None:
    def away() -> Store:
        raise Unreachable("nobody answers")

    AuditKeeper(Sealing(), now_s=lambda: 0.0, now_ms=lambda: 1).seal_last(away)


def test_each_partition_is_a_chain_of_its_own(store: Store) -> None:
    keeper = AuditKeeper(Sealing(), now_s=lambda: 0.0, now_ms=lambda: 1)
    rows = [{**record_row(row(n))[1], CHAIN: chain_of("t", n % 2)} for n in range(1, 5)]
    keeper.append(store, rows)
    assert [(one.chain, one.seq, one.row.audit_id) for one in links(store)] == [
        ("t:0", 1, "aud_2"), ("t:0", 2, "aud_4"), ("t:1", 1, "aud_1"), ("t:1", 2, "aud_3"),
    ]  # fmt: skip


def test_a_forged_order_does_not_take_the_place_of_the_true_one(store: Store) -> None:
    true = sign(command("disable"), SIGNER, now_ms=1)
    forged = true.model_copy(update={"at_ms": true.at_ms + 1000, "step": "throttle"})
    keys = frozenset({SIGNER.public_key})
    archived(store, [true, forged], topic=Topic.COMMANDS, order_keys=keys)
    assert store.connection.rows("SELECT step FROM commands FINAL") == [("disable",)]
