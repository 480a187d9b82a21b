"""A person's word in the decide stage: who may say it, how often it counts, and that each is in the audit."""

from __future__ import annotations

import pytest

from alerting.case import KeyCase
from controls.people import People
from schemas.config import BudgetsConfig, PeopleConfig, ResponsesConfig
from schemas.records import AuditRow, Request, Step, StepState
from streams.decide_core import Decider, Decision
from streams.topics import Topic
from tests.streams.test_decide import feed, stage
from tests.streams.world import KEY, STEPS, T0, MemoryOutbox, MemoryShards, decider, finding, outcome, request, specs

TEAM = {
    "vera": {"role": "viewer"}, "rosa": {"role": "responder"}, "ada": {"role": "approver"},
    "bea": {"role": "approver"},
}  # fmt: skip
HOUR_MS = 3_600_000


def staffed(mode: str = "approve", steps: dict[Step, bool] | None = None) -> Decider:
    offered = specs(STEPS if steps is None else steps)
    people = People(PeopleConfig.model_validate({"people": TEAM}))
    return Decider(ResponsesConfig(mode=mode), BudgetsConfig(), lambda key_id, facts: offered, people)


def case_of(decision: Decision) -> KeyCase:
    assert decision.case is not None
    return decision.case


def said(word: Request, **changes: object) -> Request:
    return word.model_copy(update=changes)


REVOKE_ONLY: dict[Step, bool] = {"revoke": False}


@pytest.mark.parametrize(
    ("by", "steps", "step", "why"),
    [
        ("rosa", STEPS, None, ""),
        ("vera", STEPS, None, "vera is viewer; approve needs responder"),
        ("mallory", STEPS, None, "mallory is not in people.yaml"),
        ("keyfuse", STEPS, None, "keyfuse is not in people.yaml"),
        ("rosa", REVOKE_ONLY, None, "rosa is responder; approve for good needs approver"),
        ("ada", REVOKE_ONLY, None, ""),
    ],
)
def test_an_approval_counts_by_the_role(by: str, steps: dict[Step, bool], step: Step | None, why: str) -> None:
    rules = staffed(steps=steps)
    waiting = rules.finding(None, finding(0, family="policy"))
    decision = rules.request(waiting.case, request("approve", by=by, step=step))
    [row] = decision.audit
    assert (row.actor, row.action, row.result) == (by, "approve", "refused" if why else "taken")
    assert decision.reason == why or not why
    assert [command.approvals for command in decision.commands] == ([] if why else [(by,)])


def test_for_good_in_production_needs_two_people_and_the_same_one_twice_is_one() -> None:
    rules = staffed(steps=REVOKE_ONLY)
    waiting = rules.finding(None, finding(0, family="policy"))
    one = rules.request(waiting.case, request("approve", 10, by="ada"))
    assert "(1 of 2 people: ada)" in one.incidents[-1].transition
    again = rules.request(one.case, request("approve", 20, by="ada"))
    assert again.incidents == ()
    assert case_of(again).incident is not None
    assert [step.state for step in case_of(again).incident.steps] == [StepState.AWAITING_APPROVAL]  # type: ignore[union-attr]  # asserted
    two = rules.request(again.case, request("approve", 30, by="bea"))
    assert [command.approvals for command in two.commands] == [("ada", "bea")]
    assert two.incidents[-1].steps[-1].state == StepState.REQUESTED


def test_who_approved_what_expired_approves_anew() -> None:
    rules = staffed(steps=REVOKE_ONLY)
    waiting = rules.finding(None, finding(0, family="policy"))
    one = rules.request(waiting.case, request("approve", 10, by="ada"))
    for minute in range(25, 90, 25):  # it goes on, so that silence does not end the incident
        one = rules.finding(one.case, finding(minute * 60, family="policy"))
    late = rules.request(one.case, request("approve", 5000, by="bea"))
    assert [command.approvals for command in late.commands] == [("bea",)]
    assert late.incidents[-1].steps[-1].state == StepState.AWAITING_APPROVAL


@pytest.mark.parametrize(("expire_after_s", "behind"), [(3600, ("bea",)), (300_000, ("ada", "bea"))])
def test_an_approval_of_yesterday_does_not_count_either_while_event_time_stands_still(
    expire_after_s: float, behind: tuple[str, ...]
) -> None:
    rules = staffed(steps=REVOKE_ONLY)
    rules.responses = ResponsesConfig.model_validate(
        {"mode": "approve", "approvals": {"expire_after_s": expire_after_s}}
    )
    one = rules.request(None, request("contain", 0, by="ada"))
    late = rules.request(one.case, request("contain", 86_400, by="bea"))  # no use of any key in between
    assert [command.approvals for command in late.commands] == [behind]


def test_people_who_stood_behind_an_earlier_cut_do_not_stand_behind_the_next() -> None:
    rules = staffed(steps=REVOKE_ONLY)
    asked = rules.request(None, request("contain", 1, by="ada"))
    both = rules.request(asked.case, request("approve", 2, by="bea"))
    done = rules.outcome(both.case, outcome(both.commands[0]), at_ms=T0 + 3000)
    closed = rules.request(done.case, request("resolve", 4, by="rosa"))
    again = rules.request(closed.case, request("contain", 5, by="ada"))
    assert [command.approvals for command in again.commands] == [("ada",)]


