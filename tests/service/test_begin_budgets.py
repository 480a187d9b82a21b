"""What a month has spent outlives the embedded broker: budgets begin with what the store has, to the nano-dollar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controls.budget_desk import BudgetDesk
from controls.budgets import Budgets
from schemas.config import BudgetsConfig, WiringConfig
from schemas.config.budgets import BudgetConfig
from schemas.config.keys import KeyConfig
from schemas.config.wiring import KafkaConfig
from service.begin_budgets import begin_budgets
from service.config_tree import Folder
from service.install import Install
from storage.client import open_store
from storage.migrate import migrate
from storage.store import Store
from storage.testing import fresh_dsn
from streams.snapshot import Snapshot
from tests.storage.frames import HOUR_MS, T0, Use, archive_uses
from tests.streams.world import MemoryShards

DAY_MS = 24 * HOUR_MS
BUDGETS = BudgetsConfig(budgets=(
    BudgetConfig(name="day", period="rolling_24h", usd=1), BudgetConfig(name="month", period="rolling_30d", usd=1),
    BudgetConfig(name="web", apps=("web",), period="rolling_30d", usd=1),
    BudgetConfig(name="one", keys=("one",), period="rolling_30d", usd=1),
))  # fmt: skip


def install(bootstrap: str = "embedded") -> Install:
    wiring = WiringConfig(kafka=KafkaConfig(bootstrap=bootstrap))
    return Install(Folder(wiring=wiring, budgets=BUDGETS), Path("nowhere"), environ={})


@pytest.fixture
def store() -> Iterator[Store]:
    one = open_store(fresh_dsn())
    migrate(one, retention_days=36_500)
    ages = (0, HOUR_MS, 23 * HOUR_MS, 3 * DAY_MS, 20 * DAY_MS, 90 * DAY_MS)
    uses = [
        Use(
            event_id=f"e{number}", raw_offset=number, ts_ms=T0 - age_ms, key_id=("one", "two")[number % 2],
            cost_nano_usd=10**number, app="web/search" if number == 3 else None,
        )
        for number, age_ms in enumerate(ages)
    ]  # fmt: skip
    archive_uses(one, [*uses, replace(uses[1], raw_offset=77)])  # a retry counts once
    yield one
    one.close()


async def test_budgets_begin_with_what_the_store_has(store: Store) -> None:
    changelog = MemoryShards()
    assert await begin_budgets(install(), lambda: store, changelog, now_ms=T0) > 0
    snapshot = Snapshot(changelog)
    desk = BudgetDesk(Budgets(BUDGETS), lambda _: None)
    desk.restore(snapshot.head["desk"], snapshot.part)
    spent = {status.budget: status.spent_nano_usd for status in desk.stand(T0).statuses}
    assert spent == {"day": 111, "month": 11_111, "web": 1000, "one": 10_101}


async def test_a_key_that_took_over_counts_in_the_budget_of_the_key_before(store: Store) -> None:
    changelog, one = MemoryShards(), install()
    entry = KeyConfig(key_id="two", provider="openai").record()
    one.registry.take(entry.model_copy(update={"seq": 1, "kind": "virtual", "formerly": ("one",)}))
    await begin_budgets(one, lambda: store, changelog, now_ms=T0)
    snapshot = Snapshot(changelog)
    desk = BudgetDesk(Budgets(BUDGETS), one.facts_of)
    desk.restore(snapshot.head["desk"], snapshot.part)
    spent = {status.budget: status.spent_nano_usd for status in desk.stand(T0).statuses}
    assert spent["one"] == spent["month"] == 11_111


@pytest.mark.parametrize("bootstrap", ["embedded", "kafka:9092"])
async def test_only_where_nothing_else_remembers(store: Store, bootstrap: str) -> None:
    """A desk that has stored something goes on from there; a broker that keeps its frames has them still."""
    changelog = MemoryShards()
    if bootstrap == "embedded":
        await Snapshot(changelog).save({"desk": {}, "pending": []}, {}, ())
    assert await begin_budgets(install(bootstrap), lambda: store, changelog, now_ms=T0) == 0
