"""What people answer: snoozed, expected, rejected; and what time does to what they left open."""

from __future__ import annotations

import pytest

from alerting.answered import on_request
from alerting.case import Change, KeyCase
from alerting.incidents import on_command, on_outcome
from alerting.silence import on_silence
from schemas.config import ResponsesConfig
from schemas.records import Incident, StepState
from tests.alerting.world import RESPONSES, command, finding, found, ms, only, outcome, request

HOUR_S = 3600
DAY_S = 24 * HOUR_S


def opened(severity: str = "warning") -> KeyCase:
    return found(None, finding(severity=severity)).case


def waiting(at_s: float = 1) -> KeyCase:
    ordered = command(at_s=at_s, automatic=False, approvals=())
    return on_command(opened(), ordered, StepState.AWAITING_APPROVAL, at_ms=ms(at_s), people_needed=1).case


def contained() -> KeyCase:
    case = on_command(opened(), command(), StepState.REQUESTED, at_ms=ms(1)).case
    return on_outcome(case, outcome(), at_ms=ms(5)).case


def said(case: KeyCase, action: str, *, at_s: float = 60, for_s: float | None = None, **changes: object) -> Change:
    until_ms = None if for_s is None else ms(at_s + for_s)
    return on_request(case, request(action, at_s, until_ms=until_ms, **changes), at_ms=ms(at_s))


def silent(case: KeyCase, at_s: float, responses: ResponsesConfig = RESPONSES) -> Change:
    return on_silence(case, ms(at_s), responses=responses)


def shown(case: KeyCase) -> Incident:
    assert case.incident is not None
    return case.incident


class TestSnooze:
    def test_it_is_acknowledged_until_then(self) -> None:
        told = only(said(opened(), "snooze", for_s=600, reason="in a meeting"))
        assert (told.state, told.snoozed_until_ms, told.by) == ("acknowledged", ms(660), "ada")
        assert told.transition.startswith("ada snoozed it until 2026-11-23 10:11 UTC: in a meeting.")

    def test_when_it_is_over_people_are_told_again(self) -> None:
        case = said(opened(), "snooze", for_s=600).case
        assert silent(case, 659).incidents == ()
        awake = only(silent(case, 700))
        assert (awake.state, awake.snoozed_until_ms, awake.updated_at_ms) == ("open", None, ms(660))
        assert "The snooze is over and this is not" in awake.transition

    def test_silence_ends_the_incident_before_the_snooze(self) -> None:
        case = said(opened(), "snooze", for_s=DAY_S).case
        assert only(silent(case, HOUR_S)).state == "resolved"

    def test_a_clock_that_jumps_tells_both_in_their_order(self) -> None:
        case = said(opened(), "snooze", for_s=600).case
        assert [each.state for each in silent(case, DAY_S).incidents] == ["open", "resolved"]

    @pytest.mark.parametrize(
        ("usd_per_min", "after_s", "wakes"),
        [(3.2, 120, False), (90.0, 120, True)],
        ids=["more of the same", "critical now"],
    )
    def test_it_ends_when_it_gets_worse(self, usd_per_min: float, after_s: float, wakes: bool) -> None:
        case = said(opened(), "snooze", for_s=DAY_S).case
        fed = found(case, finding(after_s, usd_per_min=usd_per_min)).case
        assert shown(fed).state == ("open" if wakes else "acknowledged")
        assert (shown(fed).snoozed_until_ms is None) == wakes

    def test_it_ends_when_what_may_be_lost_is_lost(self) -> None:
        case = said(found(None, finding(usd_per_min=20.0)).case, "snooze", for_s=DAY_S).case
        states = []
        for minute in range(2, 8):
            case = found(case, finding(minute * 60, usd_per_min=20.0)).case
            states.append((shown(case).lost_usd > shown(case).acceptable_loss_usd, shown(case).state))
        assert (False, "acknowledged") in states
        assert states[-1] == (True, "open")

    def test_a_key_that_was_cut_meanwhile_wakes_nobody(self) -> None:
        case = said(opened(), "snooze", for_s=600).case
        case = on_command(case, command(at_s=70), StepState.REQUESTED, at_ms=ms(70)).case
        case = on_outcome(case, outcome(at_s=75), at_ms=ms(75)).case
        change = silent(case, 700)
        assert (change.incidents, shown(change.case).state) == ((), "contained")
        assert shown(change.case).snoozed_until_ms is None

    @pytest.mark.parametrize(
        ("for_s", "why"), [(None, "a time to come"), (-1, "a time to come"), (8 * DAY_S, "7 d at most")]
    )
    def test_it_needs_an_end_within_bounds(self, for_s: float | None, why: str) -> None:
        change = said(opened(), "snooze", for_s=for_s)
        assert (change.incidents, why in change.reason) == ((), True)

    def test_what_is_contained_cannot_be_snoozed(self) -> None:
        assert said(contained(), "snooze", for_s=600).incidents == ()


