"""Money and tokens: cheaper models while a budget is tight, and its slices for one gate alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from gate.known import Status
from gate.ports import Amount, Ceiling
from gate.windows import Over
from schemas.call import ALLOW, Ruling
from schemas.config.budgets import BudgetConfig
from schemas.records import KeyFacts
from schemas.spend import BudgetStatus


def cheaper(model: str, models: Mapping[str, str]) -> str:
    """What was approved instead of the model, by the first pattern that fits; empty where nothing was.

    >>> cheaper("gpt-4.1", {"gpt-4.1*": "gpt-4.1-mini"}), cheaper("gpt-4.1-mini", {"gpt-4.1*": "gpt-4.1-mini"})
    ('gpt-4.1-mini', '')
    """
    if model in models.values():
        return ""
    return next((instead for pattern, instead in models.items() if fnmatchcase(model, pattern)), "")


def tightened(model: str, facts: KeyFacts, budgets: Iterable[BudgetConfig], status: Status) -> Ruling:
    """Degrade, where one of the budgets is tight, a cheaper model is approved and the app's owner has agreed."""
    for budget in budgets:
        stands = status(budget.name)
        if stands is None or not stands.degrade or budget.degrade is None:
            continue
        instead = cheaper(model, stands.degrade)
        if instead and any(fnmatchcase(facts.app, pattern) for pattern in budget.degrade.apps):
            return Ruling("degrade", f"budget {budget.name}", stands.reason, model=instead)
    return ALLOW


def refused(budget: BudgetConfig, status: BudgetStatus | None, left: str, at_ms: int) -> Ruling:
    """The hard stop, in words: what is left, whom to ask, when it starts anew."""
    ask = f"ask {budget.owner}" if budget.owner else "ask its owner"
    period = f" of {status.period}" if status else ""
    wait_s = max(0.0, (status.period_until_ms - at_ms) / 1000) if status and not _rolls(budget) else None
    words = f"budget {budget.name}{period} {left}: {ask}"
    return Ruling("deny", f"budget {budget.name}", words, retry_after_s=wait_s)


def over_seen(day: Ceiling, stands: BudgetStatus | None, amount: Amount, at_ms: int) -> Over | None:
    """A key's USD of a day, held against the usage of all gates and of all their starts, as far as it was seen."""
    if stands is None or not stands.period_from_ms <= at_ms < stands.period_until_ms:
        return None
    if stands.spent_nano_usd + amount.nano_usd <= day.limit:
        return None
    return Over(day, amount.nano_usd, (stands.period_until_ms - at_ms) / 1000)


class AloneSlices:
    """For one gate alone: what its budgets have seen spent, or what it let through itself if that is more."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._own: dict[str, tuple[int, Amount]] = {}  # budget -> (period it is of, settled)
        self._reserved: dict[str, Amount] = {}

    def ask(self, budget: BudgetConfig, amount: Amount, at_ms: int) -> Ruling:
        status = self._status(budget.name)
        spent = _larger(self._settled(budget.name), status)
        held = self._reserved.get(budget.name, Amount(0))
        left_usd = None if budget.usd is None else round(budget.usd * 1e9) - spent.nano_usd - held.nano_usd
        left_tokens = None if budget.tokens is None else budget.tokens - spent.tokens - held.tokens
        if left_usd is not None and amount.nano_usd > left_usd:
            words = f"has ${max(0, left_usd) / 1e9:,.2f} left of ${budget.usd:,.2f}"
            return refused(budget, status, words, at_ms)
        if left_tokens is not None and amount.tokens > left_tokens:
            return refused(budget, status, f"has {max(0, left_tokens):,} tokens left of {budget.tokens:,}", at_ms)
        return ALLOW

    def take(self, budget: BudgetConfig, amount: Amount, at_ms: int) -> str:
        self._reserved[budget.name] = _sum(self._reserved.get(budget.name, Amount(0)), amount)
        return ""

    def settle(self, budget: str, period: str, reserved: Amount, used: Amount) -> None:
        self._reserved[budget] = _sum(self._reserved.get(budget, Amount(0)), reserved, sign=-1)
        self._own[budget] = (self._period(budget), _sum(self._settled(budget), used))

    def _settled(self, budget: str) -> Amount:
        period, settled = self._own.get(budget, (0, Amount(0)))
        return settled if period == self._period(budget) else Amount(0)

    def _period(self, budget: str) -> int:
        """A rolling window has no beginning: what it saw itself is as old as its status says."""
        status = self._status(budget)
        return status.period_from_ms if status else 0


def _rolls(budget: BudgetConfig) -> bool:
    return budget.period.startswith("rolling")


def _larger(own: Amount, status: BudgetStatus | None) -> Amount:
    if status is None:
        return own
    return Amount(0, max(own.tokens, status.spent_tokens), max(own.nano_usd, status.spent_nano_usd))


def _sum(one: Amount, other: Amount, *, sign: int = 1) -> Amount:
    return Amount(
        one.requests + sign * other.requests, one.tokens + sign * other.tokens, one.nano_usd + sign * other.nano_usd
    )
