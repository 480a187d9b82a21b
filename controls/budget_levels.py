"""Where one budget stands, and what is to be told of it: each threshold once in its period. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pydantic import Field

from controls.budget_pace import Pair
from controls.budgets import Span, is_rolling, scope_of
from schemas.config.budgets import BudgetConfig
from schemas.records import Record, Severity, rfc3339
from schemas.spend import BudgetLevel, BudgetStatus

BURN_AGAIN_MS: Final = 900_000
"""While it burns it is said again so often: an incident must not be taken for over."""
_ARMED_AGAIN: Final = 10.0  # percent below a threshold of a rolling budget, which has no next period
_PROJECTED_OVER: Final = 1.02  # a forecast is no more exact than that
NANO: Final = 10**9


class Reading(NamedTuple):
    """What is known of one budget now. The projected and the burning go by the unit that is nearer to its limit."""

    at_ms: int
    span: Span
    nano_usd: int
    tokens: int
    projected: float | None = None  # share of the limit at the period's end
    burning: Mapping[Pair, tuple[float, float]] = {}  # in each pair that burns: times the even pace, long and short
    rest_at_pace_h: float | None = None  # until it is used up, as fast as within the last hour


class BudgetMemory(Record):
    """What must not be said or done twice, of one budget."""

    budget: str
    period: str = ""
    told: tuple[str, ...] = ()  # of this period: "soft_80", "projected", "used_up", "degrade"
    degraded: bool = False
    burning: dict[str, int] = Field(default_factory=dict)  # pair -> when it was last said


class Telling(NamedTuple):
    """Something that people should know now."""

    name: str
    severity: Severity
    words: str


class Judged(NamedTuple):
    """One budget's status, what to remember of it, and what to tell."""

    status: BudgetStatus
    memory: BudgetMemory
    tellings: tuple[Telling, ...]


def judge(budget: BudgetConfig, reading: Reading, memory: BudgetMemory) -> Judged:
    """The status now. The same reading a second time tells nothing."""
    if memory.period != reading.span.name:
        memory = BudgetMemory(budget=budget.name, period=reading.span.name, burning=memory.burning)
    share = share_of(budget, reading.nano_usd, reading.tokens)
    memory = _armed(budget, memory, share * 100)
    memory = memory.model_copy(update={"degraded": _degraded(budget, memory, share * 100)})
    tellings = [*_thresholds(budget, reading, memory, share), *_pace(budget, reading, memory, share)]
    told = (*memory.told, *_passed(budget, share * 100), *(each.name for each in tellings))
    memory = memory.model_copy(update={
        "told": tuple(dict.fromkeys(name for name in told if not name.startswith("burn"))),
        "burning": _burning(reading, memory, tellings),
    })  # fmt: skip
    return Judged(_status(budget, reading, memory, share), memory, tuple(tellings))


def share_of(budget: BudgetConfig, nano_usd: int, tokens: int) -> float:
    """How much of it is spent: of money or of tokens, whichever is nearer to its limit.

    >>> share_of(BudgetConfig(name="b", usd=10, tokens=1000), 4 * NANO, 500)
    0.5
    """
    shares = [nano_usd / (budget.usd * NANO)] if budget.usd else []
    return max([*shares, *([tokens / budget.tokens] if budget.tokens else [])], default=0.0)


def counts_tokens(budget: BudgetConfig, nano_usd: int, tokens: int) -> bool:
    """Whether the tokens are what is nearer to its limit."""
    if not budget.tokens:
        return False
    return not budget.usd or tokens / budget.tokens > nano_usd / (budget.usd * NANO)


def _passed(budget: BudgetConfig, percent: float) -> list[str]:
    return [_soft(each) for each in budget.soft_percent if percent >= each]


def _soft(percent: float) -> str:
    return f"soft_{percent:g}"


def _armed(budget: BudgetConfig, memory: BudgetMemory, percent: float) -> BudgetMemory:
    """A rolling budget has no next period: a threshold may be told again after it was well below it."""
    if not is_rolling(budget.period):
        return memory
    floors = {_soft(each): each for each in budget.soft_percent} | {"used_up": 100.0}
    if budget.degrade:
        floors["degrade"] = budget.degrade.back_percent + _ARMED_AGAIN
    told = tuple(name for name in memory.told if percent >= floors.get(name, 0.0) - _ARMED_AGAIN)
    return memory.model_copy(update={"told": told})


def _degraded(budget: BudgetConfig, memory: BudgetMemory, percent: float) -> bool:
    """From `at_percent` on, until it is below `back_percent`: so it does not flicker."""
    if budget.degrade is None or not budget.degrade.models or not budget.degrade.apps:
        return False
    return percent >= (budget.degrade.back_percent if memory.degraded else budget.degrade.at_percent)