def test_people_are_asked_anew_when_it_opens_again_or_turns_critical() -> None:
    case = opened()
    assert shown(case).asked_since_ms is None
    case = said(case, "snooze", for_s=600).case
    assert shown(case).asked_since_ms is None
    case = silent(case, 700).case
    assert shown(case).asked_since_ms == ms(660)
    case = found(case, finding(800, usd_per_min=90.0)).case
    assert (shown(case).severity, shown(case).asked_since_ms) == ("critical", ms(800))


class TestExpected:
    def test_it_closes_the_incident_and_gives_the_key_back(self) -> None:
        change = said(contained(), "expected", for_s=4 * HOUR_S, reason="load test")
        told = only(change)
        assert (told.state, change.wants_restore) == ("resolved", True)
        assert told.transition.startswith("ada expects this use until 2026-11-23 14:01 UTC: load test.")
        assert "disable will be undone" in told.transition

    def test_nothing_is_given_back_where_nothing_was_cut(self) -> None:
        assert not said(opened(), "expected", for_s=HOUR_S).wants_restore

    @pytest.mark.parametrize(("for_s", "why"), [(None, "a time to come"), (32 * DAY_S, "31 d at most")])
    def test_it_needs_an_end_within_bounds(self, for_s: float | None, why: str) -> None:
        change = said(opened(), "expected", for_s=for_s)
        assert (change.incidents, change.wants_restore, why in change.reason) == ((), False, True)


class TestReject:
    def test_what_waited_is_rejected_by_name(self) -> None:
        told = only(said(waiting(), "reject", reason="that is our batch"))
        assert [(step.state, step.detail) for step in told.steps] == [(StepState.REJECTED, "by ada: that is our batch")]
        assert told.state == "open"

    @pytest.mark.parametrize("step", [None, "revoke"])
    def test_only_what_waits_can_be_rejected(self, step: str | None) -> None:
        case = opened() if step is None else waiting()
        assert said(case, "reject", step=step).incidents == ()


class TestApprovalsExpire:
    def test_what_nobody_approves_is_no_longer_asked_for(self) -> None:
        responses = ResponsesConfig.model_validate({"approvals": {"expire_after_s": 600}, "resolve_after_s": 9000})
        assert silent(waiting(), 600, responses).incidents == ()
        told = only(silent(waiting(), 601, responses))
        assert [step.state for step in told.steps] == [StepState.SUPERSEDED]
        assert told.transition.startswith("Nobody approved within 10 min: disable.")
        assert told.updated_at_ms == ms(601)

    def test_what_is_closed_asks_nobody(self) -> None:
        told = only(said(waiting(), "resolve"))
        assert [step.state for step in told.steps] == [StepState.SUPERSEDED]

    def test_asking_twice_for_the_same_approval_is_told_once(self) -> None:
        late = outcome(state=StepState.AWAITING_APPROVAL)
        change = on_outcome(waiting(), late, at_ms=ms(5))
        assert change.incidents == ()
        assert shown(change.case).steps[0].state == StepState.AWAITING_APPROVAL


def test_people_see_how_many_stand_behind_a_step() -> None:
    ordered = command("revoke", automatic=False, by="ada", approvals=("ada",))
    told = only(on_command(opened(), ordered, StepState.AWAITING_APPROVAL, at_ms=ms(1), people_needed=2))
    assert "(1 of 2 people: ada)" in told.transition
    assert (told.steps[0].approvals, told.steps[0].people_needed) == (("ada",), 2)
