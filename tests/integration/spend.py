"""What the budgets know after a worker is through: their state as the next owner would find it."""

from __future__ import annotations

from collections.abc import Sequence

from controls.budget_desk import BudgetDesk
from controls.budgets import Budgets
from schemas.config.budgets import BudgetConfig, BudgetsConfig
from service.install import Install
from streams.changelog import Changelog
from streams.snapshot import Snapshot
from streams.topics import StateTopic

Spend = dict[str, tuple[int, int]]
"""key_id → tokens and nano-USD."""


def budgets_of(keys: Sequence[str]) -> BudgetsConfig:
    """One for each key, so large that nobody is ever told of it."""
    return BudgetsConfig(budgets=tuple(
        BudgetConfig(name=key, keys=(key,), usd=10**9, period="month", projected=False, burn_rate=False) for key in keys
    ))  # fmt: skip


async def spend_of(one: Install, at_ms: int) -> Spend:
    """By key, within the month of `at_ms`; empty while nothing is stored."""
    bootstrap, name = one.folder.wiring.kafka.bootstrap, one.topics.state_name(StateTopic.BUDGET)
    changelog = Changelog(bootstrap, name, producer=None)
    await changelog.load(0)
    snapshot = Snapshot(changelog)
    if snapshot.head is None:
        return {}
    desk = BudgetDesk(Budgets(one.folder.budgets), one.facts_of)
    desk.restore(snapshot.head["desk"], snapshot.part)
    return {status.budget: (status.spent_tokens, status.spent_nano_usd) for status in desk.stand(at_ms).statuses}
