"""Budgets that several gates share: each call is held against what this one was lent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from controls.lease_pots import at_hand, limits, pot_name
from gate.budgets import refused
from gate.known import Status
from gate.lease import Borrower
from gate.ports import UNITS, Amount
from schemas.call import ALLOW, Ruling
from schemas.config.budgets import BudgetConfig

_SOON_S: Final = 1.0
_SHORT: Final = "this gate has too little of budget {} at hand and is asking for more: try again"
_RAISED: Final = "budget {} was raised just now, and this gate is asking for its part of it: try again"


class _Pot(NamedTuple):
    """One of the ceilings of a budget."""

    name: str
    unit: str  # as in its name
    limit: int
    of: int  # where an amount has it


class LeasedSlices:
    """`tick_ms`: a clock that never jumps, also while the machine sleeps."""

    def __init__(self, borrower: Borrower, status: Status, *, tick_ms: Callable[[], float]) -> None:
        self._borrower, self._status, self._tick_ms = borrower, status, tick_ms
        self._pots: dict[str, tuple[BudgetConfig, tuple[_Pot, ...]]] = {}

    def watch(self, budgets: Iterable[BudgetConfig]) -> None:
        """The budgets there are."""
        self._pots.clear()
        self._borrower.watch({
            pot: at_hand(limit) for budget in budgets if budget.hard_stop for pot, limit in limits(budget)
        })  # fmt: skip

    def ask(self, budget: BudgetConfig, amount: Amount, at_ms: int) -> Ruling:
        """Refused for good where all gates together have no room; for a moment where only this one has none.

        Also where its line is of a ceiling that was raised since: of the new one nobody has said yet what is left.
        """
        tick_ms, short, raised = self._tick_ms(), False, False
        for pot, _, limit, of in self._pots_of(budget):
            needed = amount[of]
            room = self._borrower.room(pot, tick_ms)
            if needed <= room.amount:
                continue
            self._borrower.refused(pot, needed)
            short = True
            if room.limit is not None and limit > room.limit:
                raised = True
            elif room.lent and room.spare is not None and room.spare < needed:
                return refused(budget, self._status(budget.name), _left(pot, room.spare, limit), at_ms)
        if not short:
            return ALLOW
        words = _RAISED if raised else _SHORT
        return Ruling("throttle", f"budget {budget.name}", words.format(budget.name), retry_after_s=_SOON_S)

    def take(self, budget: BudgetConfig, amount: Amount, at_ms: int) -> str:
        """Of which pots, each in its own period: one may have heard of the new one before the other."""
        borrower = self._borrower
        return "|".join([f"{unit}={borrower.take(pot, amount[of])}" for pot, unit, _, of in self._pots_of(budget)])

    def settle(self, budget: str, period: str, reserved: Amount, used: Amount) -> None:
        """With those pots alone: another one's limit may have been written meanwhile."""
        for taken in period.split("|") if period else ():
            unit, _, of = taken.partition("=")
            had, came_to = (each.nano_usd if unit == "usd" else each.tokens for each in (reserved, used))
            self._borrower.settle(pot_name(budget, unit), of, had, came_to)

    def _pots_of(self, budget: BudgetConfig) -> tuple[_Pot, ...]:
        """Worked out once for each budget that is written."""
        known = self._pots.get(budget.name)
        if known is None or known[0] is not budget:
            known = self._pots[budget.name] = budget, tuple(_pots(budget))
        return known[1]


def _pots(budget: BudgetConfig) -> Iterator[_Pot]:
    for pot, limit in limits(budget):
        unit = pot.rpartition("/")[2]
        yield _Pot(pot, unit, limit, UNITS.index("nano_usd" if unit == "usd" else unit))


def _left(pot: str, spare: int, limit: int) -> str:
    if pot.endswith("/usd"):
        return f"has ${spare / 1e9:,.2f} left of ${limit / 1e9:,.2f}"
    return f"has {spare:,} tokens left of {limit:,}"
