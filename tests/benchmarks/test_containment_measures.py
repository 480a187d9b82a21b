"""Figures from results: each against a case that can be checked by hand, or a property that must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.containment.columns import HOUR_MS
from benchmarks.containment.measures import (
    Result,
    Told,
    episodes,
    episodes_above,
    highest_rate,
    poisson_upper,
    summary,
    wilson,
)
from detectors.calibration import threshold

counts = st.integers(0, 500)


def result(alert_s: float | None, *, lost: float, planned: float = 100.0, cut_s: float | None = None) -> Result:
    return Result(
        family="burst", size="x10", cold=False, planned_usd=planned, alert_s=alert_s,
        alert_events=None if alert_s is None else 7, cut_s=cut_s, lost_at_alert_usd=lost,
        lost_at_cut_usd=planned if cut_s is None else lost, by="" if alert_s is None else "velocity", families=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (81, 263, 0.255, 0.366)]
)
def test_wilsons_interval_is_the_published_one(hits: int, of: int, low: float, high: float) -> None:
    share = wilson(hits, of)
    assert (round(share.low, 3), round(share.high, 3)) == (low, high)


@given(counts, counts)
def test_the_interval_holds_the_share_and_shrinks_with_more_of_it(hits: int, more: int) -> None:
    of = hits + more
    if of == 0:
        return
    one, ten = wilson(hits, of), wilson(10 * hits, 10 * of)
    assert 0 <= one.low <= one.value <= one.high <= 1
    assert ten.high - ten.low < one.high - one.low


@pytest.mark.parametrize(("count", "upper"), [(0, 3.00), (1, 4.74), (5, 10.51), (20, 29.06)])
def test_upper_bounds_of_counts_are_those_of_the_tables(count: int, upper: float) -> None:
    assert poisson_upper(count) == pytest.approx(upper, abs=0.005)


def told(*rows: tuple[int, float, float]) -> Told:
    """Rows of key, hour, score."""
    key, hour, score = (np.array(column) for column in zip(*rows, strict=True))
    return Told(key.astype(np.int64), (hour * HOUR_MS).astype(np.int64), score.astype(float), key == 0)


def test_alerts_of_one_key_within_six_hours_are_one_episode_and_keys_are_apart() -> None:
    said = told((0, 0, 5), (0, 5, 5), (0, 10.5, 5), (0, 17, 5), (1, 0.1, 5), (1, 2, 3))
    assert episodes_above(said, 4.0) == 3
    assert episodes_above(said, 5.1) == 0


@given(st.lists(st.integers(0, 400), min_size=1, max_size=40))
def test_episodes_of_one_key_are_the_same_either_way(hours: list[int]) -> None:
    said = told(*((0, hour, 9.0) for hour in hours))
    assert episodes_above(said, 1.0) == episodes([hour * HOUR_MS for hour in hours])


def test_the_loosest_rate_within_the_wish_is_taken() -> None:
    said = told((0, 0, 3.0), (1, 0, 4.0), (2, 0, 5.0))
    rates = np.array([10 ** -(at / 10) for at in range(40)])
    rate = highest_rate(said, key_weeks=8, wanted_per_key_week=0.25, rates=rates, threshold=threshold)
    assert 3.0 < threshold(rate) <= 4.0


def test_where_no_rate_is_within_the_wish_the_strictest_is_taken() -> None:
    rates = np.array([0.1, 1.0])
    limits = told((0, 0, math.inf))
    assert highest_rate(limits, key_weeks=1, wanted_per_key_week=0.5, rates=rates, threshold=threshold) == 0.1


def test_what_was_missed_counts_with_all_that_was_planned() -> None:
    figures = summary([result(10, lost=1, cut_s=16), result(None, lost=300, planned=300)])
    assert figures.recall.value == 0.5
    assert figures.value_money == pytest.approx(1 - 301 / 400)
    assert figures.value_mean == pytest.approx((0.99 + 0) / 2)
    assert figures.lost_at_cut_usd == pytest.approx((150.5, 285.05, 300))
    assert figures.seconds[0] == 10
    assert figures.by == (("velocity", 1),)


def test_nothing_found_has_no_seconds() -> None:
    assert math.isnan(summary([result(None, lost=100)]).seconds[0])
