"""The life of one incident, told message by message."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import pytest

from alerting.answered import on_request
from alerting.case import KeyCase
from alerting.incidents import REPEAT, Change, on_command, on_finding, on_outcome
from alerting.silence import on_silence
from schemas.config import ResponsesConfig
from schemas.records import DOUBTS, Incident, KeyFacts, Step, StepState
from tests.alerting.world import (
    BUDGETS,
    FACTS,
    KEY,
    RESPONSES,
    command,
    finding,
    found,
    ms,
    only,
    outcome,
    request,
)


def opened() -> KeyCase:
    return found(None, finding()).case


def contained() -> KeyCase:
    case = on_command(opened(), command(), StepState.REQUESTED, at_ms=ms(1)).case
    return on_outcome(case, outcome(), at_ms=ms(5)).case


def shown(case: KeyCase) -> Incident:
    assert case.incident is not None
    return case.incident


def ask(case: KeyCase, action: str, at_s: float = 60) -> Change:
    return on_request(case, request(action, at_s), at_ms=ms(at_s))


def silence(case: KeyCase, at_s: float) -> Change:
    return on_silence(case, ms(at_s), responses=RESPONSES)


class TestFindings:
    def test_the_first_opens_an_incident_with_its_sentence(self) -> None:
        incident = only(found(None, finding()))
        assert (incident.seq, incident.state, incident.families) == (1, "open", ("velocity",))
        assert incident.headline == incident.reasons["velocity"] == finding().reason
        assert incident.acceptable_loss_usd == BUDGETS.acceptable("prod")
        assert incident.mode == "observe"
        assert incident.facts == FACTS

    def test_the_same_opening_has_the_same_id_and_another_one_another(self) -> None:
        assert only(found(None, finding())).incident_id == only(found(None, finding())).incident_id
        assert only(found(None, finding())).incident_id != only(found(None, finding(1))).incident_id

    def test_more_of_the_same_is_counted_and_not_told(self) -> None:
        change = found(opened(), finding(60, usd_per_min=0.2))
        assert change.incidents == ()
        assert (shown(change.case).findings, shown(change.case).seq) == (2, 1)
        assert shown(change.case).last_finding_at_ms == ms(60)

    @pytest.mark.parametrize("at_s", [0, -1], ids=["the same second", "older"])
    def test_a_replayed_finding_is_a_repeat(self, at_s: float) -> None:
        case = opened()
        assert found(case, finding(at_s)) == Change(case, (), REPEAT)

    def test_another_family_is_told_and_does_not_open_a_second_incident(self) -> None:
        incident = only(found(opened(), finding(0, "economics")))
        assert (incident.seq, incident.families) == (2, ("velocity", "economics"))
        assert "Also economics" in incident.transition

    def test_a_stronger_sentence_takes_the_headline_a_certain_one_always(self) -> None:
        case = found(opened(), finding(1, "economics", score=5.9)).case
        assert shown(case).headline == finding().reason
        case = found(case, finding(2, "policy", score=1.5)).case
        assert shown(case).headline == finding(family="policy").reason
        case = found(case, finding(3, "mix", score=20.0)).case
        assert shown(case).headline == finding(family="policy").reason

    def test_a_higher_severity_is_told_with_the_time_that_is_left(self) -> None:
        incident = only(found(opened(), finding(60, usd_per_min=20.0)))
        assert incident.severity == "critical"
        assert "Raised to critical" in incident.transition
        assert "reached in" in incident.transition

    def test_severity_never_lowers_while_open(self) -> None:
        case = found(None, finding(usd_per_min=50.0)).case
        change = found(case, finding(60, "mix", usd_per_min=0.0, severity="info"))
        assert only(change).severity == "critical"

    def test_loss_is_told_when_it_doubles_and_when_it_passes_the_limit(self) -> None:
        case, told = found(None, finding(usd_per_min=2.0, expected_usd_per_min=0.0)).case, []
        for minute in range(1, 60):
            change = found(case, finding(minute * 60, usd_per_min=2.0, expected_usd_per_min=0.0))
            case = change.case
            told += [(incident.lost_usd, incident.severity) for incident in change.incidents]
        assert shown(case).lost_usd == 2.0 * 60
        assert told == [
            (10.0, "warning"),  # a tenth of the acceptable loss: worth a word from here on
            (20.0, "warning"),
            (40.0, "warning"),
            (80.0, "warning"),
            (82.0, "critical"),  # less than ten minutes are left
            (102.0, "critical"),  # the limit is passed
        ]

    def test_a_late_finding_adds_evidence_but_not_the_present(self) -> None:
        case = found(opened(), finding(60)).case
        late = only(found(case, finding(30, "mix", usd_per_min=99.0)))
        assert (late.last_finding_at_ms, late.usd_per_min) == (ms(60), 3.0)
        assert "mix" in late.families

    def test_a_case_of_another_key_is_refused(self) -> None:
        with pytest.raises(ValueError, match="another"):
            found(KeyCase(key_id="another"), finding())


class TestSteps:
    def test_an_ordered_step_is_shown(self) -> None:
        incident = only(on_command(opened(), command(), StepState.AWAITING_APPROVAL, at_ms=ms(1)))
        (step,) = incident.steps
        assert (step.step, step.state, step.at_ms) == ("disable", StepState.AWAITING_APPROVAL, ms(1))
        assert "waits for a person's approval" in incident.transition

    @pytest.mark.parametrize("step", ["block", "disable", "revoke"])
    def test_a_confirmed_cut_contains(self, step: Step) -> None:
        case = on_command(opened(), command(step), StepState.REQUESTED, at_ms=ms(1)).case
        done = outcome(step, seconds_to_effective=3.21)
        incident = only(on_outcome(case, done, at_ms=ms(5)))
        assert incident.state == "contained"
        assert incident.transition.startswith("Contained.")
        assert "effective after 3.2 s" in incident.steps[0].detail

    @pytest.mark.parametrize("step", ["throttle", "degrade"])
    def test_a_softer_step_does_not(self, step: Step) -> None:
        case = on_command(opened(), command(step), StepState.REQUESTED, at_ms=ms(1)).case
        assert only(on_outcome(case, outcome(step), at_ms=ms(5))).state == "open"

    @pytest.mark.parametrize("state", [StepState.DRY_RUN, StepState.REFUSED, StepState.SUPERSEDED])
    def test_a_step_that_came_to_nothing_is_told_and_changes_no_state(self, state: StepState) -> None:
        case = on_command(opened(), command(), StepState.REQUESTED, at_ms=ms(1)).case
        incident = only(on_outcome(case, outcome(state=state, rule="caps"), at_ms=ms(5)))
        assert (incident.state, incident.steps[0].state) == ("open", state)
        assert "caps" in incident.transition

    def test_under_way_is_remembered_and_not_told(self) -> None:
        case = on_command(opened(), command(), StepState.REQUESTED, at_ms=ms(1)).case
        change = on_outcome(case, outcome(state=StepState.IN_FLIGHT), at_ms=ms(2))
        assert change.incidents == ()
        assert shown(change.case).steps[0].state == StepState.IN_FLIGHT

    def test_a_failed_step_is_critical_and_calls_a_person(self) -> None:
        case = ask(opened(), "acknowledge").case
        failed = outcome(state=StepState.IRREVOCABLE, attempts=6, detail="Open the console.")
        incident = only(on_outcome(case, failed, at_ms=ms(70)))
        assert (incident.severity, incident.state) == ("critical", "open")
        assert incident.transition.startswith("A person must act now")
        assert "after 6 tries. Open the console." in incident.transition

    def test_a_failed_step_opens_a_closed_incident_again(self) -> None:
        case = ask(contained(), "resolve").case
        failed = outcome("restore", StepState.IRREVOCABLE, at_s=90)
        incident = only(on_outcome(case, failed, at_ms=ms(90)))
        assert (incident.state, incident.severity, incident.seq) == ("open", "critical", shown(case).seq + 1)

    def test_a_failed_step_of_a_forgotten_key_is_still_told(self) -> None:
        incident = only(on_outcome(None, outcome(state=StepState.IRREVOCABLE), at_ms=ms(5)))
        assert (incident.incident_id, incident.severity, incident.seq) == ("inc_1", "critical", 1)

    @pytest.mark.parametrize("rule", sorted(DOUBTS))
    def test_a_doubted_order_changes_nothing_that_has_ended_and_ends_what_has_not(self, rule: str) -> None:
        """Whoever writes into the topic of the commands can make up the id of any of them."""
        doubted = outcome(state=StepState.REFUSED, rule=rule)
        assert on_outcome(contained(), doubted, at_ms=ms(9)) == Change(contained(), (), ANY)
        assert not on_outcome(opened(), doubted, at_ms=ms(9)).incidents
        waiting = on_command(opened(), command(), StepState.REQUESTED, at_ms=ms(1)).case
        [told] = on_outcome(waiting, doubted, at_ms=ms(9)).incidents
        assert told.steps[-1].state == StepState.REFUSED
        assert rule in told.steps[-1].detail

    def test_any_other_outcome_of_a_forgotten_key_is_not(self) -> None:
        assert on_outcome(None, outcome(), at_ms=ms(5)).incidents == ()

    def test_a_confirmed_restore_opens_again_and_undoes_the_cut(self) -> None:
        restore = command("restore", 100, automatic=False, by="ada")
        case = on_command(contained(), restore, StepState.REQUESTED, at_ms=ms(100)).case
        incident = only(on_outcome(case, outcome("restore", at_s=102), at_ms=ms(102)))
        assert incident.state == "open"
        assert "Restored by ada" in incident.transition
        assert incident.by == "ada"
        assert [step.state for step in incident.steps] == [StepState.SUPERSEDED, StepState.CONFIRMED]

    def test_a_switch_to_the_backup_is_told_and_undone_with_the_cut(self) -> None:
        detail = "its users go on with the backup k2, told at the gates"
        switched = on_outcome(opened(), outcome("switch", at_s=3, detail=detail), at_ms=ms(3))
        assert "Switch to the backup confirmed" in only(switched).transition
        assert detail in only(switched).transition
        case = on_outcome(switched.case, outcome("disable", at_s=5), at_ms=ms(5)).case
        incident = only(on_outcome(case, outcome("restore", at_s=102), at_ms=ms(102)))
        states = {step.step: step.state for step in incident.steps}
        assert (states["switch"], states["disable"]) == (StepState.SUPERSEDED, StepState.SUPERSEDED)

    def test_a_switch_that_failed_pages_a_person_and_the_cut_contains_all_the_same(self) -> None:
        failed = on_outcome(opened(), outcome("switch", StepState.IRREVOCABLE, at_s=3, detail="no"), at_ms=ms(3))
        assert (only(failed).severity, only(failed).state) == ("critical", "open")
        assert only(failed).transition.startswith("A person must act now: switch to the backup failed")
        assert only(on_outcome(failed.case, outcome("disable", at_s=5), at_ms=ms(5))).state == "contained"

    def test_a_false_alarm_sends_users_back_although_the_cut_itself_failed(self) -> None:
        case = on_outcome(opened(), outcome("switch", at_s=3), at_ms=ms(3)).case
        change = ask(case, "false_positive")
        assert change.wants_restore
        assert "switch will be undone" in only(change).transition

    def test_after_a_restore_the_same_cut_can_contain_again(self) -> None:
        case = on_outcome(contained(), outcome("restore", at_s=102), at_ms=ms(102)).case
        case = on_command(case, command(at_s=110, by="ada"), StepState.REQUESTED, at_ms=ms(110)).case
        assert only(on_outcome(case, outcome(at_s=112), at_ms=ms(112))).state == "contained"

    def test_an_order_does_not_shake_a_step_that_is_done(self) -> None:
        change = on_command(contained(), command(at_s=50, by="ada"), StepState.REQUESTED, at_ms=ms(50))
        assert change.incidents == ()
        assert shown(change.case).state == "contained"

    def test_a_second_approval_is_shown(self) -> None:
        first = command("revoke", by="ada", automatic=False)
        case = on_command(opened(), first, StepState.AWAITING_APPROVAL, at_ms=ms(1)).case
        second = command("revoke", 9, by="ben", automatic=False, approvals=("ada", "ben"))
        incident = only(on_command(case, second, StepState.REQUESTED, at_ms=ms(9)))
        assert [(step.by, step.state) for step in incident.steps] == [("ben", StepState.REQUESTED)]

    def test_an_order_on_a_healthy_key_opens_an_incident(self) -> None:
        by_hand = command(by="ada", automatic=False, reason="seen on a paste site")
        change = on_command(None, by_hand, StepState.REQUESTED, at_ms=ms(1), budgets=BUDGETS)
        assert (only(change).incident_id, only(change).state, only(change).by) == ("inc_1", "open", "ada")
        assert only(on_outcome(change.case, outcome(), at_ms=ms(5))).state == "contained"

    def test_an_order_on_a_closed_incident_opens_it_again(self) -> None:
        case = silence(opened(), 3600).case
        change = on_command(case, command(at_s=9000, by="ada"), StepState.REQUESTED, at_ms=ms(9000))
        assert only(change).state == "open"
        assert silence(change.case, 9001).incidents == ()  # the silence before does not count

    def test_spending_long_after_the_cut_opens_again(self) -> None:
        change = found(contained(), finding(200))
        assert (only(change).state, only(change).severity) == ("open", "critical")
        assert "Still spending $3.00/min" in only(change).transition

    @pytest.mark.parametrize(
        ("case", "at_s", "usd_per_min"), [("the window runs out", 100, 3.0), ("only knocking", 900, 0.0)]
    )
    def test_findings_that_do_not_doubt_the_cut(self, case: str, at_s: float, usd_per_min: float) -> None:
        assert shown(found(contained(), finding(at_s, usd_per_min=usd_per_min)).case).state == "contained", case


class TestPeople:
    def test_acknowledge(self) -> None:
        incident = only(ask(opened(), "acknowledge"))
        assert (incident.state, incident.by, incident.seq) == ("acknowledged", "ada", 2)

    def test_resolve_says_that_the_key_stays_cut(self) -> None:
        incident = only(ask(contained(), "resolve"))
        assert incident.state == "resolved"
        assert "stays cut" in incident.transition

    def test_false_positive_wants_the_key_back(self) -> None:
        change = ask(contained(), "false_positive")
        assert only(change).state == "false_positive"
        assert change.wants_restore
        assert "disable will be undone" in only(change).transition

    def test_false_positive_of_an_uncut_key_wants_nothing(self) -> None:
        assert not ask(opened(), "false_positive").wants_restore

    def test_false_positive_cannot_undo_a_revocation(self) -> None:
        case = on_command(opened(), command("revoke"), StepState.REQUESTED, at_ms=ms(1)).case
        change = ask(on_outcome(case, outcome("revoke"), at_ms=ms(5)).case, "false_positive")
        assert not change.wants_restore
        assert "needs a new key" in only(change).transition

    def test_a_cut_confirmed_after_the_false_positive_is_given_back_too(self) -> None:
        case = on_command(opened(), command(), StepState.REQUESTED, at_ms=ms(1)).case
        change = on_outcome(ask(case, "false_positive", 2).case, outcome(), at_ms=ms(5))
        assert change.wants_restore
        assert only(change).state == "false_positive"

    def test_the_morning_after_a_resolved_incident_can_still_be_a_false_positive(self) -> None:
        change = ask(silence(contained(), 3600).case, "false_positive", 9000)
        assert only(change).state == "false_positive"
        assert change.wants_restore

    @pytest.mark.parametrize(
        ("state", "action"),
        [
            ("none", "acknowledge"), ("none", "false_positive"), ("acknowledged", "acknowledge"),
            ("contained", "acknowledge"), ("resolved", "acknowledge"), ("resolved", "resolve"),
            ("false_positive", "resolve"), ("false_positive", "false_positive"), ("open", "contain"),
            ("open", "restore"),
        ],
    )  # fmt: skip
    def test_what_changes_nothing_says_why(self, state: str, action: str) -> None:
        cases = {
            "none": KeyCase(key_id=KEY),
            "open": opened(),
            "contained": contained(),
            "acknowledged": ask(opened(), "acknowledge").case,
            "resolved": ask(opened(), "resolve").case,
            "false_positive": ask(opened(), "false_positive").case,
        }
        change = ask(cases[state], action, 99)
        assert change.incidents == ()
        assert change.reason
        assert change.case.incident == cases[state].incident


class TestSilence:
    def test_ends_an_incident_at_the_moment_it_was_long_enough(self) -> None:
        incident = only(silence(opened(), 100_000))
        assert (incident.state, incident.updated_at_ms) == ("resolved", ms(RESPONSES.resolve_after_s))

    def test_too_short(self) -> None:
        assert silence(opened(), RESPONSES.resolve_after_s - 0.001).incidents == ()

    def test_a_contained_key_stays_cut_and_the_words_say_so(self) -> None:
        incident = only(silence(contained(), 3600))
        assert incident.state == "resolved"
        assert "stays cut" in incident.transition
        assert incident.steps[0].state == StepState.CONFIRMED

    def test_an_unanswered_approval_is_named(self) -> None:
        case = on_command(opened(), command(), StepState.AWAITING_APPROVAL, at_ms=ms(1)).case
        assert "Nobody approved: disable" in only(silence(case, 3600)).transition

    def test_does_not_hide_a_failed_step(self) -> None:
        case = on_outcome(opened(), outcome(state=StepState.IRREVOCABLE), at_ms=ms(5)).case
        assert silence(case, 100_000).incidents == ()
        assert only(ask(case, "resolve")).state == "resolved"

    def test_nothing_open(self) -> None:
        assert silence(KeyCase(key_id=KEY), 0).incidents == ()


class TestRefractory:
    @pytest.mark.parametrize(
        ("case", "how", "at_s", "changes", "opens"),
        [
            ("soon, not critical", "resolve", 100, {}, False),
            ("soon, critical", "resolve", 100, {"usd_per_min": 50.0}, True),
            ("later, not critical", "resolve", 960, {}, True),
            ("just before", "resolve", 959, {}, False),
            ("judged harmless, soon", "false_positive", 100, {"usd_per_min": 5.0}, False),
            ("judged harmless, now more than twice as dear", "false_positive", 100, {"usd_per_min": 50.0}, True),
            ("another family than the one judged", "false_positive", 100,
             {"family": "policy", "score": 3.0, "usd_per_min": 0.1}, True),
            ("judged harmless, later", "false_positive", 961, {}, True),
        ],
    )  # fmt: skip
    def test_after_closing(self, case: str, how: str, at_s: float, changes: dict[str, Any], opens: bool) -> None:
        closed = ask(opened(), how).case
        change = found(closed, finding(at_s, **changes))
        assert (len(change.incidents) == 1) is opens, case
        assert change.reason
        if opens:
            assert only(change).incident_id != closed.closed_id
            assert (only(change).seq, only(change).state) == (1, "open")

    def test_the_same_critical_thing_that_a_person_called_harmless_is_left_alone(self) -> None:
        loud = found(None, finding(usd_per_min=50.0)).case
        change = found(ask(loud, "false_positive").case, finding(61, usd_per_min=60.0))
        assert change.incidents == ()
        assert "false positive" in change.reason

    def test_the_finding_that_meets_a_long_silent_incident_opens_a_new_one(self) -> None:
        closed = silence(opened(), 7200).case
        assert len(found(closed, finding(7200)).incidents) == 1


def test_the_mode_follows_key_and_environment() -> None:
    responses = ResponsesConfig(modes={"prod": "approve"}, key_modes={"other": "auto"})
    assert only(on_finding(None, finding(), responses=responses, budgets=BUDGETS)).mode == "approve"


def test_a_case_survives_storage() -> None:
    case = found(contained(), finding(60, "economics", facts=KeyFacts(provider="openai"))).case
    assert KeyCase.from_bytes(case.to_bytes()) == case
