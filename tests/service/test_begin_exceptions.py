"""The embedded broker forgets; what the store has of exceptions is told again, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from schemas.exception import PolicyException
from service.begin_keys import begin_exceptions
from storage.client import open_store
from storage.migrate import migrate
from storage.rows import record_row
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


def version(seq: int, **changes: Any) -> PolicyException:
    fields = {
        "exception_id": "exc_1", "seq": seq, "at_ms": seq, "change": "c", "state": "active", "rule": "models",
        "allows": ("x",), "keys": ("k1",), "from_ms": 0, "until_ms": 10, "reason": "r", "owner": "ann", "by": "ann",
        "asked_at_ms": 0, "approved_by": "bob",
    }  # fmt: skip
    return PolicyException.model_validate(fields | changes)


@pytest.fixture
def store() -> Any:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    opened.close()


def keep(store: Store, *versions: PolicyException) -> None:
    for one in versions:
        table, row = record_row(one)
        store.insert_records(table, [row])


@pytest.mark.parametrize(("known", "told"), [({}, [1]), ({"exc_0": version(0, exception_id="exc_0")}, [])])
async def test_the_newest_of_each_is_told_where_the_topic_has_none(
    store: Store, known: Mapping[str, PolicyException], told: list[int]
) -> None:
    keep(store, version(0), version(1))
    sent = Sent()

    async def topic() -> Mapping[str, PolicyException]:
        return known

    assert await begin_exceptions(topic, lambda: store, sent) == len(told)  # type: ignore[arg-type]  # a fake
    assert [(each[0], each[1], each[2].seq) for each in sent.records] == [(Topic.EXCEPTIONS, "exc_1", n) for n in told]
