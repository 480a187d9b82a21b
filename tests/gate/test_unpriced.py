"""Calls that nobody can reckon, under limits in USD and without one."""

from __future__ import annotations

import pytest

from gate.ports import Rate
from schemas.config.budgets import BudgetConfig
from schemas.config.wiring import GateConfig, Unpriced
from tests.gate.world import DEAREST, USD, Gate, Rules, status

STOP = BudgetConfig(name="search", usd=1, hard_stop=True, owner="ana")
QUOTA = Rate("key k1: quota_usd_per_day", "nano_usd", 86_400, USD)


def gate(says: Unpriced, *budgets: BudgetConfig, rules: Rules | None = None) -> Gate:
    return Gate(budgets=budgets, rules=rules or Rules(), settings=GateConfig(unpriced={"prod": says}))


@pytest.mark.parametrize(("model", "what"), [
    ("brand-new", "brand-new has no known price"),
    ("", "the call does not say its model"),
])  # fmt: skip
def test_under_a_budget_that_stops_it_is_refused_unless_somebody_decided_otherwise(model: str, what: str) -> None:
    under = Gate(budgets=(STOP,))

    answer = under.ask(model=model)

    assert (answer.state, answer.rule) == ("deny", "gate.unpriced: prod")
    assert answer.reason == (
        f"{what}, and budget search limits USD: use a model with a price, or have gate.unpriced say what it counts as"
    )
    assert under.ask(model="cheap").state == "allow"
    assert under.decider.counts["unpriced"] == 1


def test_under_the_keys_own_quota_it_is_refused_too() -> None:
    answer = gate("refuse", rules=Rules(limits=(QUOTA,))).ask(model="brand-new")
    assert answer.state == "deny"
    assert "key k1: quota_usd_per_day limits USD" in answer.reason


@pytest.mark.parametrize("budget", [
    STOP.model_copy(update={"hard_stop": False}),
    STOP.model_copy(update={"usd": None, "tokens": 10_000}),
])  # fmt: skip
def test_where_nothing_limits_usd_it_passes(budget: BudgetConfig) -> None:
    assert gate("refuse", budget).ask(model="brand-new").state == "allow"


def test_a_ceiling_of_the_gates_own_is_kept_by_the_dearest_price() -> None:
    """While the broker is away: an environment that fails open does not close because of it."""
    local = Rate("gate.local_ceiling_usd_per_min", "nano_usd", 60, DEAREST[0] * 150)
    answers = gate("refuse", rules=Rules(limits=(local,)))
    assert [answers.ask(model="brand-new", tokens=100).state for _ in range(2)] == ["allow", "throttle"]


@pytest.mark.parametrize(("says", "nano_usd_per_token"), [("dearest", DEAREST[1]), (5, 5000), (0.25, 250)])
def test_what_it_is_taken_to_cost_never_passes_the_budget(says: Unpriced, nano_usd_per_token: float) -> None:
    under = gate(says, STOP)
    one = round(USD / nano_usd_per_token / 4)  # a quarter of the budget

    answers = [under.ask(model="brand-new", tokens=0, output=one) for _ in range(5)]

    assert [answer.state for answer in answers] == ["allow"] * 4 + ["deny"]
    assert answers[-1].rule == "budget search"
    under.settle(answers[0], output=one // 2)
    assert under.ask(model="brand-new", tokens=0, output=one // 2).state == "allow", "half of it was not used"
    assert under.ask(model="brand-new", tokens=0, output=one // 2).state == "deny"


def test_what_the_gateway_says_it_came_to_counts() -> None:
    under = gate("dearest", STOP)
    whole = round(USD / DEAREST[1])
    under.settle(under.ask(model="brand-new", tokens=0, output=whole), output=whole, cost=USD // 10)
    assert under.ask(model="brand-new", tokens=0, output=round(0.9 * whole)).state == "allow"


def test_models_that_cost_nothing_pass_a_budget_that_is_used_up() -> None:
    under = gate(0, STOP)
    under.known.stands(status("search", spent=1, limit=1))
    assert under.ask(model="brand-new").state == "allow"
    assert under.ask(model="cheap").state == "deny"


def test_an_environment_that_is_not_listed_has_what_holds_otherwise() -> None:
    settings = GateConfig(unpriced={"dev": "refuse"}, unpriced_otherwise=0)
    assert Gate(budgets=(STOP,), settings=settings).ask(model="brand-new").state == "allow"


@pytest.mark.parametrize("wrong", [False, "no", "3", -1, float("nan")])
def test_what_is_no_price_is_no_setting(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"unpriced\.dev"):
        GateConfig.model_validate({"unpriced": {"dev": wrong}})
