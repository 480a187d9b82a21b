"""What the hot path does for each event is written down, and changes only with a reason."""

from __future__ import annotations

import sys

import pytest

from benchmarks.call_budgets import Budget, budgets, in_own_process, problem

STAGES = sorted(budgets())


@pytest.fixture(scope="module")
def counted() -> dict[str, float]:
    return in_own_process()


def test_every_stage_has_a_budget_and_no_budget_is_left_over(counted: dict[str, float]) -> None:
    assert sorted(counted) == STAGES


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="counted on 3.11: later ones call no comprehensions")
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_keeps_its_budget(stage: str, counted: dict[str, float]) -> None:
    assert problem(stage, counted[stage], budgets()[stage]) == ""


@pytest.mark.parametrize("stage", STAGES)
def test_a_budget_says_why(stage: str) -> None:
    assert len(budgets()[stage].reason.split()) >= 4


def test_a_call_more_for_each_event_is_a_problem_and_so_is_a_gain_that_nobody_wrote_down() -> None:
    budget = Budget(143.1, "because")
    assert "1143.1 calls" in problem("parse", 1143.1, budget)
    assert "lower it" in problem("parse", 100, budget)
    assert problem("parse", 144, budget) == ""
