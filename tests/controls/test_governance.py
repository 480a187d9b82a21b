"""The governance report: each line by what meets it, with evidence and what to do next."""

from __future__ import annotations

from typing import Any

import pytest

from controls.governance import Facts, Line, Report, Rotation, report
from controls.posture import Posture
from schemas.config.budgets import BudgetConfig
from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from tests.controls.test_threats import DAY_MS, NOW_MS, key

GOOD = BudgetConfig(name="b", usd=10, owner="ann", escalate_to=("pager",))
RULE = {
    "exception_id": "exc_1", "at_ms": 0, "change": "c", "state": "active", "rule": "hours", "keys": ("a",),
    "from_ms": NOW_MS - DAY_MS, "until_ms": NOW_MS + DAY_MS, "reason": "launch", "owner": "ann", "by": "ann",
    "asked_at_ms": 0, "approved_by": "bob",
}  # fmt: skip


def facts(*postures: Posture, **known: Any) -> Facts:
    plain: dict[str, Any] = {
        "budgets": [], "covered": lambda _: [], "approvers": [], "exceptions": [], "rotations": [], "follow_ups": [],
        "at_ms": NOW_MS,
    }  # fmt: skip
    return Facts(postures=list(postures), **(plain | known))


def line(made: Report, start: str) -> Line:
    return next(each for each in made.lines if each.title.startswith(start))


def follow_up(**known: Any) -> FollowUp:
    plain = {
        "follow_up_id": "fol_1", "seq": 1, "at_ms": 0, "state": "open", "incident_id": "i", "key_id": "a", "words": "w",
        "owner": "ann", "due_ms": NOW_MS - 1, "asked_by": "ann", "asked_at_ms": 0, "by": "ann",
    }  # fmt: skip
    return FollowUp.model_validate(plain | known)


def test_nothing_registered_and_nobody_named_scores_nothing() -> None:
    made = report(facts())
    assert made.score == 0
    assert {each.state for each in made.lines} == {"nothing to judge", "missing"}
    assert made.next_steps == ("Name two people with the role approver or admin in people.yaml",)


def test_what_is_met_for_all_keys_scores_a_hundred() -> None:
    whole = key(
        "a", "owner", "purpose", "expiry", "rotation", "revalidation", "backup", "models", "cut", usd_per_min=0.01
    )
    made = report(facts(whole, approvers=["ann", "bob"], budgets=[GOOD], covered=lambda _: [GOOD]))
    assert (made.score, made.next_steps) == (100, ())


def test_a_line_is_judged_by_its_share_and_names_whom_it_lacks() -> None:
    made = report(facts(key("a", "owner"), key("b")))
    owner = line(made, "An owner")
    assert (owner.state, owner.share, owner.evidence) == ("partly", 0.5, ("1 of 2 keys, from the registry",))
    assert "for b: `owner` in keys.yaml" in owner.todo[0]


def test_what_gains_most_comes_first() -> None:
    made = report(facts(key("a", "owner", "cut", "models"), approvers=["ann", "bob"]))
    assert made.next_steps[0].startswith("A theft costs no more")


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "met"),
        ({"until_ms": NOW_MS}, "nothing to judge"),
        ({"state": "asked", "approved_by": ""}, "nothing to judge"),
    ],
)
def test_exceptions_stand_with_their_end_and_who_approved(changes: dict[str, Any], state: str) -> None:
    made = report(facts(exceptions=[PolicyException.model_validate(RULE | changes)]))
    found = line(made, "Exceptions")
    assert found.state == state
    assert any("approved by bob, ends 2026-" in words for words in found.evidence) is (state == "met")


def test_a_rotation_counts_when_the_old_secret_was_seen_to_be_refused() -> None:
    done = Rotation("new", "old", NOW_MS - DAY_MS, "ann", NOW_MS, "refused at 3 of 3 gates")
    made = report(facts(rotations=[done, done._replace(old="older", refused_ms=None, proof="")]))
    found = line(made, "Rotated secrets")
    assert (found.state, found.met, found.of) == ("partly", 1, 2)
    assert "refused at 3 of 3 gates" in found.evidence[0]
    assert "older" in found.todo[0]
    assert line(report(facts(rotations=[done._replace(at_ms=0)])), "Rotated").state == "nothing to judge"


def test_follow_ups_are_judged_by_their_dates() -> None:
    known = [
        follow_up(),
        follow_up(follow_up_id="fol_2", state="done"),
        follow_up(follow_up_id="fol_3", state="dropped"),
    ]
    found = line(report(facts(follow_ups=known)), "What was decided")
    assert (found.met, found.of, found.evidence) == (
        1,
        2,
        ("1 done, 0 open, 1 overdue, 1 dropped".replace("0 open", "1 open"),),
    )
    assert "fol_1 (ann)" in found.todo[0]


def test_a_budget_without_an_owner_covers_nothing() -> None:
    bare = BudgetConfig(name="bare", usd=10)
    made = report(facts(key("a"), budgets=[GOOD, bare], covered=lambda _: [bare]))
    found = line(made, "A budget")
    assert found.state == "missing"
    assert "bare" in found.todo[0]
    assert found.evidence == ("2 budgets, 1 with an owner and an escalation path, in budgets.yaml",)


def test_expiry_is_asked_of_keys_outside_production_and_backups_of_those_inside() -> None:
    made = report(facts(key("a", env="prod"), key("b", env="dev")))
    assert (line(made, "It ends").of, line(made, "A backup").of) == (1, 1)
