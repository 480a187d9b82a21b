"""One budget's spend over any window: the sums of the groups that it covers, remembered by day."""

from __future__ import annotations

from typing import Final

import numpy as np

from controls.budget_levels import NANO, Reading, counts_tokens
from controls.budget_pace import PAIRS, Pair, fits, projected, times_even_pace
from controls.budgets import Span, covers, is_rolling, period_of
from controls.ledger import HOUR_S, SLOTS_PER_DAY, Counts, Ledger
from schemas.config.budgets import BudgetConfig, Period
from schemas.records import BudgetView, Scaled
from schemas.spend import SLOT_S, BudgetStatus

_LOOKS_BACK_H: Final = 15 * 24
_STEP_S: Final[dict[Period, int]] = {
    "hour": SLOT_S, "rolling_1h": SLOT_S, "day": HOUR_S, "rolling_24h": HOUR_S, "week": 6 * HOUR_S,
    "rolling_7d": 6 * HOUR_S, "month": 24 * HOUR_S, "rolling_30d": 24 * HOUR_S,
}  # fmt: skip
_FINE: Final = frozenset({"rolling_1h", "rolling_24h"})
TOKENS: Final = 1
NANO_USD: Final = 2


class BudgetSums:
    """Asked again and again: what did not change is not added up again."""

    def __init__(self, budget: BudgetConfig, ledger: Ledger) -> None:
        self.written = self.budget = budget  # exceptions may set other limits for a time
        self._ledger = ledger
        self._places: list[int] = []
        self._looked_at = 0
        self._hours: dict[int, Counts] = {}
        self._slots: dict[int, Counts] = {}

    def changed(self, day: int) -> None:
        """Something was added there."""
        self._hours.pop(day, None)
        self._slots.pop(day, None)

    def reading(self, at_ms: int) -> Reading:
        """All that is to be known of it now. Rolling windows go in whole steps, and are never shorter than they say."""
        self._look()
        span = period_of(self.budget.period, at_ms)
        _, tokens, nano = self._spent(span, at_ms).sum(axis=0).tolist()
        unit = TOKENS if counts_tokens(self.budget, nano, tokens) else NANO_USD
        limit = self._limit(unit)
        reading = Reading(at_ms, span, nano, tokens)
        if limit <= 0:
            return reading
        spent = (tokens if unit == TOKENS else nano) / limit
        ahead = None
        if self.budget.projected and not is_rolling(self.budget.period):
            ahead = self._projected(span, at_ms, unit, spent * limit)
        share_ahead = ahead / limit if ahead is not None else None
        pace = self._last_hour(at_ms, unit) / limit
        return reading._replace(
            projected=share_ahead,
            burning=self._burning(span, at_ms, unit, limit, lasts=share_ahead is None or share_ahead <= 1),
            rest_at_pace_h=(1 - spent) / pace if pace > 0 and spent < 1 else None,
        )

    def view(self, status: BudgetStatus) -> BudgetView:
        """What people are shown of it."""
        budget, at_ms = self.budget, status.at_ms
        unit = TOKENS if counts_tokens(budget, status.spent_nano_usd, status.spent_tokens) else NANO_USD
        per = NANO if unit == NANO_USD else 1
        step_s, span = _STEP_S[budget.period], Span(status.period, status.period_from_ms, status.period_until_ms)
        finest = self._spent(span, at_ms)[:, unit]
        width = step_s // (SLOT_S if step_s == SLOT_S or budget.period in _FINE else HOUR_S)
        steps = np.add.reduceat(finest, np.arange(0, len(finest), width)) if len(finest) else finest
        past = steps[: max(1, -(-(at_ms - span.from_ms) // (step_s * 1000)))] / per
        ahead = status.projected_nano_usd if unit == NANO_USD else None
        return BudgetView(
            budget=budget.name, scope=status.scope, owner=budget.owner, unit="usd" if unit == NANO_USD else "tokens",
            period=span.name, at_ms=at_ms, from_ms=span.from_ms, until_ms=span.until_ms,
            spent=float(status.spent_nano_usd / NANO if unit == NANO_USD else status.spent_tokens),
            limit=self._limit(unit) / per, projected=ahead / NANO if ahead is not None else None,
            per_hour=self._last_hour(at_ms, unit) / per, thresholds=budget.soft_percent, stops=budget.hard_stop,
            used_up=self._limit(unit) <= (status.spent_nano_usd if unit == NANO_USD else status.spent_tokens),
            degrade=status.degrade, step_s=step_s, steps=Scaled.of([float(value) for value in past]),
        )  # fmt: skip

    def _look(self) -> None:
        """Which groups it covers; new ones come while it runs."""
        groups = self._ledger.groups
        if len(groups) == self._looked_at:
            return
        new = groups[self._looked_at :]
        mine = [at for at, group in enumerate(new, self._looked_at) if covers(self.budget, group.key_id, group)]
        self._places += mine
        self._looked_at = len(groups)
        self._hours.clear()
        self._slots.clear()

    def _limit(self, unit: int) -> float:
        return float((self.budget.tokens or 0) if unit == TOKENS else (self.budget.usd or 0) * NANO)

    def _spent(self, span: Span, at_ms: int) -> Counts:
        if self.budget.period == "hour":
            return self._by_slot(span.from_ms // (SLOT_S * 1000), span.until_ms // (SLOT_S * 1000))
        if not is_rolling(self.budget.period):
            return self._by_hour(span.from_ms // (HOUR_S * 1000), span.until_ms // (HOUR_S * 1000))
        if self.budget.period in _FINE:
            return self._by_slot(span.from_ms // (SLOT_S * 1000), at_ms // (SLOT_S * 1000) + 1)
        return self._by_hour(span.from_ms // (HOUR_S * 1000), at_ms // (HOUR_S * 1000) + 1)

    def _projected(self, span: Span, at_ms: int, unit: int, spent: float) -> float | None:
        hour, into_ms = divmod(at_ms, HOUR_S * 1000)
        hours = self._by_hour(hour - _LOOKS_BACK_H, hour)[:, unit].tolist()
        return projected(
            spent, hours, into_h=into_ms / (HOUR_S * 1000), elapsed_h=(at_ms - span.from_ms) / (HOUR_S * 1000),
            rest_h=(span.until_ms - at_ms) / (HOUR_S * 1000),
        )  # fmt: skip

    def _last_hour(self, at_ms: int, unit: int) -> float:
        return self._within(at_ms, HOUR_S, unit)[0]

    def _within(self, at_ms: int, window_s: int, unit: int) -> tuple[float, float]:
        """Spend of the window's full steps and the one under way, and their length in seconds."""
        fine = window_s <= 6 * HOUR_S
        step_s = SLOT_S if fine else HOUR_S
        now, into_ms = divmod(at_ms, step_s * 1000)
        counts = (self._by_slot if fine else self._by_hour)(now - window_s // step_s, now + 1)
        return float(counts[:, unit].sum()), window_s + into_ms / 1000

    def _burning(
        self, span: Span, at_ms: int, unit: int, limit: float, *, lasts: bool
    ) -> dict[Pair, tuple[float, float]]:
        """The pairs that burn. The slow one only where the budget will not last: an even pace is no fire."""
        period_s = (span.until_ms - span.from_ms) / 1000
        found: dict[Pair, tuple[float, float]] = {}
        for pair in PAIRS if self.budget.burn_rate else ():
            if not fits(pair, period_s) or (lasts and pair.times <= 1):
                continue
            spent = [self._within(at_ms, window_s, unit) for window_s in (pair.long_s, pair.short_s)]
            long, short = (times_even_pace(amount / limit, length_s, period_s) for amount, length_s in spent)
            if long > pair.times and short > pair.times:
                found[pair] = (long, short)
        return found

    def _by_hour(self, start: int, end: int) -> Counts:
        return self._between(start, end, 24, self._hours)

    def _by_slot(self, start: int, end: int) -> Counts:
        return self._between(start, end, SLOTS_PER_DAY, self._slots)

    def _between(self, start: int, end: int, per_day: int, known: dict[int, Counts]) -> Counts:
        ask = self._ledger.hours if per_day == 24 else self._ledger.slots
        days = range(start // per_day, (end - 1) // per_day + 1)
        for day in days:
            if day not in known:
                known[day] = ask(self._places, day)
        whole = np.concatenate([known[day] for day in days])
        return whole[start - days.start * per_day : end - days.start * per_day]
