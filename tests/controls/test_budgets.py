"""Which budgets hold for a key, and which stretch of time each speaks of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controls.budgets import Budgets, as_told, covers, is_rolling, period_of
from schemas.config.budgets import BudgetConfig, BudgetsConfig, Period
from schemas.config.keys import KeyConfig
from schemas.records import KeyFacts
from schemas.spend import BudgetStatus

PERIODS: tuple[Period, ...] = get_args(Period)
FACTS = KeyFacts(provider="openai", team="search-ui", app="ranker", env="prod")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("period", "at", "start", "end"),
    [
        ("hour", "2026-11-23 10:59:59", "2026-11-23 10:00", "2026-11-23 11:00"),
        ("day", "2026-11-23 00:00", "2026-11-23 00:00", "2026-11-24 00:00"),
        ("week", "2026-11-29 23:59", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("week", "2026-11-30 00:00", "2026-11-30 00:00", "2026-12-07 00:00"),
        ("month", "2026-12-31 23:59", "2026-12-01 00:00", "2027-01-01 00:00"),
        ("month", "2028-02-29 12:00", "2028-02-01 00:00", "2028-03-01 00:00"),
    ],
)
def test_periods_are_those_of_the_calendar_in_utc(period: Period, at: str, start: str, end: str) -> None:
    assert period_of(period, ms(at))[1:] == (ms(start), ms(end))


@given(at_ms=st.integers(0, 4_000_000_000_000), period=st.sampled_from(PERIODS))
def test_a_time_lies_in_its_period_and_the_next_begins_where_it_ends(at_ms: int, period: Period) -> None:
    span = period_of(period, at_ms)
    assert span.from_ms <= at_ms < span.until_ms
    if not is_rolling(period):
        assert period_of(period, span.until_ms - 1) == span
        assert period_of(period, span.until_ms).from_ms == span.until_ms


@pytest.mark.parametrize(
    ("scopes", "holds"),
    [
        ({}, True),
        ({"keys": ("k1",)}, True),
        ({"keys": ("k2",)}, False),
        ({"teams": ("search*",), "envs": ("prod", "staging")}, True),
        ({"teams": ("search*",), "envs": ("dev",)}, False),
        ({"teams": ("Search*",)}, False),
        ({"apps": ("r?nker",)}, True),
        ({"keys": ("k1",), "apps": ("other",)}, False),
    ],
)
def test_a_budget_covers_what_matches_every_scope_it_names(scopes: dict[str, tuple[str, ...]], *, holds: bool) -> None:
    budgets = Budgets(BudgetsConfig(budgets=(BudgetConfig(name="b", usd=1, **scopes),)))
    assert [budget.name for budget in budgets.covering("k1", FACTS)] == ["b"] * holds
    assert budgets.covering("k1", FACTS) == budgets.covering("k1", FACTS)


def test_a_keys_daily_quota_is_a_budget_that_stops() -> None:
    entry = KeyConfig(key_id="k1", provider="openai").record().model_copy(update={"quota_usd_per_day": 3.0})
    budgets = Budgets(BudgetsConfig(), [entry])
    [quota] = budgets.covering("k1", FACTS)
    assert (quota.name, quota.usd, quota.period, quota.hard_stop) == ("quota of k1", 3.0, "day", True)
    assert budgets.covering("k2", FACTS) == ()
    assert budgets.named("quota of k1") is quota
    assert budgets.names("k1", ()) == ("k1", ())
    assert budgets.names("k2", ("k1",)) == ("", ()), "a quota is of one key alone"


@pytest.mark.parametrize(
    ("named", "key_id", "formerly", "holds"),
    [
        (("a",), "b", ("a",), True),
        (("a",), "c", ("a", "b"), True),
        (("b",), "c", ("a", "b"), True),
        (("b",), "a", (), False),
        (("a",), "x", ("y",), False),
        (("y", "a"), "c", ("a", "b"), True),
    ],
)
def test_a_budget_that_names_a_key_covers_whatever_took_over_from_it(
    named: tuple[str, ...], key_id: str, formerly: tuple[str, ...], *, holds: bool
) -> None:
    budgets = Budgets(BudgetsConfig(budgets=(BudgetConfig(name="b", usd=1, keys=named, envs=("prod",)),)))
    assert budgets.covering(key_id, FACTS) == (), "before it took over"
    facts = FACTS.model_copy(update={"formerly": formerly})
    assert [budget.name for budget in budgets.covering(key_id, facts)] == ["b"] * holds
    assert budgets.covering(key_id, facts.model_copy(update={"env": "dev"})) == ()


def test_a_quota_is_not_handed_on_for_the_successor_has_its_own() -> None:
    old, new = (
        KeyConfig(key_id=key_id, provider="openai").record().model_copy(
            update={"quota_usd_per_day": 3.0, "formerly": formerly}
        )
        for key_id, formerly in (("a", ()), ("b", ("a",)))
    )  # fmt: skip
    budgets = Budgets(BudgetsConfig(), [old, new])
    assert [each.name for each in budgets.covering("b", new.facts())] == ["quota of b"]
    [own, its] = budgets.all()
    assert (covers(own, "b", new.facts()), covers(its, "b", new.facts())) == (False, True)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [((None, None), (10, None)), ((10 * 10**9, None), (10, None)), ((30 * 10**9, 500), (30, None))],
)
def test_the_limits_that_the_desk_goes_by_hold(
    limits: tuple[int | None, int | None], expected: tuple[float, int | None]
) -> None:
    budget = BudgetConfig(name="b", usd=10)
    status = BudgetStatus(
        budget="b", scope="", at_ms=0, period="p", period_from_ms=0, period_until_ms=1, level="ok", spent_nano_usd=0,
        spent_tokens=0, limit_nano_usd=limits[0], limit_tokens=limits[1],
    )  # fmt: skip
    told = as_told(budget, status)
    assert (told.usd, told.tokens) == expected
    assert as_told(budget, None) is budget
