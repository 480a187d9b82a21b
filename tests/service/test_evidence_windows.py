"""Minutes added up from events say what the rollups of the store say."""

from __future__ import annotations

import random

import pytest

from service.evidence_windows import Minute, minutes_of
from storage.client import open_store
from storage.history import events_of
from storage.migrate import migrate
from storage.testing import fresh_dsn
from tests.storage.frames import HOUR_MS, MINUTE_MS, T0, Use, archive_uses


@pytest.mark.parametrize("seed", range(4))
def test_the_same_as_the_rollups(seed: int) -> None:
    rng = random.Random(seed)
    uses = [
        Use(
            f"e{nth}", nth, ts_ms=T0 + rng.randrange(HOUR_MS), cost_nano_usd=rng.randrange(10**9),
            requests=rng.randint(1, 9), status=rng.choice([200, 200, 429, 500]),
            network=rng.choice([None, "a", "b", "c"]),
        )
        for nth in range(300)
    ]  # fmt: skip
    store = open_store(fresh_dsn())
    migrate(store, retention_days=36_500)
    archive_uses(store, uses[:150], uses[150:])
    told = [Minute(**point.__dict__) for point in store.key_use("fp1:a", 0, T0 + 2 * HOUR_MS)]
    found = minutes_of(events_of(store, "fp1:a", 0, T0 + 2 * HOUR_MS))
    store.close()
    assert [each.model_copy(update={"usd": round(each.usd, 9)}) for each in found] == [
        each.model_copy(update={"usd": round(each.usd, 9)}) for each in told
    ]


@pytest.mark.parametrize(
    ("later_ms", "counted"), [(1000, 1), (10 * MINUTE_MS, 1), (15 * MINUTE_MS, 1), (40 * MINUTE_MS, 2)]
)
def test_a_producers_retry_is_counted_once(later_ms: int, counted: int) -> None:
    store = open_store(fresh_dsn())
    migrate(store, retention_days=36_500)
    archive_uses(store, [Use("same", 0), Use("same", 1, ts_ms=T0 + later_ms)])
    found = minutes_of(events_of(store, "fp1:a", 0, T0 + HOUR_MS))
    store.close()
    assert sum(minute.requests for minute in found) == counted


def test_no_events_are_no_minutes() -> None:
    store = open_store(fresh_dsn())
    migrate(store, retention_days=36_500)
    assert minutes_of(events_of(store, "fp1:a", 0, T0)) == ()
    store.close()
