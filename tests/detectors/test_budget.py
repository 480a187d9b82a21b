"""Budgets of a day and a month: exact, by UTC, from the first event."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import budget
from detectors.core import ScoreCore
from detectors.examples import NOW_S, blank, closing
from schemas.config.detectors import DetectorsConfig
from schemas.records import Finding
from tests.detectors.traffic import Event, play

DAY_S = 86_400
MIDNIGHT_S = NOW_S // DAY_S * DAY_S


def spend(at_s: float, usd: float, key: str = "k") -> Event:
    return {"ts_s": at_s, "key_id": key, "cost_usd": usd}


def told(settings: dict[str, object], events: list[Event]) -> list[Finding]:
    core = ScoreCore(DetectorsConfig.model_validate(settings), partition=0)
    return [finding for finding in play(core, events) if finding.family == "budget"]


def test_a_key_over_its_day_is_told_with_the_figures() -> None:
    events = [spend(MIDNIGHT_S + 3600 * n, 4.0) for n in range(5)]
    first = told({"budget": {"usd_per_day": 10}}, events)[0]
    assert first.at_ms == (MIDNIGHT_S + 7200) * 1000
    assert first.reason == "spent 12 USD today, 120 % of its budget of 10 USD; this limit is certain"
    assert (first.certain, first.detector) == (True, "usd_per_day")


def test_a_new_day_begins_at_zero_and_a_month_goes_on() -> None:
    events = [spend(MIDNIGHT_S + DAY_S * n, 4.0) for n in range(4)]
    assert told({"budget": {"usd_per_day": 5}}, events) == []
    [month] = told({"budget": {"usd_per_month": 15}}, events)
    assert month.detector == "usd_per_month"
    assert "this month" in month.reason


@pytest.mark.parametrize(("scope", "speaks"), [("environments", True), ("keys", True)])
def test_a_budget_may_differ_by_environment_and_key(scope: str, speaks: bool) -> None:
    name = "prod" if scope == "environments" else "k"
    settings = {"budget": {"usd_per_day": 1000}, scope: {name: {"usd_per_day": 1}}}
    events = [spend(MIDNIGHT_S + n, 2.0) | {"env": "prod"} for n in range(3)]
    assert bool(told(settings, events)) is speaks


def test_without_a_budget_nothing_is_said() -> None:
    assert told({}, [spend(MIDNIGHT_S, 1e6), spend(MIDNIGHT_S + 1, 1e6)]) == []


@given(st.lists(st.tuples(st.integers(0, 40 * DAY_S), st.integers(0, 10**6)), min_size=1, max_size=40))
def test_sums_are_those_of_the_calendar(uses: list[tuple[int, int]]) -> None:
    """In order of time, whatever the gaps."""
    uses = sorted(uses)
    state = blank(budget.FIELDS)
    for second, micro_usd in uses:
        state, _ = budget.step(state, closing(second=NOW_S + second, cost_usd=micro_usd / 1e6), DetectorsConfig())
    day, month = budget.periods(np.array([NOW_S + second for second, _ in uses])).T
    usd = np.array([micro for _, micro in uses]) * 1000
    assert state["bud_nano"][0].tolist() == [usd[day == day[-1]].sum(), usd[month == month[-1]].sum()]
