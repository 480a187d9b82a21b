"""The embedded broker forgets; what the store has of exceptions and follow-ups is told again, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.records import Record
from service.begin_keys import LOST, Lost, begin_newest
from storage.client import open_store
from storage.errors import Unreachable
from storage.migrate import migrate
from storage.rows import StoredRecord, record_row
from storage.store import Store
from storage.testing import fresh_dsn
from streams.topics import Topic


class Sent:
    """An outbox that remembers."""

    def __init__(self) -> None:
        self.records: list[tuple[Topic, str, Any]] = []

    async def send(self, topic: Topic, records: list[tuple[str, Any]]) -> dict[int, int]:
        self.records += [(topic, name, record) for name, record in records]
        return {}


def exception(name: str, seq: int) -> PolicyException:
    return PolicyException(
        exception_id=name, seq=seq, at_ms=seq, change="c", state="active", rule="models", allows=("x",), keys=("k1",),
        from_ms=0, until_ms=10, reason="r", owner="ann", by="ann", asked_at_ms=0, approved_by="bob",
    )  # fmt: skip


def follow_up(name: str, seq: int) -> FollowUp:
    return FollowUp(
        follow_up_id=name, seq=seq, at_ms=seq, state="done" if seq > 1 else "open", incident_id="inc_1", key_id="k1",
        words="list the models", owner="ann", due_ms=None if seq else 5, asked_by="ann", asked_at_ms=0, by="bob",
        evidence="merged" if seq > 1 else "",
    )  # fmt: skip


class Case(NamedTuple):
    """One of the topics, and a version of what is in it."""

    lost: Lost
    version: Callable[[str, int], StoredRecord]


MADE: Mapping[Topic, Callable[[str, int], StoredRecord]] = {
    Topic.EXCEPTIONS: exception, Topic.FOLLOW_UPS: follow_up
}  # fmt: skip
CASES = [Case(lost, MADE[lost.topic]) for lost in LOST]
each_topic = pytest.mark.parametrize("case", CASES, ids=[case.lost.topic.value for case in CASES])


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    opened.close()


def topic_with(*records: Record) -> Callable[[Topic, type[Record]], Any]:
    async def known(_topic: Topic, kind: type[Record]) -> Mapping[str, Record]:
        assert all(isinstance(record, kind) for record in records)
        return {str(at): record for at, record in enumerate(records)}

    return known


@each_topic
async def test_the_newest_of_each_is_told_where_the_topic_has_none(store: Store, case: Case) -> None:
    kept = [case.version("b", 0), case.version("a", 10), case.version("a", 2), case.version("b", 1)]
    for record in kept:
        table, row = record_row(record)
        store.insert_records(table, [row])
    sent = Sent()
    assert await begin_newest(case.lost, topic_with(), lambda: store, sent) == 2  # type: ignore[arg-type]  # a fake
    topic = case.lost.topic
    assert sent.records == [(topic, "a", case.version("a", 10)), (topic, "b", case.version("b", 1))]


@each_topic
async def test_a_topic_that_remembers_is_left_as_it_is(store: Store, case: Case) -> None:
    table, row = record_row(case.version("a", 1))
    store.insert_records(table, [row])
    sent = Sent()
    known = topic_with(case.version("z", 0))
    assert await begin_newest(case.lost, known, lambda: store, sent) == 0  # type: ignore[arg-type]  # a fake
    assert sent.records == []


@each_topic
async def test_a_worker_starts_without_its_store(case: Case) -> None:
    def away() -> Store:
        raise Unreachable("away")

    sent = Sent()
    assert await begin_newest(case.lost, topic_with(), away, sent) == 0  # type: ignore[arg-type]  # a fake
    assert sent.records == []
