"""How fast a budget is being spent: where it will be at its period's end, and whether it burns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from schemas.records import Severity

_WEEK_H: Final = 168
_DAY_H: Final = 24
_LEVEL_MAX: Final = 4.0
_LEAST_KNOWN: Final = 0.1  # of the period, before a straight line is believed


class Pair(NamedTuple):
    """Two windows that must both burn: the long one that it matters, the short one that it is still so."""

    name: str
    long_s: int
    short_s: int
    times: float  # the even pace that uses up the budget exactly at the period's end
    severity: Severity


PAIRS: Final = (
    Pair("burn_1h", 3600, 300, 14.4, "critical"),
    Pair("burn_6h", 6 * 3600, 1800, 6.0, "warning"),
    Pair("burn_3d", 3 * 86_400, 6 * 3600, 1.0, "info"),
)
"""As service level objectives have them: a fiftieth, a twentieth, a tenth of a month's budget in the long window."""


def fits(pair: Pair, period_s: float) -> bool:
    """Whether the pair says something of so short a period: before it burns through, the budget must not be used up.

    >>> [fits(pair, 30 * 86_400) for pair in PAIRS], [fits(pair, 86_400) for pair in PAIRS]
    ([True, True, True], [True, False, False])
    """
    return pair.long_s * pair.times < period_s


def times_even_pace(share: float, window_s: float, period_s: float) -> float:
    """How many times the pace that uses up the budget exactly at its period's end.

    >>> times_even_pace(0.02, 3600, 30 * 86_400)  # a fiftieth of a month's budget in an hour
    14.4
    """
    return share * period_s / window_s


def projected(spent: float, hours: Sequence[float], *, into_h: float, elapsed_h: float, rest_h: float) -> float | None:
    """What will be spent at the period's end; None while too little is known.

    After a week the same hours of the week before are expected again, as much higher or lower as the last day was
    than that day a week before; after a day the same hours of the day before; until then a straight line.

    >>> projected(10.0, [1.0] * 10, into_h=0.0, elapsed_h=10, rest_h=14)
    24.0
    >>> projected(70.0, [0, 0, 9.0] * 80, into_h=0.0, elapsed_h=24, rest_h=6)  # busy each third hour
    88.0

    Args:
        spent: Within the period, so far.
        hours: Spend of the full hours before this one, oldest first; they may reach back before the period.
        into_h: How much of this hour is over, below 1.
        elapsed_h: Since the period began.
        rest_h: Until it ends.
    """
    known = len(hours) - next((at for at, value in enumerate(hours) if value), len(hours))
    if known < _DAY_H:
        if elapsed_h <= 0 or elapsed_h < _LEAST_KNOWN * (elapsed_h + rest_h):
            return None
        return spent * (elapsed_h + rest_h) / elapsed_h
    season, level = (_WEEK_H, _level(hours, known)) if known >= _WEEK_H else (_DAY_H, 1.0)
    pattern = list(hours[-season:])
    whole, left = divmod(into_h + rest_h, season)
    expected = whole * sum(pattern) + sum(pattern[: int(left)]) + (left % 1) * pattern[int(left)]
    return spent + level * max(0.0, expected - into_h * pattern[0])


def _level(hours: Sequence[float], known: int) -> float:
    """The last day against the same day a week before."""
    before = sum(hours[-_WEEK_H - _DAY_H : -_WEEK_H])
    if known < _WEEK_H + _DAY_H or before <= 0:
        return 1.0
    return min(max(sum(hours[-_DAY_H:]) / before, 1 / _LEVEL_MAX), _LEVEL_MAX)
