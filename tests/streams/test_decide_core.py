"""One message about one key: incidents and the ladder together."""

from __future__ import annotations

import pytest

from schemas.records import StepState
from tests.streams.world import KEY, T0, decider, finding, outcome, request


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


def test_silence_ends_an_incident_before_the_next_finding_opens_another() -> None:
    rules = decider("observe")
    first = rules.finding(None, finding(0))
    later = rules.finding(first.case, finding(4 * 3600))
    assert [(i.incident_id == first.incidents[0].incident_id, i.state) for i in later.incidents] == [
        (True, "resolved"),
        (False, "open"),
    ]
