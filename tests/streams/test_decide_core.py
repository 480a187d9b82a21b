"""One message about one key: incidents and the ladder together."""

from __future__ import annotations

import pytest

from schemas.config import BudgetsConfig, ResponsesConfig
from schemas.config.responses import LadderConfig
from schemas.records import KeyFacts, Step, StepState
from streams.decide_core import Decider, offers
from tests.streams.world import KEY, STEPS, T0, decider, finding, outcome, request, specs


def test_one_family_alerts_and_two_cut() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="velocity"))
    assert [i.state for i in first.incidents] == ["open"]
    assert first.commands == ()
    second = rules.finding(first.case, finding(1, family="origin"))
    assert [(c.step, c.automatic, c.mode) for c in second.commands] == [("disable", True, "auto")]


@pytest.mark.parametrize(
    ("mode", "automatic", "shown"),
    [("observe", True, StepState.REQUESTED), ("approve", False, StepState.AWAITING_APPROVAL)],
)
def test_without_auto_nothing_runs_by_itself(mode: str, automatic: bool, shown: StepState) -> None:
    rules = decider(mode)
    decision = rules.finding(None, finding(0, family="policy"))
    [command] = decision.commands
    assert (command.mode, command.automatic) == (mode, automatic)
    assert decision.incidents[-1].steps[0].state == shown


def test_a_replayed_finding_changes_nothing() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="policy"))
    again = rules.finding(first.case, finding(0, family="policy"))
    assert (again.incidents, again.commands, again.case) == ((), (), first.case)


def test_a_confirmed_cut_contains_and_a_restore_opens_again() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="policy"))
    cut = rules.outcome(first.case, outcome(first.commands[0]), at_ms=T0 + 1000)
    assert cut.incidents[-1].state == "contained"
    asked = rules.request(cut.case, request("restore"))
    [restore] = asked.commands
    assert (restore.step, restore.by, restore.automatic) == ("restore", "ana", False)
    back = rules.outcome(asked.case, outcome(restore), at_ms=T0 + 70_000)
    assert back.incidents[-1].state == "open"


def test_a_false_positive_gives_the_key_back() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="policy"))
    cut = rules.outcome(first.case, outcome(first.commands[0]), at_ms=T0 + 1000)
    told = rules.request(cut.case, request("false_positive"))
    assert told.incidents[0].state == "false_positive"
    assert [c.step for c in told.commands] == ["restore"]


def test_a_cut_confirmed_after_the_false_positive_is_undone() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="policy"))
    told = rules.request(first.case, request("false_positive"))
    late = rules.outcome(told.case, outcome(first.commands[0]), at_ms=T0 + 90_000)
    assert [c.step for c in late.commands] == ["restore"]


def test_two_people_are_needed_to_revoke_in_production() -> None:
    rules = decider("approve", {"revoke": False})
    waiting = rules.finding(None, finding(0, family="policy"))
    one = rules.request(waiting.case, request("approve", 10, by="ana"))
    assert one.commands[0].approvals == ("ana",)
    asked = rules.outcome(one.case, outcome(one.commands[0], StepState.AWAITING_APPROVAL), at_ms=T0 + 11_000)
    two = rules.request(asked.case, request("approve", 20, by="bo"))
    assert two.commands[0].approvals == ("ana", "bo")


def test_a_person_may_cut_a_key_without_an_incident() -> None:
    decision = decider().request(None, request("contain"))
    [command] = decision.commands
    assert (command.key_id, command.step, command.automatic) == (KEY, "disable", False)
    assert decision.incidents[-1].key_id == KEY


def test_an_unknown_provider_offers_nothing_and_says_so() -> None:
    decision = decider(steps={}).request(None, request("contain"))
    assert decision.commands == ()
    assert "offers no such step" in decision.reason


@pytest.mark.parametrize("mode", ["observe", "approve", "auto"])
def test_what_stops_more_than_the_key_is_never_chosen_without_a_person(mode: str) -> None:
    rules = decider(mode, {"throttle": True, "block": True, "revoke": False}, throttle="project", block="project")
    [command] = rules.finding(None, finding(0, family="policy")).commands
    assert command.step == "revoke"
    only_wider = decider(mode, {"block": True}, block="account")
    decision = only_wider.finding(None, finding(0, family="policy"))
    assert (decision.commands, [i.state for i in decision.incidents]) == ((), ["open"])


def test_whoever_runs_keyfuse_may_let_it_choose_wider_steps() -> None:
    rules = decider(steps={"block": True, "revoke": False}, wider_steps=True, block="project")
    [command] = rules.finding(None, finding(0, family="policy")).commands
    assert (command.step, command.automatic) == ("block", True)


def test_a_person_orders_a_wider_step_by_its_name_only() -> None:
    rules = decider(steps={"block": True}, block="project")
    assert rules.request(None, request("contain")).commands == ()
    [command] = rules.request(None, request("contain", step="block")).commands
    assert (command.step, command.reversible, command.by) == ("block", True, "ana")


@pytest.mark.parametrize(
    ("facts", "step", "reversible"),
    [
        (KeyFacts(provider="main", provider_ref="good"), "block", True),
        (KeyFacts(provider="main"), "disable", True),  # no such key at this provider: ends with a page, not in silence
        (KeyFacts(provider="other"), "disable", True),
    ],
)
def test_the_provider_is_asked_about_this_key(facts: KeyFacts, step: Step, reversible: bool) -> None:
    offered = offers({"main": lambda ref: specs({"block": True}) if ref == "good" else {}})("key-1", facts)
    assert {step: spec.reversible for step, spec in offered.items()} == {step: reversible}


def test_a_cut_that_does_not_hold_pages_and_asks_for_the_next_rung() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="policy"))
    cut = rules.outcome(first.case, outcome(first.commands[0]), at_ms=T0 + 1000)
    soon = rules.finding(cut.case, finding(60, family="policy"))  # what was spent before is still being told
    assert (soon.commands, soon.case and soon.case.incident and soon.case.incident.state) == ((), "contained")
    later = rules.finding(soon.case, finding(181, family="policy"))
    told, asked = later.incidents
    assert (told.state, told.severity) == ("open", "critical")
    assert told.transition == "Still spending $30.00/min, 3 min after disable was confirmed."
    [command] = later.commands
    assert (command.step, command.automatic) == ("revoke", False)
    assert "still spending 180 s after disable was confirmed" in command.reason
    assert asked.steps[-1].state == StepState.AWAITING_APPROVAL


def test_a_slowed_key_that_still_spends_is_cut_by_itself_and_measured() -> None:
    responses = ResponsesConfig(mode="auto", ladder=LadderConfig(first_step="throttle", escalate_after_s=30))
    rules = Decider(responses, BudgetsConfig(), lambda key_id, facts: specs(STEPS))
    first = rules.finding(None, finding(0, family="policy"))
    slowed = rules.outcome(first.case, outcome(first.commands[0]), at_ms=T0 + 1000)
    assert slowed.incidents[-1].steps[0].detail == "effective after 0.1 s"
    [command] = rules.finding(slowed.case, finding(60, family="policy")).commands
    assert (command.step, command.automatic) == ("disable", True)


def test_silence_ends_an_incident_before_the_next_finding_opens_another() -> None:
    rules = decider("observe")
    first = rules.finding(None, finding(0))
    later = rules.finding(first.case, finding(4 * 3600))
    assert [(i.incident_id == first.incidents[0].incident_id, i.state) for i in later.incidents] == [
        (True, "resolved"),
        (False, "open"),
    ]
