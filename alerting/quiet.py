"""Quiet hours: whether a time is within them, and when they end. Pure."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from schemas.config.routes import QuietHoursConfig


def quiet_until_ms(hours: QuietHoursConfig, at_ms: int) -> int | None:
    """The end of the quiet hours that `at_ms` is in; None outside of them.

    >>> night = QuietHoursConfig(**{"from": "22:00", "until": "07:00"})
    >>> at_ms = 1795474800000  # 2026-11-23 23:00 UTC
    >>> quiet_until_ms(night, at_ms) - at_ms == 8 * 3_600_000, quiet_until_ms(night, at_ms + 8 * 3_600_000)
    (True, None)
    """
    if not hours.from_:
        return None
    start, end = time.fromisoformat(hours.from_), time.fromisoformat(hours.until)
    local = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(hours.timezone))
    clock = local.time()
    over_midnight = start > end
    within = (clock >= start or clock < end) if over_midnight else start <= clock < end
    if not within:
        return None
    day = local.date() + timedelta(days=1 if over_midnight and clock >= start else 0)
    over = datetime.combine(day, end, tzinfo=local.tzinfo)
    if over.timestamp() * 1000 <= at_ms:  # the hour that comes twice when clocks go back: the second one is meant
        over = over.replace(fold=1)
    return round(over.timestamp() * 1000)
