"""Which ceilings are lent: those of budgets that stop, in money and in tokens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controls.leases import Pot
from schemas.config.budgets import BudgetConfig
from schemas.spend import BudgetStatus

PARTS: Final = 50
"""A fiftieth is room to have of a budget whose use is not known, or to begin with: so many gates can begin with it."""
UNITS: Final = ("usd", "tokens")


def pot_name(budget: str, unit: str) -> str:
    return f"{budget}/{unit}"


def limit_of(budget: BudgetConfig, unit: str) -> int | None:
    """In nano-USD or tokens."""
    if unit == "usd":
        return None if budget.usd is None else round(budget.usd * 1e9)
    return budget.tokens


def begins_unasked(budget: BudgetConfig) -> bool:
    """A ceiling of one key for a day: there are as many as keys, so it is lent only while the key is in use."""
    return len(budget.keys) == 1 and budget.period == "day"


def at_hand(limit: int) -> int:
    return limit // PARTS


def limits(budget: BudgetConfig) -> Iterator[tuple[str, int]]:
    """(pot, limit) of each unit that the budget limits."""
    for unit in UNITS:
        limit = limit_of(budget, unit)
        if limit is not None:
            yield pot_name(budget.name, unit), limit


def pots_of(budget: BudgetConfig, status: BudgetStatus) -> Iterator[Pot]:
    """As the budget is written, and as its desk says that it stands."""
    if not budget.hard_stop:
        return
    spent = {"usd": status.spent_nano_usd, "tokens": status.spent_tokens}
    for unit in UNITS:
        limit = limit_of(budget, unit)
        if limit is not None:
            start = at_hand(limit) if begins_unasked(budget) else 0
            yield Pot(pot_name(budget.name, unit), status.period, limit, spent[unit], start=start)
