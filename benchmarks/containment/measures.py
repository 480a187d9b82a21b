"""Figures from results, without any playing: intervals, episodes, losses, thresholds. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np

from benchmarks.containment.columns import HOUR_MS, Floats, Ints, Mask

EPISODE_MS: Final = 6 * HOUR_MS
_Z: Final = 1.959964  # two-sided 95 %
_RISK: Final = 0.05


class Interval(NamedTuple):
    """A share or rate, and where the true one lies in 95 of 100 such runs."""

    value: float
    low: float
    high: float


def wilson(hits: int, of: int) -> Interval:
    """A share with its Wilson interval.

    >>> wilson(0, 0)
    Interval(value=nan, low=0.0, high=1.0)
    >>> tuple(round(x, 3) for x in wilson(90, 100))
    (0.9, 0.826, 0.945)
    """
    if of == 0:
        return Interval(math.nan, 0.0, 1.0)
    p, z2 = hits / of, _Z * _Z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    return Interval(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)))


def poisson_upper(count: int) -> float:
    """The largest mean that still gives so few in one of twenty runs; for none this is the rule of three.

    >>> round(poisson_upper(0), 3), round(poisson_upper(2), 2)
    (2.996, 6.3)
    """
    low, high = float(count), count + 10 + 5 * math.sqrt(count + 1)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(count, middle) > _RISK else (low, middle)
    return high


def _at_most(count: int, mean: float) -> float:
    return sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))


def episodes(times_ms: Sequence[int] | Ints, *, merge_ms: int = EPISODE_MS) -> int:
    """Alerts as a person counts them: what follows the one before within `merge_ms` belongs to it.

    >>> hour = 3_600_000
    >>> episodes([0, 5 * hour, 10 * hour, 17 * hour])
    2
    """
    times = np.sort(np.asarray(times_ms, np.int64))
    return int(len(times) > 0) + int((np.diff(times) > merge_ms).sum())


class Told(NamedTuple):
    """Findings of healthy keys as columns, those that only inform left out."""

    key: Ints
    at_ms: Ints
    score: Floats  # infinite for what has no threshold
    velocity: Mask

    def of(self, chosen: Mask) -> Told:
        return Told(self.key[chosen], self.at_ms[chosen], self.score[chosen], self.velocity[chosen])


def episodes_above(said: Told, score: float) -> int:
    """Episodes of all keys together at this threshold."""
    high = said.score >= score
    key, at_ms = said.key[high], said.at_ms[high]
    order = np.lexsort((at_ms, key))
    key, at_ms = key[order], at_ms[order]
    if not len(key):
        return 0
    return 1 + int(((np.diff(key) != 0) | (np.diff(at_ms) > EPISODE_MS)).sum())


def highest_rate(
    said: Told, *, key_weeks: float, wanted_per_key_week: float, rates: Floats, threshold: Callable[[float], float]
) -> float:
    """The loosest of `rates` whose episodes stay within what is wanted; the strictest if none does."""
    kept = [rate for rate in rates.tolist() if episodes_above(said, threshold(rate)) <= wanted_per_key_week * key_weeks]
    return max(kept, default=float(rates.min()))


class Result(NamedTuple):
    """What became of one theft. Times are event time; losses are above the owner's usual spend."""

    family: str
    size: str
    cold: bool
    planned_usd: float  # over 24 hours (low and slow: a week) if nobody acts
    alert_s: float | None  # from the thief's first request to the first alert
    alert_events: int | None  # the thief's requests until then
    cut_s: float | None
    lost_at_alert_usd: float  # all that was planned where there was none
    lost_at_cut_usd: float
    by: str  # family that alerted first
    families: tuple[str, ...]
    anyway: bool = False  # the same key in the same time gave an alert without the theft too
    velocity_alone: bool = False  # played for that family alone, at its own threshold, for ten minutes

    @property
    def found(self) -> bool:
        return self.alert_s is not None


class Summary(NamedTuple):
    """A table row: results of one family and size."""

    thefts: int
    recall: Interval
    anyway: float  # share found by chance: as many alerts came without the theft
    seconds: tuple[float, float]  # to detection, median and 95th percentile of those found
    events: float
    cut: Interval
    cut_seconds: float
    lost_at_alert_usd: float  # median over all, missed ones with all that was planned
    lost_at_cut_usd: tuple[float, float, float]  # median, 95th percentile, most
    value_money: float  # share of the planned loss that an alert came in time for, by money
    value_mean: float  # and as a mean over thefts
    saved_money: float  # the same for automatic cuts
    saved_mean: float
    by: tuple[tuple[str, int], ...]


def summary(results: Sequence[Result]) -> Summary:
    """All figures of these results."""
    found = [result for result in results if result.found]
    cut = [result for result in results if result.cut_s is not None]
    lost = np.array([result.lost_at_cut_usd for result in results])
    by = {result.by: 0 for result in found}
    for result in found:
        by[result.by] += 1
    return Summary(
        thefts=len(results),
        recall=wilson(len(found), len(results)),
        anyway=sum(result.anyway for result in results) / max(len(results), 1),
        seconds=(_quantile([r.alert_s for r in found], 0.5), _quantile([r.alert_s for r in found], 0.95)),
        events=_quantile([r.alert_events for r in found], 0.5),
        cut=wilson(len(cut), len(results)),
        cut_seconds=_quantile([r.cut_s for r in cut], 0.5),
        lost_at_alert_usd=_quantile([r.lost_at_alert_usd for r in results], 0.5),
        lost_at_cut_usd=(_quantile(lost, 0.5), _quantile(lost, 0.95), _quantile(lost, 1.0)),
        value_money=_kept_money([(r.lost_at_alert_usd, r.planned_usd) for r in results]),
        value_mean=_kept_mean([(r.lost_at_alert_usd, r.planned_usd) for r in results]),
        saved_money=_kept_money([(r.lost_at_cut_usd, r.planned_usd) for r in results]),
        saved_mean=_kept_mean([(r.lost_at_cut_usd, r.planned_usd) for r in results]),
        by=tuple(sorted(by.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def _quantile(values: Sequence[float | None] | Floats, q: float) -> float:
    known = [float(value) for value in values if value is not None]
    return float(np.quantile(known, q)) if known else math.nan


def _kept_money(lost_of_planned: Sequence[tuple[float, float]]) -> float:
    """Share of the money that was not lost; >>> _kept_money([(1.0, 4.0)]) is 0.75."""
    planned = sum(whole for _, whole in lost_of_planned)
    return 1 - sum(min(lost, whole) for lost, whole in lost_of_planned) / planned if planned else math.nan


def _kept_mean(lost_of_planned: Sequence[tuple[float, float]]) -> float:
    shares = [1 - min(lost / whole, 1.0) for lost, whole in lost_of_planned if whole > 0]
    return float(np.mean(shares)) if shares else math.nan
