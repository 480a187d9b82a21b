"""Whose answer counts: as a table of people, questions and reasons."""

from __future__ import annotations

from typing import Any

import pytest

from controls.people import NOBODY, People
from controls.questions import answer_row, answered, why_not, withdrawn
from schemas.config import PeopleConfig
from schemas.question import Answer
from schemas.records import Via
from tests.alerting.questions import question

TEAM = People(
    PeopleConfig.model_validate(
        {"people": {"vera": {"role": "viewer"}, "rosa": {"role": "responder"}, "ada": {"role": "approver"}}}
    )
)


def answer(by: str, choice: str = "keep", via: Via = "terminal") -> Answer:
    return Answer(question_id="rev:key-1:1", by=by, choice=choice, via=via, at_ms=1)


@pytest.mark.parametrize(
    ("changes", "by", "choice", "why"),
    [
        ({"to": ("vera",)}, "vera", "keep", ""),
        ({"to": ("vera",)}, "ada", "keep", ""),
        ({"to": ("vera",)}, "rosa", "keep", "rosa is responder; asked is vera, and it needs approver otherwise"),
        ({"to": ("vera",), "needs": "admin"}, "ada", "keep",
         "ada is approver; asked is vera, and it needs admin otherwise"),
        ({"to": ()}, "rosa", "keep", "rosa is responder; asked is nobody by name, and it needs approver otherwise"),
        ({}, "eve", "keep", "eve is not in people.yaml"),
        ({}, "", "keep", "it does not say who answers"),
        ({"asked_by": "ada"}, "ada", "keep", "ada asked for it: somebody else has to answer"),
        ({"asked_by": "ada"}, "Ada", "keep", "Ada asked for it: somebody else has to answer"),
        ({}, "ada", "perhaps", "perhaps is no answer to it: choose keep or drop"),
        ({"state": "answered", "answered_by": "bo", "answer": "drop"}, "ada", "keep",
         "bo has answered it already: Disable it"),
        ({"state": "withdrawn", "outcome": "the key is gone"}, "ada", "keep",
         "the question is withdrawn: the key is gone"),
    ],
)  # fmt: skip
def test_an_answer_counts_of_who_is_asked_or_has_the_role_and_never_of_who_wishes(
    changes: dict[str, Any], by: str, choice: str, why: str
) -> None:
    assert why_not(question(**changes), answer(by, choice), TEAM) == why


@pytest.mark.parametrize(("via", "counts"), [("terminal", True), ("api", True), ("slack", False)])
def test_where_nobody_is_named_only_who_can_reach_keyfuse_counts(via: Via, counts: bool) -> None:
    assert (why_not(question(), answer("U0EVE", via=via), NOBODY) == "") == counts


def test_where_nobody_is_named_the_asker_is_still_somebody_else() -> None:
    assert "somebody else" in why_not(question(asked_by="ana"), answer("ana"), NOBODY)


def test_what_became_of_a_question_is_its_next_version() -> None:
    kept = answered(question(), answer("ada"), "kept for 90 days")
    assert (kept.state, kept.answered_by, kept.answer, kept.outcome) == ("answered", "ada", "keep", "kept for 90 days")
    gone = withdrawn(question(), "the key is gone")
    assert (gone.state, gone.answered_by, gone.outcome) == ("withdrawn", "", "the key is gone")


def test_the_audit_says_who_answered_what_and_why_it_did_not_count() -> None:
    row = answer_row(question(), answer("eve"), "refused", "eve is not in people.yaml")
    assert (row.actor, row.action, row.key_id, row.result) == ("eve", "answer_revalidation", "key-1", "refused")
    assert row.detail["why"] == "eve is not in people.yaml"
    assert row == answer_row(question(), answer("eve"), "refused", "eve is not in people.yaml")
