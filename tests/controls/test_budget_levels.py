"""Where a budget stands, and that each thing is told once in its period."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controls.budget_levels import NANO, BudgetMemory, Judged, Reading, judge
from controls.budget_pace import PAIRS
from controls.budgets import period_of
from schemas.config.budgets import BudgetConfig, DegradeConfig
from tests.streams.world import T0

DEGRADE = DegradeConfig(models={"gpt-4.1": "gpt-4.1-mini"}, apps=("web",), approved_by="bob")


def budget(**settings: Any) -> BudgetConfig:
    return BudgetConfig.model_validate({"name": "search", "usd": 100, "period": "month", "owner": "ann"} | settings)


class Life:
    """One budget over time."""

    def __init__(self, **settings: Any) -> None:
        self.budget, self.memory = budget(**settings), BudgetMemory(budget="search")

    def at(self, percent: float, *, later_s: float = 0, tokens: int = 0, **more: Any) -> Judged:
        at_ms = T0 + round(later_s * 1000)
        span = period_of(self.budget.period, at_ms)
        judged = judge(self.budget, Reading(at_ms, span, round(percent * NANO), tokens, **more), self.memory)
        self.memory = judged.memory
        return judged

    def told(self, percent: float, **more: Any) -> list[str]:
        return [each.name for each in self.at(percent, **more).tellings]


@pytest.mark.parametrize(
    ("percents", "told"),
    [
        ([10, 49.9], [[], []]),
        ([50, 79, 80, 94, 95, 99], [["soft_50"], [], ["soft_80"], [], ["soft_95"], []]),
        ([96, 97], [["soft_95"], []]),  # several at once: the highest alone
        ([85, 60, 85, 55, 96], [["soft_80"], [], [], [], ["soft_95"]]),  # a raised budget lowers the share
        ([10, 130, 140], [[], ["used_up"], []]),
    ],
)
def test_each_threshold_is_told_once_in_its_period(percents: list[float], told: list[list[str]]) -> None:
    life = Life()
    assert [life.told(percent) for percent in percents] == told


def test_a_new_period_tells_again_and_frees_what_was_stopped() -> None:
    life = Life(period="day", hard_stop=True)
    assert life.at(100).status.level == "stopped"
    after = life.at(51, later_s=86_400)
    assert (after.status.level, [each.name for each in after.tellings]) == ("soft", ["soft_50"])


@pytest.mark.parametrize(
    ("settings", "percent", "more", "level"),
    [
        ({}, 10, {}, "ok"),
        ({}, 60, {}, "soft"),
        ({}, 10, {"projected": 1.3}, "projected"),
        ({}, 120, {}, "soft"),
        ({"hard_stop": True}, 120, {}, "stopped"),
        ({"degrade": DEGRADE}, 85, {"projected": 1.3}, "degraded"),
        ({"degrade": DEGRADE, "hard_stop": True}, 100, {}, "stopped"),
        ({"degrade": DEGRADE.model_copy(update={"apps": ()})}, 85, {}, "soft"),  # nobody agreed
        ({"usd": None, "tokens": 1000}, 0, {"tokens": 600}, "soft"),
        ({"tokens": 1000, "hard_stop": True}, 10, {"tokens": 1000}, "stopped"),
    ],
)
def test_the_level_is_the_strictest_thing_in_force(
    settings: dict[str, Any], percent: float, more: dict[str, Any], level: str
) -> None:
    assert Life(**settings).at(percent, **more).status.level == level


def test_degrading_begins_and_ends_at_different_shares() -> None:
    life = Life(degrade=DEGRADE)
    shares = [79, 80, 75, 70, 69, 75, 79, 81]
    assert [bool(life.at(share).status.degrade) for share in shares] == [
        False, True, True, True, False, False, False, True,
    ]  # fmt: skip


@example([80 - 1e-11])
@example([80, 70 - 1e-11])
@given(st.lists(st.floats(0, 130), min_size=1, max_size=60))
def test_degrading_does_not_flicker(shares: list[float]) -> None:
    """Between two changes the share has crossed the whole way from one threshold to the other."""
    life, before = Life(degrade=DEGRADE), False
    for share in shares:
        status = life.at(share).status
        now, nano_usd = bool(status.degrade), status.spent_nano_usd  # what is spent is whole: 79.9999999999 % are 80 %
        if now != before:
            assert nano_usd >= 80 * NANO if now else nano_usd < 70 * NANO
            before = now


def test_a_rolling_budget_is_told_again_after_it_was_well_below() -> None:
    life = Life(period="rolling_24h")
    assert [life.told(share) for share in (80, 75, 80, 69, 80)] == [["soft_80"], [], [], [], ["soft_80"]]


def test_projected_is_told_once_and_not_of_what_is_used_up() -> None:
    life = Life()
    assert [life.told(10, projected=share) for share in (1.01, 1.03, 0.5, 1.4)] == [[], ["projected"], [], []]
    assert Life().told(101, projected=1.4) == ["used_up"]


def test_a_burn_is_told_when_it_begins_and_each_quarter_of_an_hour_while_it_lasts() -> None:
    life = Life()
    burning = {PAIRS[0]: (20.0, 30.0)}
    assert life.told(10, burning=burning, rest_at_pace_h=5.0) == ["burn_1h"]
    assert life.told(11, burning=burning, later_s=899) == []
    assert life.told(11, burning=burning, later_s=900) == ["burn_1h"]
    assert life.told(11, later_s=901) == []
    assert life.told(11, burning=burning, later_s=902) == ["burn_1h"]


def test_the_words_have_the_figures_and_what_to_do() -> None:
    life = Life(hard_stop=True, degrade=DEGRADE)
    words = [each.words for percent in (50, 85, 100) for each in life.at(percent).tellings]
    assert words == [
        "search has spent $50.00 of $100.00, 50%, in 2026-11",
        "search: calls of web go from gpt-4.1 to gpt-4.1-mini until the budget is below 70% or its period ends",
        "search has spent $85.00 of $100.00, 85%, in 2026-11",
        "search is used up: $100.00 of $100.00 in 2026-11; gates refuse its calls until 2026-12-01 00:00 UTC; "
        "ask ann for more",
    ]
    [burn] = Life().at(10, burning={PAIRS[1]: (7.2, 9.0)}, rest_at_pace_h=50.0).tellings
    assert burn.words == (
        "search burns: 7.2 times the pace it can keep up over 6 h, 9 times over 30 min; what is left is gone in 2.08 d"
    )
    assert burn.severity == "warning"
