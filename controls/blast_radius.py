"""What a thief of one key can spend at worst, and which control ends it. Arithmetic on settings alone, pure.

It is a bound on every thief, also one who knows the settings, keeps just below each limit and makes a last dash.
Learned detection is left out: it finds most thefts within seconds (docs/detection.md), but it promises nothing.
Horizons are an hour and a day of the clock, so that a budget of a day counts once in a day.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

MIN_S: Final = 60.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
MONTH_S: Final = 30 * DAY_S
FOUND_S: Final = 2.0
"""A second of event time is judged when it has passed: from the event that breaks a certain limit to the order."""


class Cap(NamedTuple):
    """No more than so much within each window, enforced before the call is made."""

    name: str
    usd: float
    window_s: float


class Limit(NamedTuple):
    """A certain limit: crossing it is found at once, and what stops the key follows."""

    name: str
    usd: float
    window_s: float


class Cut(NamedTuple):
    """How the key is stopped once a limit is crossed."""

    seconds: float  # from the finding to the key being refused
    words: str  # by whom, and what that time is made of
    waits_for: Literal["", "mode", "protected", "step", "provider"] = ""  # why a person has to come; empty: none has to


class Exposure(NamedTuple):
    """All that bears on one key."""

    key_id: str
    env: str
    acceptable_usd: float
    most_usd_per_min: float  # what its provider would serve at all
    most_words: str  # where that figure comes from
    caps: tuple[Cap, ...] = ()
    limits: tuple[Limit, ...] = ()
    cut: Cut | None = None  # None: nothing ever stops it
    expires_s: float | None = None  # from now


class Bite(NamedTuple):
    """One control against a thief at full pace."""

    name: str
    kind: Literal["cap", "limit", "cut", "expiry"]
    after_s: float
    usd: float  # spent by then, were there no other control


class Radius(NamedTuple):
    """The worst case of one key."""

    key_id: str
    env: str
    acceptable_usd: float
    hour_usd: float
    day_usd: float
    bound_by: str  # the control that the day's worst case ends at; empty: none does
    bites: tuple[Bite, ...]

    @property
    def within(self) -> bool:
        """Whether a theft costs no more than its environment may lose."""
        return self.day_usd <= self.acceptable_usd


class Worst(NamedTuple):
    """At most so much within a horizon, and the control that sees to it."""

    usd: float
    bound_by: str


def radius(exposure: Exposure) -> Radius:
    """The worst case of a key.

    >>> bare = Exposure("k", "prod", 100, 30, "assumed")
    >>> radius(bare)[3:6]
    (1800.0, 43200.0, '')
    >>> limits = Limit("usd_per_min", 20, 60), Limit("usd_per_hour", 200, 3600)
    >>> radius(bare._replace(limits=limits, cut=Cut(10, "by itself")))[3:6]
    (206.0, 4806.0, 'usd_per_hour')
    """
    hour, day = worst(exposure, HOUR_S), worst(exposure, DAY_S)
    return Radius(
        exposure.key_id, exposure.env, exposure.acceptable_usd, hour.usd, day.usd, day.bound_by, bites(exposure)
    )


def worst(exposure: Exposure, horizon_s: float) -> Worst:
    """Below a limit a thief gets the limit once in each of its windows; crossing it, what the cut lets through."""
    served_s = horizon_s if exposure.expires_s is None else min(horizon_s, exposure.expires_s)
    ends = [Worst(exposure.most_usd_per_min * served_s / MIN_S, "expires" if served_s < horizon_s else "")]
    ends += [Worst(_most(cap, served_s), cap.name) for cap in exposure.caps]
    if exposure.cut:
        dash_usd = _dash_usd(exposure, exposure.cut)
        ends += [Worst(_most(limit, served_s) + dash_usd, limit.name) for limit in exposure.limits]
    return min(ends, key=lambda end: end.usd)


def bites(exposure: Exposure) -> tuple[Bite, ...]:
    """Each control alone against a thief at full pace, the earliest first; none that bites later than a day."""
    pace = exposure.most_usd_per_min
    found = [Bite(cap.name, "cap", cap.usd / pace * MIN_S, cap.usd) for cap in exposure.caps]
    for limit in exposure.limits:
        if pace <= limit.usd / limit.window_s * MIN_S:
            continue
        after_s = limit.usd / pace * MIN_S
        found.append(Bite(limit.name, "limit", after_s, limit.usd))
        if exposure.cut:
            gone_s, usd = after_s + FOUND_S + exposure.cut.seconds, limit.usd + _dash_usd(exposure, exposure.cut)
            found.append(Bite(f"cut after {limit.name}", "cut", gone_s, usd))
    if exposure.expires_s is not None:
        found.append(Bite("expires", "expiry", exposure.expires_s, pace * exposure.expires_s / MIN_S))
    return tuple(sorted((bite for bite in found if bite.after_s <= DAY_S), key=lambda bite: (bite.after_s, bite.name)))


def _dash_usd(exposure: Exposure, cut: Cut) -> float:
    """What is spent at full pace from the event that crosses a limit until the key is refused."""
    return exposure.most_usd_per_min * (FOUND_S + cut.seconds) / MIN_S


def _most(bound: Cap | Limit, within_s: float) -> float:
    return bound.usd * max(1, math.ceil(within_s / bound.window_s))


class Missing(NamedTuple):
    """A control that is not there, and what it would take off the day's worst case."""

    name: str
    setting: str  # what to write, and where
    removes_usd: float


class Proposal(NamedTuple):
    """A control that could be added, and the exposure with it."""

    name: str
    setting: str
    exposure: Exposure


def missing(exposure: Exposure, proposals: Iterable[Proposal]) -> tuple[Missing, ...]:
    """The controls worth adding, the most USD removed first."""
    now_usd = worst(exposure, DAY_S).usd
    found = (Missing(each.name, each.setting, now_usd - worst(each.exposure, DAY_S).usd) for each in proposals)
    return tuple(
        sorted((each for each in found if each.removes_usd > 0), key=lambda each: (-each.removes_usd, each.name))
    )


def together_usd(radii: Sequence[Radius]) -> tuple[float, float]:
    """Hour and day, were all these keys stolen at once."""
    return sum(each.hour_usd for each in radii), sum(each.day_usd for each in radii)
