"""The histories' small model of ClickHouse leaves what the real engine leaves, insert by insert."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.sim.clickhouse import ClickHouse, Connection
from storage.archiving import ARCHIVED, NEW_LOG
from storage.client import open_store
from storage.migrate import migrate
from storage.rows import usage_columns
from storage.store import Store
from storage.testing import fresh_dsn
from tests.storage.frames import HOUR_MS, MINUTE_MS, T0, Use, frame

SHORT = 5


@pytest.fixture
def store() -> Iterator[Store]:
    """The real tables."""
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=36_500)
    yield opened
    opened.connection.command(f"DROP DATABASE {opened.connection.rows('SELECT currentDatabase()')[0][0]}")
    opened.close()


def table_of(uses: list[Use], first_position: int) -> pa.Table:
    rows = pa.Table.from_batches([frame(uses)])
    positions = np.arange(first_position, first_position + len(uses), dtype=np.uint64)
    retry = np.array([use.event_id.startswith("again") for use in uses])
    return usage_columns(rows, partition=0, log_start=1, positions=positions, retry=retry)


def a_use(rng: random.Random, number: int) -> Use:
    ts_ms = T0 + rng.randrange(3) * MINUTE_MS + rng.choice([0, 0, 30 * HOUR_MS])
    name = rng.choice(["e", "e", "again"])
    return Use(f"{name}{rng.randrange(12)}", number, key_id=f"k{rng.randrange(2)}", ts_ms=ts_ms, cost_nano_usd=number)


def counted(store: Store, table: str, step_s: int) -> Counter[tuple[str, int]]:
    rows = store.connection.rows(
        f"SELECT key_id, intDiv(toUnixTimestamp(at), {step_s}) AS step, sum(u.events) FROM {table} AS u"
        " GROUP BY key_id, step"
    )
    return Counter({(key, step): events for key, step, events in rows})


def assert_same(store: Store, model: ClickHouse) -> None:
    rows = store.connection.rows("SELECT key_id, event_id, position FROM usage_events FINAL")
    assert sorted(rows) == sorted((row.key_id, row.event_id, row.position) for row in model.final().values())
    assert counted(store, "usage_minute", 60) == model.minutes
    assert counted(store, "usage_hour", 3600) == model.hours


@pytest.mark.parametrize("seed", range(3))
def test_the_model_is_the_engine(store: Store, seed: int) -> None:
    """Inserts that come again now and later, and in another order."""
    rng, model = random.Random(seed), ClickHouse()
    known: list[tuple[str, list[Use], int]] = []
    for number in range(24):
        uses = [a_use(rng, number * 10 + at) for at in range(rng.randrange(1, 6))]
        token, first = f"t{number}", number * 10
        if known and rng.random() < 0.5:
            token, old, first = rng.choice(known)
            uses = rng.choice([old, rng.sample(old, len(old))])
        known.append((token, uses, first))
        table = table_of(uses, first)
        store.insert_usage(table, token)
        model.insert(table, token)
    assert_same(store, model)


def test_what_is_forgotten_is_written_again(store: Store) -> None:
    for table in ("usage_events", "usage_minute", "usage_hour"):
        store.connection.command(f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = {SHORT}")
    model = ClickHouse(SHORT)
    for number in [*range(SHORT), 0, SHORT, 0]:  # the first is remembered, then forgotten
        table = table_of([Use(f"e{number}", number)], number)
        store.insert_usage(table, f"t{number}")
        model.insert(table, f"t{number}")
    assert_same(store, model)
    assert model.minutes.total() == SHORT + 2


def test_another_insert_under_a_known_token_is_dropped(store: Store) -> None:
    model = ClickHouse()
    for uses in ([Use("e0", 0)], [Use("e1", 1)]):
        store.insert_usage(table_of(uses, 7), "t")
        model.insert(table_of(uses, 7), "t")
    assert_same(store, model)
    assert model.minutes.total() == 1


def test_it_answers_the_archives_questions_as_the_engine_does(store: Store) -> None:
    model, rng = ClickHouse(), random.Random(1)
    table = table_of([replace(a_use(rng, at), event_id=f"e{at}") for at in range(20)], 100)
    store.insert_usage(table, "t")
    model.insert(table, "t")
    ours = Connection(model)
    for parameters in ({"p": 0}, {"p": 1}):
        assert ours.rows(NEW_LOG, parameters)[0][0] == store.connection.rows(NEW_LOG, parameters)[0][0]
    assert ours.rows(NEW_LOG, {"p": 0}) == store.connection.rows(NEW_LOG, {"p": 0})
    asked: dict[str, Any] = {"p": 0, "before": 112}
    real, model_s = store.connection.arrow(ARCHIVED, asked), ours.arrow(ARCHIVED, asked)
    assert sorted(real.to_pydict()["identity"]) == sorted(model_s.to_pydict()["identity"])
    assert sorted(real.to_pydict()["step_ms"]) == sorted(model_s.to_pydict()["step_ms"])
