"""Whose answer counts: as a table of people, questions and reasons."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.asking import digest_of
from controls.people import NOBODY, People
from controls.questions import answer_row, answered, next_step, reminded, shown, why_not, withdrawn
from schemas.config import PeopleConfig
from schemas.question import Answer, Unanswered
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
        ({"choices": ()}, "ada", "keep", "it asks for a deed, not for a word: do what it says"),
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


MIN_MS = 60_000
STEPS = (
    Unanswered(name="remind", at_ms=100, words="reminded"), Unanswered(name="cut", at_ms=200, words="cut", harms=True),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "now_ms", "due"),
    [
        ({}, 99, ""),
        ({}, 100, "remind"),
        ({}, 1000, "remind"),  # one after another, however late
        ({"reminders": ({"at_ms": 100, "words": ""},), "shown_at_ms": 1}, 199, ""),
        ({"reminders": ({"at_ms": 100, "words": ""},), "shown_at_ms": 1}, 200, "cut"),
        ({"reminders": ({"at_ms": 100, "words": ""},)}, 1000, ""),  # nobody was shown it
        ({"state": "answered"}, 1000, ""),
        ({"steps": ()}, 1000, ""),
    ],
)
def test_what_is_due_while_nobody_answers(changes: dict[str, Any], now_ms: int, due: str) -> None:
    step = next_step(question(**({"steps": STEPS} | changes)), now_ms)
    assert (step.name if step else "") == due


@given(pauses_min=st.lists(st.integers(0, 500), min_size=2, max_size=40), shown_min=st.none() | st.integers(0, 300))
def test_whatever_pauses_there_are_no_step_comes_before_it_was_stated_and_none_without_the_one_before(
    pauses_min: list[int], shown_min: int | None
) -> None:
    steps = tuple(step.model_copy(update={"at_ms": step.at_ms * MIN_MS}) for step in STEPS)
    one, now_ms = question(asked_at_ms=0, steps=steps, deadline_ms=200 * MIN_MS), 0
    taken: list[tuple[str, int]] = []
    for pause in pauses_min:
        now_ms += pause * MIN_MS
        if shown_min is not None and one.shown_at_ms is None and now_ms >= shown_min * MIN_MS:
            one = shown(one, now_ms)
        step = next_step(one, now_ms)
        if step is not None:
            assert now_ms >= step.at_ms
            one = reminded(one, step.words, now_ms, to=("bo",))
            taken.append((step.name, now_ms))
    assert [name for name, _ in taken] == ["remind", "cut"][: len(taken)]
    if len(taken) == 2:
        assert one.shown_at_ms is not None
        assert taken[1][1] - max(taken[0][1], one.shown_at_ms) >= 100 * MIN_MS
    if taken:
        assert one.to == ("ada", "bo")


def test_a_message_is_not_edited_because_it_was_just_shown() -> None:
    asked = question(steps=STEPS)
    assert digest_of(shown(asked, asked.asked_at_ms + MIN_MS - 1)) == digest_of(asked)
    assert digest_of(shown(asked, asked.asked_at_ms + MIN_MS)) != digest_of(asked)


def test_the_audit_says_who_answered_what_and_why_it_did_not_count() -> None:
    row = answer_row(question(), answer("eve"), "refused", "eve is not in people.yaml")
    assert (row.actor, row.action, row.key_id, row.result) == ("eve", "answer_revalidation", "key-1", "refused")
    assert row.detail["why"] == "eve is not in people.yaml"
    assert row == answer_row(question(), answer("eve"), "refused", "eve is not in people.yaml")
