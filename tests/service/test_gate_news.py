"""What a gate is told, record by record."""

from __future__ import annotations

from pathlib import Path

from gate.kept import Place
from gate.lease import Borrower
from gate.leased import LeasedSlices
from schemas.config.budgets import BudgetConfig, BudgetsConfig
from schemas.exception import PolicyException
from schemas.records import KeyFacts
from service.config_tree import Folder
from service.gate_news import GateNews
from service.install import Install, wall_ms
from streams.metrics import Metrics
from streams.topics import Topic
from tests.gate.world import Gate

SHARED = BudgetConfig(name="search", usd=5, hard_stop=True)


def test_an_older_version_of_an_exception_that_is_read_again_says_nothing(tmp_path: Path) -> None:
    world, now_ms = Gate(), wall_ms()
    install = Install(Folder(budgets=BudgetsConfig(budgets=(SHARED,))), tmp_path, environ={})
    slices = LeasedSlices(Borrower("a", "1"), world.known.status, tick_ms=lambda: 0.0)
    news = GateNews(install, world.known, world.decider, slices, Metrics(), told=lambda: None)
    take = news.takers(leases=lambda *_: None, reported=lambda _: None)[Topic.EXCEPTIONS]
    active = PolicyException(
        exception_id="exc_1", seq=1, at_ms=now_ms, change="approved", state="active", rule="budget_usd", of="search",
        limit=50, from_ms=now_ms - 1000, until_ms=now_ms + 10**6, reason="launch", owner="ann", by="ann",
        asked_at_ms=now_ms, approved_by="bob",
    )  # fmt: skip

    def usd_after(one: PolicyException) -> float | None:
        take(one.to_bytes(), Place(0, 0))
        news.progressed()
        [budget] = world.decider.planes.budgets.covering("k1", KeyFacts(provider="openai"))
        return budget.usd

    assert usd_after(active) == 50
    assert usd_after(active.model_copy(update={"seq": 2, "state": "ended"})) == 5
    assert usd_after(active) == 5
