"""When the key is used: in hours in which it rests, after a silence, or without any rest.

A key without habits is never out of them: what counts is how much less an hour is in use than the key's average one. A
stray request at night is nothing. Hours are UTC, with those beside them, so that a clock change is no surprise; days
without use say nothing of hours, and weekends are told apart after two of them.

Healthy and looks the same: a job that runs longer or later than usual, or once a quarter. Look where it comes from
first. To turn: `alarm_per_key_week`; `min_requests` where new keys are still being tried out.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.close import Close, Shared, Told
from detectors.explain import number, percent
from detectors.rings import WINDOWS
from detectors.state import Array, Fields, State, highest
from schemas.config.detectors import DetectorSettings

FAMILY: Final = "rhythm"
FIELDS: Final[Fields] = {
    "rhy_usual": ("f2", (24,)),  # use in each hour (UTC) of an active day; 1 is an hour at the usual level
    "rhy_today": ("u1", (24,)),  # the same of this day, in hundredths
    "rhy_days": ("f2", ()),  # active days completed, saturating
    "rhy_first": ("u2", ()),  # day of the first use, since 1970
    "rhy_rate": ("f2", (2,)),  # how often a day is active: Monday to Friday, weekend
    "rhy_now": ("f4", ()),  # greatest weight of ten minutes within this block
    "rhy_level": ("f4", ()),  # usual weight of an active block
    "rhy_busy": (
        "f2",
        (3,),
    ),  # use within 24 hours, faded, in blocks at the usual level: now, most of this day, usual most
    "rhy_gap": ("f4", (2,)),  # longest silence in blocks, faded; the one from which the key woke last
    "rhy_woke": ("i4", ()),  # block in which it did
}
_PER_REQUEST: Final = 1e-4  # USD added per request, so that free or unpriced models have a weight too
_DAY: Final = 144  # blocks
_SLOWEST_BLOCK: Final = 1 / 144  # an active block never counts less than this in the usual level
_SLOWEST_DAY: Final = 0.1  # an active day in the usual hours
_ALARMED_WEIGHT: Final = 0.3
_MOST_HOURS: Final = 2.0  # more use than this at once is for the velocity family to judge
_PSEUDO_HOURS: Final = 0.5  # of use, added to both sides: a few quiet days prove little
_GROWN_UP: Final = 3.0  # active days at which habits count half
_WEEKENDS_KNOWN: Final = 4  # days of weekend that must have passed until weekends are told apart
_SLOWEST_WEEKDAY: Final = 0.05
_GAP_FLOOR: Final = 1008.0  # no silence shorter than a week is remarkable
_GAP_FADE: Final = 0.9995  # per active block
_GAP_WEIGHT: Final = 3.0
_BUSY_WEIGHT: Final = 2.0
_AWAKE_FOR: Final = 36  # blocks in which a wake-up is judged
_BUSY_FLOOR: Final = 12.0  # blocks added to both sides
_BUSY_RISE: Final = 1.5  # how many times the usual most may grow in a day
_BUSY_FADE: Final = 0.95  # per active day
_USD_10M, _REQUESTS_10M = WINDOWS.index("usd_10m"), WINDOWS.index("requests_10m")
_USD_1H, _REQUESTS_1H = WINDOWS.index("usd_1h"), WINDOWS.index("requests_1h")
_NAMES: Final = ("off_hours", "dormancy", "round_the_clock")


def step(state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
    """Raw score: the greatest of three: use in hours of rest, after a silence, in more of the day than ever. Each is
    the log of a ratio (hours: average to usual use; silence: to the longest before, or a week; rest: use within 24
    hours to the usual most), the first two times the use of the last hour.

    >>> from detectors.examples import blank, closing
    >>> state = blank(FIELDS)
    >>> state["rhy_usual"][0, 8:18], state["rhy_days"][0], state["rhy_level"][0] = 0.9, 10, 0.5
    >>> state["rhy_first"][0], state["rhy_rate"][0], state["rhy_busy"][0, 2] = 20_000, 1.0, 60
    >>> day = 1_795_428_000 // 600 - 60
    >>> at = [closing(usd_1h=3.0, block=day + hour * 6, elapsed=rest) for hour, rest in ((10, 0), (3, 0), (10, 5000))]
    >>> [round(float(step(state, close, DetectorSettings())[1][0]), 2) for close in at]
    [0.0, 2.37, 2.42]
    """
    new = {name: values.copy() for name, values in state.items()}
    if close.turned.any():
        _learn(new, close)
    born = new["rhy_first"] == 0
    new["rhy_first"][born] = close.block // _DAY
    weight = close.sums[:, _USD_10M] + _PER_REQUEST * close.sums[:, _REQUESTS_10M]
    new["rhy_now"] = np.maximum(new["rhy_now"], weight).astype("f4")
    raw = highest(_opinions(new, close))
    return new, np.where(close.requests >= settings.rhythm.min_requests, raw, 0.0)


def _opinions(new: State, close: Close) -> Array:
    """[n, 3] in the order of `_NAMES`."""
    used = _hours_used(new, close)
    return np.stack((_off_hours(new, close.block, used), _dormancy(new, close.block, used), _restless(new)), axis=1)


def _hours_used(new: State, close: Close) -> Array:
    """Use of the last hour; 1 is an hour of usual active blocks, 0 while that is not known."""
    weight = close.sums[:, _USD_1H] + _PER_REQUEST * close.sums[:, _REQUESTS_1H]
    usual = 6 * new["rhy_level"].astype("f8")
    hours: Array = np.where(usual > 0, weight / np.maximum(usual, 1e-12), 0.0)
    return hours


def _usual_here(new: State, block: int) -> Array:
    """Usual use of this hour and the two beside it together: an hour's shift, as clocks make it, is no surprise."""
    near = (block // 6 + np.array([-1, 0, 1])) % 24
    usual: Array = new["rhy_usual"][:, near].astype("f8").sum(axis=1)
    return usual * _weekend_share(new, block // _DAY)


def _weekend_share(new: State, day: int) -> Array:
    """How much of a weekday's use this day may have: below 1 on a weekend, once weekends are known to be quieter."""
    if (day + 3) % 7 < 5:
        return np.ones(len(new["rhy_first"]))
    seen = _weekend_days(day) - _weekend_days(new["rhy_first"].astype("i8"))
    weekday, weekend = new["rhy_rate"].astype("f8").T
    share = (weekend + 1 / (seen + 2)) / np.maximum(weekday, 1e-9)
    shares: Array = np.where(seen >= _WEEKENDS_KNOWN, np.minimum(share, 1.0), 1.0)
    return shares


def _weekend_days(day: Array | int) -> Array:
    """Saturdays and Sundays before this day (since 1970).

    >>> monday = 1_795_428_000 // 86_400
    >>> [int(_weekend_days(monday + day) - _weekend_days(monday)) for day in (5, 6, 7, 14)]
    [0, 1, 2, 4]
    """
    since_monday = np.asarray(day) + 3
    days: Array = 2 * (since_monday // 7) + np.maximum(since_monday % 7 - 5, 0)
    return days


def _trust(days: Array) -> Array:
    """The first day is mostly a part of one, and proves nothing."""
    share: Array = np.maximum(days - 1, 0.0) / (days + _GROWN_UP - 1)
    return share


def _off_hours(new: State, block: int, used: Array) -> Array:
    """Log of how much less these hours are usually in use than the average ones, times the use."""
    days = new["rhy_days"].astype("f8")
    average = 3 * new["rhy_usual"].astype("f8").mean(axis=1)
    rest = np.log((days * average + _PSEUDO_HOURS) / (days * _usual_here(new, block) + _PSEUDO_HOURS))
    told: Array = np.maximum(rest, 0.0) * np.minimum(used, _MOST_HOURS) * _trust(days)
    return told


def _dormancy(new: State, block: int, used: Array) -> Array:
    """Log of the silence just ended over the longest before; a trickle does not count, the usual level counts half."""
    longest, gap = new["rhy_gap"].astype("f8").T
    awake = (gap > 0) & (block - new["rhy_woke"] < _AWAKE_FOR)
    longer = np.log(np.maximum(gap, 1.0) / np.maximum(longest, _GAP_FLOOR))
    much = np.clip(0.5 + 0.35 * np.log(np.maximum(used, 1e-9)), 0.0, 1.0)
    told: Array = np.where(awake, _GAP_WEIGHT * np.maximum(longer, 0.0) * much, 0.0)
    return told


def _restless(new: State) -> Array:
    """Log of the use within 24 hours over the usual most: what is shared rests less."""
    days = new["rhy_days"].astype("f8")
    now, _, most = new["rhy_busy"].astype("f8").T
    more = np.maximum(np.log((now + _BUSY_FLOOR) / (most + _BUSY_FLOOR)), 0.0)
    told: Array = _BUSY_WEIGHT * more * _trust(days)
    return told


def _learn(new: State, close: Close) -> None:
    """Where a block has ended: its use joins level and day, the day the habits, the silence the known ones."""
    at = np.flatnonzero(close.turned)
    elapsed, caution = close.elapsed[at], np.where(close.alarmed(FAMILY)[at], _ALARMED_WEIGHT, 1.0)
    ended = close.block - elapsed
    weight, level = new["rhy_now"][at].astype("f8"), new["rhy_level"][at].astype("f8")
    rate = np.maximum(1 / np.maximum(close.windows[at], 1), _SLOWEST_BLOCK) * caution
    level = np.where(level > 0, level + rate * (np.minimum(weight, 5 * level) - level), weight)
    new["rhy_level"][at] = level
    hours = np.minimum(weight / np.maximum(6 * level, 1e-12), _MOST_HOURS / 6) * caution
    hour = ended // 6 % 24
    new["rhy_today"][at, hour] = np.minimum(new["rhy_today"][at, hour] + np.rint(100 * hours), 250)
    new["rhy_now"][at] = 0
    over = ended // _DAY < close.block // _DAY
    _end_day(new, at[over], ended[over] // _DAY, close.block // _DAY)
    _count_busy(new, at, elapsed, 6 * hours)
    _note_silence(new, at, elapsed, close.block)


def _end_day(new: State, at: Array, ended: Array, today: int) -> None:
    """A day joins the habits. Days without any use say nothing of hours, but they do of weekends."""
    days = new["rhy_days"][at].astype("f8")
    rate = np.maximum(1 / (days + 1), _SLOWEST_DAY)[:, None]
    new["rhy_usual"][at] += (rate * (new["rhy_today"][at] / 100 - new["rhy_usual"][at])).astype("f2")
    new["rhy_today"][at] = 0
    new["rhy_days"][at] = np.minimum(days + 1, 1000)
    _count_weekdays(new, at, ended, today)
    busy = new["rhy_busy"][at].astype("f8")
    bound = np.where(busy[:, 2] > 0, (busy[:, 2] + _BUSY_FLOOR) * _BUSY_RISE, np.inf)
    new["rhy_busy"][at, 2] = np.maximum(busy[:, 2] * _BUSY_FADE, np.minimum(busy[:, 1], bound))
    new["rhy_busy"][at, 1] = 0


def _count_weekdays(new: State, at: Array, ended: Array, today: int) -> None:
    """The ended day was active, the days between it and today were not."""
    weekend = (ended + 3) % 7 >= 5
    idle_weekends = _weekend_days(today) - _weekend_days(ended + 1)
    idle = np.stack((today - ended - 1 - idle_weekends, idle_weekends), axis=1)
    active = np.stack((~weekend, weekend), axis=1)
    seen_weekends = _weekend_days(ended) - _weekend_days(new["rhy_first"][at].astype("i8"))
    seen = np.stack((ended - new["rhy_first"][at] - seen_weekends, seen_weekends), axis=1)
    rate = np.maximum(1 / (np.maximum(seen, 0) + 1.0), _SLOWEST_WEEKDAY)
    known = new["rhy_rate"][at].astype("f8")
    known = np.where(active, known + rate * (1 - known), known)
    new["rhy_rate"][at] = known * (1 - np.minimum(rate, 0.5)) ** idle


def _count_busy(new: State, at: Array, elapsed: Array, blocks: Array) -> None:
    busy = new["rhy_busy"][at].astype("f8")
    now = (busy[:, 0] + blocks) * np.exp(-elapsed / _DAY)
    new["rhy_busy"][at, 0] = now
    new["rhy_busy"][at, 1] = np.maximum(busy[:, 1], now)


def _note_silence(new: State, at: Array, elapsed: Array, block: int) -> None:
    """A silence longer than any is judged for some hours before it counts as known."""
    longest, gap = new["rhy_gap"][at].astype("f8").T
    judged = (gap > 0) & (block - new["rhy_woke"][at] >= _AWAKE_FOR)
    longest = np.where(judged, np.maximum(longest, gap), longest) * _GAP_FADE
    gap = np.where(judged, 0.0, gap)
    woke = elapsed > np.maximum(np.maximum(longest, gap), _GAP_FLOOR)
    new["rhy_gap"][at] = np.stack(
        (np.where(woke, longest, np.maximum(longest, elapsed)), np.where(woke, elapsed, gap)), axis=1
    )
    new["rhy_woke"][at] = np.where(woke, block, new["rhy_woke"][at])


def explain(state: State, close: Close, _shared: Shared, _settings: DetectorSettings, *, at: int, raw: float) -> Told:  # noqa: ARG001 - one signature for all
    """What is out of its habits, in hours, days or windows of ten minutes."""
    used = float(_hours_used(state, close)[at])
    lead = int(_opinions(state, close)[at].argmax())
    if _NAMES[lead] == "dormancy":
        longest, gap = (float(blocks) / _DAY for blocks in state["rhy_gap"][at])
        seen, usual, window_s = gap, longest, gap * 86_400
        what = (
            f"wakes after {number(round(gap, 1))} days of silence, its longest before was {number(round(longest, 1))}"
        )
        what += f"; it is used at {percent(used)} of its usual level"
    elif _NAMES[lead] == "off_hours":
        seen, usual, window_s = used, float(_usual_here(state, close.block)[at]) / 3, 3600.0
        clock = f"{close.block // 6 % 24:02d}:{close.block % 6}0 UTC"
        what = (
            f"is used at {percent(used)} of its usual level in the hour to {clock}, where its usual is {percent(usual)}"
        )
    else:
        seen, usual, window_s = float(state["rhy_busy"][at, 0]), float(state["rhy_busy"][at, 2]), 86_400.0
        what = f"was used in {round(seen)} of the last 144 10-minute windows, its usual most is {round(usual)}"
    evidence: dict[str, float | str] = {
        "observed": seen, "expected": usual, "window_s": window_s, "ratio": seen / max(usual, 0.01),
        "active_days": float(state["rhy_days"][at]),
    }  # fmt: skip
    return Told(_NAMES[lead], what, evidence)
