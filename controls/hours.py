"""Whether a key may be used at this hour. Pure."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from schemas.config.policies import HoursConfig

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def is_open(hours: HoursConfig, at_ms: int) -> bool:
    """Whether these hours include the moment, by the clock on the wall there.

    >>> night = HoursConfig(**{"days": ["fri"], "from": "22:00", "until": "06:00"})
    >>> saturday_ms = 1795824000000  # 2026-11-28 00:00 UTC, midnight of Saturday
    >>> [is_open(night, saturday_ms + h * 3_600_000) for h in (-3, -1, 5, 6, 23)]
    [False, True, True, False, False]
    """
    local = datetime.fromtimestamp(at_ms / 1000, _zone(hours.timezone))
    minute, day = local.hour * 60 + local.minute, local.weekday()
    start, end = _minute(hours.from_), _minute(hours.until)
    if start < end:
        return start <= minute < end and _on(hours, day)
    return (minute >= start and _on(hours, day)) or (minute < end and _on(hours, day - 1))


def hours_words(hours: HoursConfig) -> str:
    """When it is, in words.

    >>> hours_words(HoursConfig(**{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "until": "18:00"}))
    'mon, tue, wed, thu, fri 08:00-18:00 UTC'
    """
    days = f"{', '.join(hours.days)} " if hours.days else ""
    return f"{days}{hours.from_}-{hours.until} {hours.timezone}"


def _on(hours: HoursConfig, day: int) -> bool:
    return not hours.days or _DAYS[day % 7] in hours.days


@lru_cache(maxsize=1000)
def _minute(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 60 + int(minute)


@lru_cache(maxsize=1000)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