def _thresholds(budget: BudgetConfig, reading: Reading, memory: BudgetMemory, share: float) -> list[Telling]:
    """Of several that were passed at once the highest is told, and the others count as told."""
    found: list[Telling] = []
    period = _period_words(budget, reading.span)
    if memory.degraded and "degrade" not in memory.told and budget.degrade is not None:
        moves = ", ".join(f"{model} to {cheaper}" for model, cheaper in budget.degrade.models.items())
        words = f"{budget.name}: calls of {', '.join(budget.degrade.apps)} go from {moves} until the budget is below "
        found.append(Telling("degrade", "info", f"{words}{budget.degrade.back_percent:g}% or its period ends"))
    if share >= 1:
        if "used_up" not in memory.told:
            end = "gates refuse its calls" if budget.hard_stop else "nothing stops it, for hard_stop is off"
            words = f"{budget.name} is used up: {_amount(budget, reading)} {period}; {end}{_until(budget, reading)}"
            found.append(Telling("used_up", "critical" if budget.hard_stop else "warning", words))
        return found
    new = [each for each in budget.soft_percent if share * 100 >= each and _soft(each) not in memory.told]
    if new and not (last := max(new)) < max((_percent(name) for name in memory.told), default=0.0):
        severity: Severity = "warning" if last == max(budget.soft_percent) else "info"
        words = f"{budget.name} has spent {_amount(budget, reading)}, {share:.0%}, {period}"
        found.append(Telling(_soft(last), severity, words))
    return found


def _percent(name: str) -> float:
    return float(name.removeprefix("soft_")) if name.startswith("soft_") else 0.0


def _pace(budget: BudgetConfig, reading: Reading, memory: BudgetMemory, share: float) -> list[Telling]:
    found: list[Telling] = []
    ahead = reading.projected
    if ahead is not None and ahead >= _PROJECTED_OVER and share < 1 and "projected" not in memory.told:
        words = f"{budget.name} will be used up before its period ends: it has spent {_amount(budget, reading)} "
        words += f"{_period_words(budget, reading.span)}, and at this pace it is {ahead:.0%} by {_day(reading.span)}"
        found.append(Telling("projected", "warning", words))
    for pair, (long, short) in reading.burning.items():
        if share >= 1 or reading.at_ms - memory.burning.get(pair.name, -BURN_AGAIN_MS) < BURN_AGAIN_MS:
            continue
        words = f"{budget.name} burns: {long:.3g} times the pace it can keep up over {_length(pair.long_s)}, "
        words += f"{short:.3g} times over {_length(pair.short_s)}"
        left = f"; what is left is gone in {_length(reading.rest_at_pace_h * 3600)}" if reading.rest_at_pace_h else ""
        found.append(Telling(pair.name, pair.severity, words + left))
    return found


def _burning(reading: Reading, memory: BudgetMemory, tellings: list[Telling]) -> dict[str, int]:
    said = {each.name for each in tellings}
    return {
        pair.name: reading.at_ms if pair.name in said else memory.burning.get(pair.name, reading.at_ms)
        for pair in reading.burning
    }


def _status(budget: BudgetConfig, reading: Reading, memory: BudgetMemory, share: float) -> BudgetStatus:
    level = _level(budget, memory, share)
    limit = round(budget.usd * NANO) if budget.usd else None
    ahead = reading.projected
    span = reading.span
    return BudgetStatus(
        budget=budget.name, scope=scope_of(budget), at_ms=reading.at_ms, period=span.name, period_from_ms=span.from_ms,
        period_until_ms=span.until_ms, level=level, spent_nano_usd=reading.nano_usd, spent_tokens=reading.tokens,
        limit_nano_usd=limit, limit_tokens=budget.tokens,
        projected_nano_usd=round(ahead * limit) if ahead is not None and limit is not None else None,
        degrade=dict(budget.degrade.models) if memory.degraded and budget.degrade else {},
        reason=_reason(budget, reading, level, share),
    )  # fmt: skip


def _level(budget: BudgetConfig, memory: BudgetMemory, share: float) -> BudgetLevel:
    """The strictest thing that is in force."""
    if share >= 1 and budget.hard_stop:
        return "stopped"
    if memory.degraded:
        return "degraded"
    if "projected" in memory.told and share < 1:
        return "projected"
    return "soft" if share * 100 >= min(budget.soft_percent, default=100.0) else "ok"


def _reason(budget: BudgetConfig, reading: Reading, level: BudgetLevel, share: float) -> str:
    """One sentence, also for whoever is refused."""
    words = f"{budget.name}: {_amount(budget, reading)} spent, {share:.0%}, {_period_words(budget, reading.span)}"
    return words + (_until(budget, reading) if level == "stopped" else "")


def _until(budget: BudgetConfig, reading: Reading) -> str:
    whom = f"ask {budget.owner} for more" if budget.owner else "raise it in budgets.yaml for more"
    end = "" if is_rolling(budget.period) else f" until {rfc3339(reading.span.until_ms)[:16].replace('T', ' ')} UTC"
    return f"{end}; {whom}"


def _amount(budget: BudgetConfig, reading: Reading) -> str:
    """Spent of the limit, in the unit that is nearer to it."""
    if counts_tokens(budget, reading.nano_usd, reading.tokens):
        return f"{reading.tokens:,} of {budget.tokens:,} tokens"
    return f"${reading.nano_usd / NANO:,.2f} of ${budget.usd or 0:,.2f}"


def _period_words(budget: BudgetConfig, span: Span) -> str:
    return f"within the {span.name}" if is_rolling(budget.period) else f"in {span.name}"


def _day(span: Span) -> str:
    return rfc3339(span.until_ms)[:16].replace("T", " ") + " UTC"


def _length(seconds: float) -> str:
    for limit_s, unit_s, unit in ((7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds / 86_400:.3g} d"
