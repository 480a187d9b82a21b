"""The archive acts on holds: at once, again after a crash, and tells the audit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import TopicPartition

from schemas.evidence import Hold
from schemas.records import AuditRow, Record
from storage.client import open_store
from storage.history import events_of
from storage.holds import OPEN_MS, scopes
from storage.migrate import migrate
from storage.store import Store
from storage.testing import fresh_dsn
from streams.archive import ArchiveDeps, RecordArchive
from streams.health import StageProgress
from streams.holds import EVERY_S, HoldKeeper
from streams.metrics import Metrics
from streams.topics import Topic
from tests.storage.frames import archive_uses
from tests.storage.test_holds import HOLD, USES, of
from tests.storage.test_store import put
from tests.streams.test_audit import Reader, Shaky
from tests.streams.world import MemoryOutbox

TP = TopicPartition("p.keyfuse.audit", 0)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    opened.close()


def archived(store: object, *batches: list[Record]) -> list[AuditRow]:
    """What the archive tells the audit while it takes these words."""

    async def pause(_: float) -> None:
        await asyncio.sleep(0)

    reader, outbox = Reader(*batches), MemoryOutbox()
    deps = ArchiveDeps(
        bootstrap="none", group="g", store=lambda: store, outbox=outbox, metrics=Metrics(),  # type: ignore[arg-type, return-value]
        progress=StageProgress("archive", 0.0), now_s=lambda: 100.0, now_ms=lambda: HOLD.at_ms, sleep=pause,
    )  # fmt: skip
    reader.archive = RecordArchive(reader, {TP.topic: Topic.HOLDS}, deps)
    asyncio.run(reader.archive.run())
    return [AuditRow.from_bytes(record.to_bytes()) for record in outbox.sent[Topic.AUDIT]]


def test_a_word_is_acted_on_as_it_comes(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("open"))
    told = archived(store, [HOLD])
    assert {row.action for row in told} == {"hold.place", "hold.kept"}
    assert scopes(store)[HOLD.hold_id].events == 3


def test_a_word_that_comes_again_after_a_lost_answer_changes_nothing(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("open"))
    for away in ("holds", "hold_scopes"):
        archived(Shaky(store, [away]), [HOLD])
        archived(store, [HOLD])
    assert events_of(store, "fp1:a", 0, OPEN_MS).num_rows == 4
    assert store.connection.rows("SELECT count() FROM usage_held") == [(3,)]


def test_without_news_it_looks_after_them_as_often_as_is_said(store: Store) -> None:
    clock = [0.0]
    keeper = HoldKeeper(Metrics(), now_s=lambda: clock[0], now_ms=lambda: 1)
    told = []
    for second in (0.0, 1.0, EVERY_S - 1, EVERY_S, EVERY_S + 1):
        clock[0] = second
        told.append(keeper.due())
        if keeper.due():
            keeper.keep(store)
    assert told == [True, False, False, True, False]


def test_missing_events_show_in_the_metric(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("open"))
    archived(store, [HOLD])
    store.connection.command("ALTER TABLE usage_held DELETE WHERE event_id = 'a1'", settings={"mutations_sync": 1})
    store.connection.command("ALTER TABLE usage_events DELETE WHERE event_id = 'a1'", settings={"mutations_sync": 1})
    metrics = Metrics()
    HoldKeeper(metrics, now_s=lambda: 0.0, now_ms=lambda: HOLD.at_ms + 1).keep(store)
    assert "keyfuse_held_events_missing 1.0" in metrics.render().decode()


def test_a_word_that_nobody_can_read_does_not_stop_the_others(store: Store) -> None:
    put(store, of("open"))
    broken = {"hold_id": "hld_x", "version": 1, "incident_id": "inc_1", "key_id": "k", "by": "eve", "released": False}
    store.insert_records("holds", [{**broken, "record": "{}"}])
    assert len(archived(store, [HOLD])) == 2


def test_a_hold_reads_back_as_it_was_written() -> None:
    assert Hold.from_bytes(HOLD.to_bytes()) == HOLD
