"""What a month will have cost when it ends, with an interval that says how sure that is. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
HISTORY_DAYS: Final = 56
"""So much of the past the forecast goes by: eight weeks know each weekday eight times."""
SURENESS: Final = 0.8
"""So often the true figure is to lie within the interval."""
_LEAST_DAYS: Final = 7
_WEEKDAYS_FROM: Final = 14  # days: before that a weekday was seen once, which says nothing of weekdays
_CHANCE: Final = 4.0
"""A slope of fewer than two standard errors is taken for none."""
_DOUBTS: Final = 1
"""What it was told of itself beforehand weighs as much as so many looks back."""
_WANDERS: Final = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""How far a day's level moves from that of the day before, against how far a day lies off its level; as variances."""
Floats = NDArray[np.float64]


class Forecast(NamedTuple):
    """In nano-USD. `low` and `high` are what SURENESS of such months lie between."""

    spent: int  # so far
    expected: int  # at the end
    low: int
    high: int
    days: int  # of history it goes by

    @property
    def sure(self) -> bool:
        """Whether the interval means anything: from two weeks on."""
        return self.days >= _WEEKDAYS_FROM


def forecast(
    hours: Sequence[tuple[int, int]], *, from_ms: int, until_ms: int, now_ms: int, sureness: float = SURENESS
) -> Forecast | None:
    """The sum over [from_ms, until_ms) as seen at `now_ms`; None with less than a week of history.

    Each day is a level that wanders, times what its weekday usually is of it, with an error of its own; how much of a
    day's spread is wandering is what explains the past days best. `hours` is what was spent in each hour (when it
    began, nano-USD), in any order; an hour that is not there cost nothing.
    """
    spent = sum(nano for hour, nano in hours if from_ms <= hour < min(until_ms, now_ms))
    if now_ms >= until_ms:
        return Forecast(spent, spent, spent, spent, HISTORY_DAYS)
    today = now_ms // DAY_MS
    days = _by_day(hours, today)
    if len(days) < _LEAST_DAYS:
        return None
    share = np.clip((until_ms - np.arange(today, -(-until_ms // DAY_MS)) * DAY_MS) / DAY_MS, 0, 1)
    share[0] = max(0.0, share[0] - _passed(hours, today, now_ms))
    rest, variance = _outlook(days, today, share)
    width = _quantile(sureness, len(days) - 2) * math.sqrt(variance * _mistaken(days, today))
    low, high = max(0.0, rest - width), max(0.0, rest + width)
    expected, lowest, highest = (spent + round(part) for part in (max(rest, 0.0), low, high))
    return Forecast(spent, expected, lowest, highest, len(days))


def _outlook(days: Floats, today: int, share: Floats) -> tuple[float, float]:
    """Mean and variance of what is to come from today on: of each day this share."""
    weekday = _weekdays(days, today)
    past, ahead = np.arange(len(days), 0, -1), np.arange(len(share))
    flat = days / weekday[_day_of_week(today - past)]
    slope, slope_var = _slope(flat)
    level, level_var, noise_var, step_var = _level(flat + slope * past)  # as if every day were today
    weight = weekday[_day_of_week(today + ahead)] * share
    growth = float((weight * ahead).sum())
    to_come = np.cumsum(weight[::-1])[::-1]  # a step of the level moves all days from then on
    variance = (
        slope_var * growth**2
        + noise_var * float((weight**2).sum())
        + level_var * float(to_come[0] ** 2)
        + step_var * float((to_come[1:] ** 2).sum())
    )
    return level * float(to_come[0]) + slope * growth, variance


def _mistaken(days: Floats, today: int) -> float:
    """By how much larger the variance was than foretold, had the forecast been asked one to four weeks ago."""
    squares = []
    for back in range(7, 29, 7):
        if len(days) - back >= _WEEKDAYS_FROM:
            mean, variance = _outlook(days[:-back], today - back, np.ones(back))
            squares.append((float(days[-back:].sum()) - mean) ** 2 / max(variance, 1.0))
    return max(1.0, (_DOUBTS + sum(squares)) / (_DOUBTS + len(squares)))


def _by_day(hours: Sequence[tuple[int, int]], today: int) -> Floats:
    """Whole days before today, oldest first, from the first that spent something."""
    sums = np.zeros(HISTORY_DAYS)
    for hour, nano in hours:
        back = today - hour // DAY_MS
        if 1 <= back <= HISTORY_DAYS:
            sums[-back] += nano
    spent = np.flatnonzero(sums)
    return sums[spent[0] :] if len(spent) else sums[:0]


def _day_of_week(day: Floats | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(day, np.int64) % 7


def _weekdays(days: Floats, today: int) -> Floats:
    """What each weekday is of the mean day; the less it was seen, the closer to 1."""
    factors = np.ones(7)
    mean = days.mean()
    if len(days) < _WEEKDAYS_FROM or mean <= 0:
        return factors
    which = _day_of_week(today - np.arange(len(days), 0, -1))
    for day in range(7):
        seen = days[which == day]
        trust = len(seen) / (len(seen) + 1)
        factors[day] = max(0.02, 1 + trust * (float(np.median(seen)) / mean - 1))
    return np.asarray(factors / factors.mean(), np.float64)


def _slope(days: Floats) -> tuple[float, float]:
    """By how much each day is more than the one before, and its variance; towards 0 as far as chance explains it."""
    time = np.arange(len(days)) - (len(days) - 1) / 2
    steep = float((time * days).sum() / (time**2).sum())
    left = days - days.mean() - steep * time
    related = float(np.clip((left[1:] * left[:-1]).sum() / max(float((left**2).sum()), 1e-9), 0, 0.8))
    longer = (1 + related) / (1 - related)  # days that resemble their neighbours say less than so many days would
    variance = float((left**2).sum()) / max(len(days) - 2, 1) / float((time**2).sum()) * longer
    sure = max(0.0, 1 - _CHANCE * variance / max(steep**2, 1e-9))
    return steep * sure, variance * sure


def _level(days: Floats) -> tuple[float, float, float, float]:
    """The level of the last day, its variance, the variance of a day around it, and that of a step of the level.

    Each of _WANDERS counts as far as it explains the days: with a few weeks none of them can be ruled out.
    """
    fits = np.array([_filtered(days, wander) for wander in _WANDERS])
    weight = np.exp(fits[:, 0] - fits[:, 0].max())
    weight /= weight.sum()
    levels, noise_vars = fits[:, 1], fits[:, 3]
    level = float(weight @ levels)
    level_var = float(weight @ (fits[:, 2] * noise_vars + (levels - level) ** 2))
    return level, level_var, float(weight @ noise_vars), float(weight @ (noise_vars * np.array(_WANDERS)))


def _filtered(days: Floats, wander: float) -> tuple[float, float, float, float]:
    """Kalman's filter of a wandering level: (how well it explains the days, level, its variance, noise variance).

    Variances in units of the noise, which is then what the errors make it.
    """
    level, share = float(days[0]), 1.0
    squares = logs = 0.0
    for value in days[1:].tolist():
        share += wander
        spread = share + 1.0
        error = value - level
        squares += error * error / spread
        logs += math.log(spread)
        level += share / spread * error
        share /= spread
    count = len(days) - 1
    noise_var = squares / max(count - 1, 1)
    likelihood = -0.5 * (count * math.log(max(noise_var, 1e-9)) + logs)
    return likelihood, level, share, noise_var


def _passed(hours: Sequence[tuple[int, int]], today: int, now_ms: int) -> float:
    """How much of today's spend usually is over by this time of day."""
    by_hour = np.zeros(24)
    for hour, nano in hours:
        if 1 <= today - hour // DAY_MS <= HISTORY_DAYS:
            by_hour[hour // HOUR_MS % 24] += nano
    into, total = (now_ms - today * DAY_MS) / HOUR_MS, by_hour.sum()
    if total <= 0:
        return into / 24
    whole = int(into)
    return float((by_hour[:whole].sum() + by_hour[whole] * (into - whole)) / total)


def _quantile(sureness: float, freedom: int) -> float:
    """Student's, near enough (Cornish and Fisher's first two terms): with few days the spread itself is unsure."""
    z = NormalDist().inv_cdf(0.5 + sureness / 2)
    freedom = max(freedom, 1)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