def test_a_rejected_step_is_not_ordered_again_by_itself() -> None:
    rules = staffed()
    waiting = rules.finding(None, finding(0, family="policy"))
    no = rules.request(waiting.case, request("reject", 10, by="rosa"))
    assert no.incidents[-1].steps[-1].state == StepState.REJECTED
    on = rules.finding(no.case, finding(600, family="policy"))
    assert on.commands == ()
    yes = rules.request(on.case, request("contain", 700, by="rosa"))
    assert [command.step for command in yes.commands] == ["disable"]


@pytest.mark.parametrize("action", ["contain", "approve", "restore", "acknowledge", "reject"])
def test_the_same_word_twice_counts_once(action: str) -> None:
    rules = decider("approve")
    waiting = rules.finding(None, finding(0, family="policy"))
    word = request(action)
    first = rules.request(waiting.case, word)
    again = rules.request(first.case, said(word, at_ms=word.at_ms + 5000))
    assert (again.commands, again.incidents, again.audit, again.case) == ((), (), (), first.case)
    assert first.commands or first.incidents


def test_a_button_of_an_old_incident_does_nothing_to_the_new_one() -> None:
    rules = decider("approve")
    first = rules.finding(None, finding(0, family="policy"))
    old = first.incidents[0].incident_id
    over = rules.silence(first.case, T0 + 3 * HOUR_MS)
    new = rules.finding(over.case, finding(4 * 3600, family="policy"))
    for action in ("approve", "contain", "acknowledge", "false_positive", "restore"):
        decision = rules.request(new.case, said(request(action, 5 * 3600), incident_id=old))
        assert (decision.commands, decision.incidents) == ((), ())
        assert "that incident is over" in decision.audit[0].detail["why"]


@pytest.mark.parametrize("action", ["restore", "false_positive", "expected", "snooze", "approve", "reject"])
def test_a_word_on_a_key_of_which_only_a_forged_order_spoke_does_not_stop_the_stage(action: str) -> None:
    rules = decider()
    order = rules.finding(None, finding(0, family="policy")).commands[0]
    forged = outcome(order, StepState.REFUSED).model_copy(update={"rule": "bad_signature"})
    left = rules.outcome(None, forged, at_ms=T0)
    decision = rules.request(left.case, request(action))
    assert decision.commands == ()
    assert [row.result for row in decision.audit] == ["no_effect"]


def test_what_does_not_wait_cannot_be_approved() -> None:
    rules = decider("auto")
    first = rules.finding(None, finding(0, family="velocity"))
    decision = rules.request(first.case, request("approve"))
    assert (decision.commands, decision.audit[0].result) == ((), "no_effect")
    assert "waits for an approval" in decision.reason


def test_what_is_expected_is_marked_and_gives_the_key_back() -> None:
    rules = decider()
    first = rules.finding(None, finding(0, family="velocity"))
    second = rules.finding(first.case, finding(1, family="origin"))
    cut = rules.outcome(second.case, outcome(second.commands[0]), at_ms=T0 + 2000)
    word = said(request("expected"), until_ms=T0 + 4 * HOUR_MS, reason="load test")
    decision = rules.request(cut.case, word)
    assert [command.step for command in decision.commands] == ["restore"]
    [mark] = decision.marks
    assert (mark.verdict, mark.key_id, mark.from_ms, mark.until_ms) == ("expected", KEY, word.at_ms, word.until_ms)
    assert (mark.families, mark.by, mark.reason) == ((), "ana", "load test")


@pytest.mark.parametrize("action", ["false_positive", "expected"])
@pytest.mark.parametrize(("rule", "given_back"), [("", ["restore"]), ("no_provider", [])])
def test_a_cut_that_failed_is_given_back_too_for_it_may_have_happened(
    action: str, rule: str, given_back: list[str]
) -> None:
    rules = decider()
    ordered = rules.finding(None, finding(0, family="policy"))
    failed = outcome(ordered.commands[0], StepState.IRREVOCABLE).model_copy(update={"rule": rule})
    paged = rules.outcome(ordered.case, failed, at_ms=T0 + 1000)
    over = rules.request(paged.case, said(request(action), until_ms=T0 + HOUR_MS))
    assert [command.step for command in over.commands] == given_back
    assert ("The key is given back" in over.incidents[0].transition) == bool(given_back)


def test_a_secret_in_a_reason_does_not_reach_the_audit() -> None:
    secret = "sk-proj-" + "a1B2" * 30
    word = Request.model_validate({**request("contain").model_dump(), "reason": f"found {secret}"})
    decision = decider().request(None, word)
    assert all(secret not in record.model_dump_json() for record in (word, *decision.audit, *decision.incidents))


async def test_each_word_is_written_into_the_audit() -> None:
    outbox = MemoryOutbox()
    one = stage(MemoryShards(), outbox)
    for record in (finding(0), request("acknowledge"), request("acknowledge"), request("resolve", 70)):
        await feed(one, record.to_bytes())
    rows = [(row.action, row.result) for row in outbox.of(Topic.AUDIT) if isinstance(row, AuditRow)]
    assert rows == [("acknowledge", "taken"), ("resolve", "taken")]
