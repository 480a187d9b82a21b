"""The plan of a key: its steps in order, why they are or are not chosen by themselves, whom else they hit, the loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from containment.ladder import approvals_needed
from containment.plan import Known, Plan, Spend, hit_by, make_plan, people_for, shares_by_form
from containment.providers import aws, azure, vault
from containment.providers.base import StepSpec
from containment.providers.build import shares_of
from schemas.config.responses import LadderConfig, ResponsesConfig
from schemas.records import Incident, KeyFacts, Step, StepState
from tests.containment.build import T0_MS, command, done, facts, incident

OPENAI: Mapping[Step, StepSpec] = {
    "revoke": StepSpec(False, "key", 10, "Deletes the key."),
    "block": StepSpec(True, "project", 300, "Every key of the project."),
    "throttle": StepSpec(True, "project", 60, "Every key of the project."),
}
SANDBOX: Mapping[Step, StepSpec] = {
    "throttle": StepSpec(True, "key", 1, "One a minute."),
    "disable": StepSpec(True, "key", 1, "The key is refused."),
    "revoke": StepSpec(False, "key", 1, "For good."),
}
AUTO = ResponsesConfig(mode="auto")
WIDER = ResponsesConfig(mode="auto", ladder=LadderConfig(wider_steps=True, first_step="throttle"))


def planned(
    case: Incident | None = None,
    *,
    steps: Mapping[Step, StepSpec] = SANDBOX,
    config: ResponsesConfig = AUTO,
    spend: Spend | None = None,
    **changes: Any,
) -> Plan:
    known = Known("k1", facts(**changes), True, case, spend)
    return make_plan(known, steps=steps, also_hits={}, config=config, frozen=False, at_ms=T0_MS)


def test_the_steps_come_softest_first_with_all_that_a_person_must_know() -> None:
    plan = planned(steps=OPENAI, env="prod")
    assert [(r.step, r.reversible, r.scope, r.typical_s, r.people) for r in plan.rungs] == [
        ("throttle", True, "project", 60, 1),
        ("block", True, "project", 300, 1),
        ("revoke", False, "key", 10, 2),
    ]


@pytest.mark.parametrize("env", ["prod", "Production ", "dev"])
@pytest.mark.parametrize("reversible", [True, False])
def test_the_plan_and_the_rule_ask_for_the_same_number_of_people(env: str, *, reversible: bool) -> None:
    order = command(step="disable", automatic=False, by="ann", reversible=reversible, facts=facts(env=env))
    assert people_for(StepSpec(reversible, "key", 1, ""), env) == approvals_needed(order)


@pytest.mark.parametrize(
    ("steps", "config", "changes", "why"),
    [
        (SANDBOX, AUTO, {}, ["softer than ladder.first_step (disable)", "", "cannot be undone"]),
        (SANDBOX, ResponsesConfig(), {}, [
            "softer than ladder.first_step (disable)", "observe mode", "cannot be undone",
        ]),
        (SANDBOX, AUTO, {"protected": True}, [
            "softer than ladder.first_step (disable)", "the key is protected", "cannot be undone",
        ]),
        (SANDBOX, ResponsesConfig(key_modes={"k1": "approve"}), {}, [
            "softer than ladder.first_step (disable)", "approve mode", "cannot be undone",
        ]),
        (OPENAI, AUTO, {}, [
            "reaches further than the key: project", "reaches further than the key: project", "cannot be undone",
        ]),
        (OPENAI, WIDER, {}, ["", "", "cannot be undone"]),
    ],
)  # fmt: skip
def test_each_step_says_why_it_is_not_chosen_by_itself(
    steps: Mapping[Step, StepSpec], config: ResponsesConfig, changes: dict[str, Any], why: list[str]
) -> None:
    assert [rung.not_by_itself for rung in planned(steps=steps, config=config, **changes).rungs] == why


def test_without_an_open_incident_nothing_comes_by_itself() -> None:
    for case in (None, incident(state="resolved")):
        plan = planned(case)
        assert (plan.next_step, plan.next_go, plan.incident_id) == (None, "nothing", None)
        assert "no incident is open" in plan.next_reason


@pytest.mark.parametrize(
    ("case", "steps", "step", "go"),
    [
        (incident(), SANDBOX, "disable", "run"),
        (incident(), OPENAI, "revoke", "await_approval"),
        (incident(families=("velocity",)), SANDBOX, None, "nothing"),
        (incident(families=("budget",)), SANDBOX, "disable", "run"),
        (incident(), {"block": OPENAI["block"]}, None, "nothing"),
    ],
)
def test_the_next_step_is_the_ladders_own(
    case: Incident, steps: Mapping[Step, StepSpec], step: Step | None, go: str
) -> None:
    plan = planned(case, steps=steps)
    assert (plan.next_step, plan.next_go, plan.incident_id) == (step, go, "inc_1")


def test_a_step_that_was_ordered_says_where_it_stands() -> None:
    plan = planned(incident(done("disable", StepState.CONFIRMED)))
    assert [rung.state for rung in plan.rungs] == [None, StepState.CONFIRMED, None]


def test_the_loss_is_a_day_at_the_pace_above_the_usual() -> None:
    stored = Spend(source="store", usd_per_min=0.5, usual_usd_per_min=0.25)
    assert planned(spend=stored).lost_in_a_day_usd == pytest.approx(360)
    told = planned(incident(), spend=stored)  # 12.4 against 0.4: the incident knows better
    assert told.spend is not None
    assert told.spend.source == "incident"
    assert told.lost_in_a_day_usd == pytest.approx(17_280)
    by_hand = planned(incident(findings=0, usd_per_min=0, expected_usd_per_min=0), spend=stored)
    assert by_hand.spend == stored
    assert planned(spend=stored.model_copy(update={"usd_per_min": 0.1})).lost_in_a_day_usd == 0
    assert planned().lost_in_a_day_usd is None


def test_other_keys_are_hit_by_what_reaches_further() -> None:
    others = [("k3", "proj_a/key_3"), ("k2", "proj_a/sa/bot"), ("k4", "proj_b/key_4"), ("k1", "proj_a/key_1"),
              ("k5", "proj_a/key_1")]  # fmt: skip
    hits = hit_by("k1", "proj_a/key_1", others, steps=OPENAI, shares=shares_by_form(OPENAI))
    assert hits == {"revoke": ("k5",), "block": ("k2", "k3", "k5"), "throttle": ("k2", "k3", "k5")}


def test_a_step_on_the_account_hits_every_key_of_the_provider() -> None:
    steps: Mapping[Step, StepSpec] = {"block": StepSpec(True, "account", 1, "")}
    assert hit_by("k1", "a", [("k1", "a"), ("k2", "b")], steps=steps, shares=shares_by_form(steps)) == {
        "block": ("k2",)
    }


@pytest.mark.parametrize(
    ("kind", "ref", "step", "other", "hit"),
    [
        ("aws", "user/shop", "block", "iam/shop/AKIAEXAMPLEKEY234567", True),
        ("aws", "user/shop", "block", "iam/ops/AKIAEXAMPLEKEY234567", False),
        ("aws", "role/shop", "block", "iam/shop/AKIAEXAMPLEKEY234567", False),
        ("aws", "iam/shop/AKIA1", "disable", "iam/shop/AKIA2", False),
        ("aws", "iam/shop/AKIA1", "disable", "iam/shop/AKIA1", True),
        ("vault", "prefix:openai/creds", "revoke", "openai/creds/shop/abc", True),
        ("vault", "prefix:openai/creds", "revoke", "prefix:openai/creds/shop", True),
        ("vault", "prefix:openai/creds/shop", "revoke", "openai/creds/shops/abc", False),
        ("vault", "openai/creds/shop/abc", "revoke", "openai/creds/shop/abd", False),
    ],
)
def test_some_kinds_know_better_what_a_step_reaches(kind: str, ref: str, step: Step, other: str, *, hit: bool) -> None:
    shares = shares_of(kind)
    assert shares is not None
    assert shares(ref, other, step) is hit


def test_the_kinds_that_know_better_are_asked() -> None:
    assert (shares_of("azure"), shares_of("aws"), shares_of("vault")) == (
        azure.shares_with, aws.shares_with, vault.shares_with,
    )  # fmt: skip
    assert shares_of("openai") is None


def test_a_plan_survives_its_json() -> None:
    plan = planned(incident(done("disable", StepState.CONFIRMED)))
    assert Plan.from_bytes(plan.to_bytes()) == plan
    assert KeyFacts.model_validate(plan.model_dump()["facts"]) == plan.facts
