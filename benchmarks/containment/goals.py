"""What detection is to reach, and what this run gave. Goals are the project's own, stated beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from benchmarks.containment.clean import Clean
from benchmarks.containment.hard import Calm
from benchmarks.containment.measures import Interval, Result, poisson_upper, summary, wilson
from benchmarks.containment.trials import FIRST_MS

ABROAD: Final = frozenset({"burst", "published", "reseller", "probe_then_abuse", "dormant_wakes", "replacement"})
_TENFOLD: Final = frozenset({"x10", "x30", "x450", "28.6 USD/min", "32 USD/min", "333 USD/min"})
_PACED: Final = ABROAD | {"runaway", "agent_loop"}


class Goal(NamedTuple):
    """One goal: in words, what was wanted, what came out, and whether that is enough."""

    name: str
    wanted: str
    measured: str
    reached: bool | None  # None: nothing was measured


def goals(clean: Clean, results: Sequence[Result], calm: Sequence[Calm]) -> list[Goal]:
    """All goals. Recall is of grown keys; cold ones have tables of their own."""
    grown = [result for result in results if not result.cold and not result.velocity_alone]
    alone = [result for result in results if result.velocity_alone]
    return [
        *(_velocity(alone, size, least) for size, least in (("x10", 0.85), ("x30", 0.97))),
        _recall("tenfold and more", grown, lambda r: r.family in _PACED and r.size in _TENFOLD, 0.99),
        _recall("threefold", grown, lambda r: r.family in _PACED and r.size == "x3", 0.90),
        _recall("model swaps", grown, lambda r: r.family == "model_swap", 0.90),
        _recall("from elsewhere, any size", grown, _from_elsewhere, 0.90),
        _recall("off-hours", grown, lambda r: r.family == "off_hours", 0.90),
        _recall("low and slow, within a week", grown, lambda r: r.family == "low_and_slow", 0.80),
        _most("median s to alert, x30", [r.alert_s for r in grown if r.size == "x30" and r.found], 20.0),
        _most("median USD lost at the cut, 32 USD/min", _lost(grown), 8.0),
        *_value(grown),
        _cuts(clean),
        *_negatives(calm),
    ]


def _from_elsewhere(result: Result) -> bool:
    return result.family in ABROAD or "thief's hosts" in result.size


def _velocity(alone: Sequence[Result], size: str, least: float) -> Goal:
    own = [result for result in alone if result.size == size]
    soon = sum(result.alert_s is not None and result.alert_s <= FIRST_MS / 1000 for result in own)
    return _share(f"velocity alone, first 10 min, {size}", wilson(soon, len(own)), len(own), least)


def _recall(name: str, results: Sequence[Result], chosen: Callable[[Result], bool], least: float) -> Goal:
    own = [result for result in results if chosen(result)]
    return _share(f"found: {name}", wilson(sum(result.found for result in own), len(own)), len(own), least)


def _share(name: str, share: Interval, of: int, least: float) -> Goal:
    if of == 0:
        return Goal(name, f">= {least:.0%}", "-", None)
    measured = f"{share.value * 100:.1f} % ({share.low * 100:.0f}-{share.high * 100:.0f}), n {of}"
    return Goal(name, f">= {least:.0%}", measured, share.value >= least)


def _most(name: str, values: Sequence[float | None], most: float) -> Goal:
    known = sorted(value for value in values if value is not None)
    if not known:
        return Goal(name, f"<= {most:g}", "-", None)
    median = (known[(len(known) - 1) // 2] + known[len(known) // 2]) / 2
    return Goal(name, f"<= {most:g}", f"{median:.1f}, n {len(known)}", median <= most)


def _lost(results: Sequence[Result]) -> list[float | None]:
    return [result.lost_at_cut_usd for result in results if result.size == "32 USD/min"]


def _value(results: Sequence[Result]) -> list[Goal]:
    day = [result for result in results if result.family != "low_and_slow"]
    if not day:
        return []
    figures = summary(day)
    named = (("by money", figures.value_money, 0.99), ("mean over thefts", figures.value_mean, 0.95))
    return [
        Goal(f"value detected over 24 h, {name}", f">= {least:.0%}", f"{value * 100:.2f} %", value >= least)
        for name, value, least in named
        if not math.isnan(value)
    ]


def _cuts(clean: Clean) -> Goal:
    per_ten_thousand = clean.cuts / clean.key_weeks * 10_000
    upper = poisson_upper(clean.cuts) / clean.key_weeks * 10_000
    measured = f"{per_ten_thousand:.1f} (95 %: at most {upper:.0f}), {clean.cuts} in {clean.key_weeks:.0f} key-weeks"
    return Goal("wrongful cuts per 10,000 key-weeks", "<= 1", measured, per_ten_thousand <= 1)


def _negatives(calm: Sequence[Calm]) -> list[Goal]:
    alerted = sum(one.alerted for one in calm)
    share = wilson(alerted, len(calm))
    if not calm:
        return []
    anyway = sum(one.alerted_anyway for one in calm)
    return [
        Goal(
            "hard negatives alerted", "<= 5%",
            f"{share.value * 100:.1f} % ({share.low * 100:.0f}-{share.high * 100:.0f}), n {len(calm)}; "
            f"without the change {anyway / len(calm) * 100:.1f} %",
            share.value <= 0.05,
        ),
        Goal("hard negatives cut", "none", f"{sum(one.cut for one in calm)} of {len(calm)}",
             not any(one.cut for one in calm)),
    ]  # fmt: skip
