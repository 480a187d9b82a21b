"""The month's end foretold: how often the interval holds, and what it does with little, late or odd history."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controls.forecast import DAY_MS, HOUR_MS, forecast

MONDAY_MS = 1_795_392_000_000  # 2026-11-23T00:00Z
MONTH_MS = 30 * DAY_MS
USD = 1_000_000_000


def days_of(usd: list[float], *, until_ms: int = MONDAY_MS) -> list[tuple[int, int]]:
    """Whole days before `until_ms`, each spread evenly over its hours."""
    begin = until_ms - len(usd) * DAY_MS
    return [(begin + n * DAY_MS + h * HOUR_MS, round(x * USD / 24)) for n, x in enumerate(usd) for h in range(24)]


def test_a_steady_spend_goes_on() -> None:
    told = forecast(days_of([24.0] * 40), from_ms=MONDAY_MS, until_ms=MONDAY_MS + MONTH_MS, now_ms=MONDAY_MS)
    assert told is not None
    assert (told.spent, told.days, told.sure) == (0, 40, True)
    assert told.low <= told.expected <= told.high
    assert told.expected == pytest.approx(30 * 24 * USD, rel=0.001)


def test_weekends_are_known_after_two_weeks() -> None:
    week = [100.0, 100.0, 100.0, 100.0, 100.0, 10.0, 10.0]
    weekend_ms = MONDAY_MS + 5 * DAY_MS
    told = forecast(
        days_of(week * 6 + week[:5], until_ms=weekend_ms),
        from_ms=weekend_ms, until_ms=weekend_ms + 2 * DAY_MS, now_ms=weekend_ms,
    )  # fmt: skip
    assert told is not None
    assert 15 * USD < told.expected < 50 * USD, "two days of a weekend, not two of the mean"


def test_growth_goes_on_and_makes_it_less_sure() -> None:
    flat, growing = (
        forecast(days_of([100 + n * step for n in range(50)]), from_ms=MONDAY_MS, until_ms=MONDAY_MS + MONTH_MS,
                 now_ms=MONDAY_MS)
        for step in (0.0, 2.0)
    )  # fmt: skip
    assert flat is not None
    assert growing is not None
    assert growing.expected == pytest.approx(sum(100 + n * 2 for n in range(50, 80)) * USD, rel=0.03)


def test_what_is_spent_today_is_not_foretold_again() -> None:
    noon = MONDAY_MS + 12 * HOUR_MS
    today = [(MONDAY_MS + h * HOUR_MS, USD) for h in range(12)]
    told = forecast(days_of([24.0] * 30) + today, from_ms=MONDAY_MS, until_ms=MONDAY_MS + DAY_MS, now_ms=noon)
    assert told is not None
    assert told.spent == 12 * USD
    assert told.expected == pytest.approx(24 * USD, rel=0.01)


def test_a_week_of_history_is_the_least_and_a_month_that_is_over_is_known() -> None:
    span = {"from_ms": MONDAY_MS, "until_ms": MONDAY_MS + MONTH_MS}
    assert forecast(days_of([1.0] * 6), now_ms=MONDAY_MS, **span) is None
    few = forecast(days_of([1.0] * 7), now_ms=MONDAY_MS, **span)
    assert few is not None
    assert not few.sure
    over = forecast([(MONDAY_MS, 7)], now_ms=MONDAY_MS + MONTH_MS, **span)
    assert over is not None
    assert (over.spent, over.expected, over.low, over.high) == (7, 7, 7, 7)


def test_four_times_in_five_the_truth_is_within() -> None:
    """Days that wander and scatter as they do in traffic; 120 months."""
    rng = np.random.default_rng(7)
    within = 0
    for _ in range(120):
        level = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 86)))
        usd = level * rng.lognormal(0, 0.15, 86)
        begin = MONDAY_MS - 56 * DAY_MS
        told = forecast(days_of(usd[:56].tolist()), from_ms=MONDAY_MS, until_ms=begin + 86 * DAY_MS, now_ms=MONDAY_MS)
        assert told is not None
        within += told.low <= usd[56:].sum() * USD <= told.high
    assert 0.7 <= within / 120 <= 0.92


@settings(max_examples=60, deadline=None)
@given(
    usd=st.lists(st.one_of(st.just(0.0), st.floats(0, 1e6)), min_size=7, max_size=60), into_h=st.integers(0, 29 * 24)
)
def test_it_never_says_less_than_was_spent_and_the_interval_is_in_order(usd: list[float], into_h: int) -> None:
    now_ms = MONDAY_MS + into_h * HOUR_MS
    told = forecast(
        days_of(usd, until_ms=now_ms // DAY_MS * DAY_MS),
        from_ms=MONDAY_MS,
        until_ms=MONDAY_MS + MONTH_MS,
        now_ms=now_ms,
    )
    if told is not None:
        assert told.spent <= told.low <= told.expected <= told.high
