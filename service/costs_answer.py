"""What `keyfuse costs` asks for, and the answer as JSON: the same from a worker and from the store itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from controls.forecast import DAY_MS, HISTORY_DAYS, HOUR_MS, forecast
from schemas.event import MAX_TS_MS
from storage.costs import CostSum, Dimension, Move, Scope, hours, movers, rollup_nano_usd, sums
from storage.store import Store

WEEK_MS: Final = 7 * DAY_MS
ROWS_MOST: Final = 1_000_000


class Asked(BaseModel):
    """Which costs, and how they are split. Without bounds: this month (UTC)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_ms: int | None = Field(default=None, ge=0, le=MAX_TS_MS)
    until_ms: int | None = Field(default=None, ge=0, le=MAX_TS_MS)
    by: tuple[Dimension, ...] = ("team",)
    team: str = ""
    app: str = ""
    env: str = ""
    limit: int = Field(default=1000, ge=1, le=ROWS_MOST)


class Outlook(BaseModel):
    """What the span will have cost at its end. In nano-USD."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected: int
    low: int
    high: int
    days: int  # of history it goes by


class CostsAnswer(BaseModel):
    """Every figure is of the view `costs`; `rollup_nano_usd` alone is not: it is what the sum is held against."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    from_ms: int
    until_ms: int
    now_ms: int
    by: tuple[Dimension, ...]
    total: CostSum
    rows: list[CostSum]
    movers: list[Move]  # the seven days before `now_ms`, or before the span's end, against the seven before these
    outlook: Outlook | None = None  # only of a span that is under way, and with a week of history
    days: list[tuple[int, int]] = []  # each day of the span that spent something: its beginning, nano-USD
    rollup_nano_usd: int | None = None  # of a whole span in whole hours


def month_of(at_ms: int) -> tuple[int, int]:
    """The month (UTC) that this moment is in: from, until.

    >>> month_of(1795428000000)
    (1793491200000, 1796083200000)
    """
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    first = datetime(at.year, at.month, 1, tzinfo=UTC)
    following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return round(first.timestamp() * 1000), round(following.timestamp() * 1000)


def costs_answer(store: Store, asked: Asked, *, now_ms: int) -> CostsAnswer:
    """All of it as of `now_ms`. ValueError when the span is the wrong way round."""
    first, following = month_of(now_ms)
    from_ms = first if asked.from_ms is None else asked.from_ms
    until_ms = following if asked.until_ms is None else asked.until_ms
    if from_ms >= until_ms:
        raise ValueError("the costs asked for end before they begin")
    scope = Scope(from_ms, until_ms, asked.team, asked.app, asked.env)
    [total] = sums(store, scope, ())
    end_ms = min(until_ms, now_ms)
    in_hours = hours(store, scope._replace(since_ms=min(from_ms, end_ms - (HISTORY_DAYS + 1) * DAY_MS)))
    return CostsAnswer(
        from_ms=from_ms, until_ms=until_ms, now_ms=now_ms, by=asked.by, total=total,
        rows=sums(store, scope, asked.by, limit=asked.limit) if asked.by else [],
        movers=movers(store, scope._replace(since_ms=end_ms - WEEK_MS, until_ms=end_ms), asked.by) if asked.by else [],
        outlook=_outlook(in_hours, from_ms, until_ms, now_ms), days=_days(in_hours, from_ms),
        rollup_nano_usd=_rollup(store, asked, from_ms, until_ms),
    )  # fmt: skip


def _outlook(in_hours: list[tuple[int, int]], from_ms: int, until_ms: int, now_ms: int) -> Outlook | None:
    if not from_ms <= now_ms < until_ms or until_ms - now_ms > 366 * DAY_MS:
        return None
    told = forecast(in_hours, from_ms=from_ms, until_ms=until_ms, now_ms=now_ms)
    return Outlook(expected=told.expected, low=told.low, high=told.high, days=told.days) if told else None


def _days(in_hours: list[tuple[int, int]], from_ms: int) -> list[tuple[int, int]]:
    days: dict[int, int] = {}
    for hour, nano in in_hours:
        if hour >= from_ms - from_ms % HOUR_MS:
            day = hour - hour % DAY_MS
            days[day] = days.get(day, 0) + nano
    return sorted(days.items())


def _rollup(store: Store, asked: Asked, from_ms: int, until_ms: int) -> int | None:
    if asked.team or asked.app or asked.env or from_ms % HOUR_MS or until_ms % HOUR_MS:
        return None
    return rollup_nano_usd(store, from_ms, until_ms)
