"""A role says what a person's word is worth; a name nobody wrote down is worth nothing."""

from __future__ import annotations

from typing import get_args

import pytest

from controls.people import NEEDED, RANKS, People
from schemas.config import PeopleConfig
from schemas.config.people import Role
from schemas.records import PeoplesAction, Via

TEAM = People(
    PeopleConfig.model_validate({"people": {
        "vera": {"role": "viewer"}, "rosa": {"role": "responder", "slack": "U0ROSA", "pagerduty": "PROSA1"},
        "ada": {"role": "approver"}, "root": {"role": "admin"},
    }})
)  # fmt: skip


@pytest.mark.parametrize("action", get_args(PeoplesAction))
def test_without_people_every_word_counts(action: PeoplesAction) -> None:
    assert not People(PeopleConfig()).why_not("anybody", action, final=True)


@pytest.mark.parametrize("action", get_args(PeoplesAction))
@pytest.mark.parametrize("via", ["slack", "pagerduty"])
def test_without_people_nobody_touches_a_key_from_elsewhere(action: PeoplesAction, via: Via) -> None:
    why = People(PeopleConfig()).why_not("U0ROSA", action, via=via)
    assert bool(why) == (action != "acknowledge")


PROOF: list[tuple[bool, Via, PeoplesAction, bool, bool]] = [
    (True, "terminal", "approve", True, False),
    (True, "terminal", "contain", True, False),
    (True, "terminal", "contain", False, True),
    (True, "slack", "approve", True, True),
    (False, "terminal", "approve", True, True),
]


@pytest.mark.parametrize(("wanted", "via", "action", "final", "counts"), PROOF)
def test_what_is_for_good_may_need_proof_of_who_says_it(
    wanted: bool, via: Via, action: PeoplesAction, final: bool, counts: bool
) -> None:
    config = PeopleConfig.model_validate({"people": {"ada": {"role": "approver"}}, "final_needs_proof": wanted})
    assert (People(config).why_not("ada", action, via=via, final=final) == "") == counts


@pytest.mark.parametrize("action", get_args(PeoplesAction))
def test_each_action_needs_its_role_and_more_is_never_less(action: PeoplesAction) -> None:
    allowed = [not TEAM.why_not(name, action) for name in ("vera", "rosa", "ada", "root")]
    assert allowed == sorted(allowed)
    assert allowed.index(True) == RANKS.index(NEEDED[action]) >= 1


ROLES: list[tuple[str, PeoplesAction, bool, str]] = [
    ("vera", "acknowledge", False, "vera is viewer; acknowledge needs responder"),
    ("rosa", "contain", False, ""),
    ("rosa", "contain", True, "rosa is responder; contain for good needs approver"),
    ("rosa", "approve", True, "rosa is responder; approve for good needs approver"),
    ("ada", "approve", True, ""),
    ("rosa", "unfreeze", False, "rosa is responder; unfreeze needs approver"),
    ("rosa", "freeze", False, ""),
    ("mallory", "acknowledge", False, "mallory is not in people.yaml"),
    ("Rosa", "acknowledge", False, "Rosa is not in people.yaml"),
    ("", "false_positive", False, "somebody without a name is not in people.yaml"),
]


@pytest.mark.parametrize(("name", "action", "final", "why"), ROLES)
def test_who_may_not_is_told_why(name: str, action: PeoplesAction, final: bool, why: str) -> None:
    assert TEAM.why_not(name, action, final=final) == why


def test_people_are_known_by_their_ids_elsewhere() -> None:
    rosa = TEAM.of_slack("U0ROSA")
    role: Role = "responder"
    assert rosa == TEAM.of_pagerduty("PROSA1") == ("rosa", role)
    assert (TEAM.of_slack(""), TEAM.of_slack("U0ELSE"), TEAM.of_pagerduty("")) == (None, None, None)
