"""Other owners and people who leave: somebody answers for each key at once, and its secret is due."""

from __future__ import annotations

from typing import Any

import pytest

from controls.people import NOBODY
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.life import PersonLeft, TransferKey
from schemas.question import QuestionShown
from tests.alerting.questions import question
from tests.controls.lives import DAY_MS, HOUR_MS, T0_MS, Life, key


def transfer(**changes: Any) -> TransferKey:
    return TransferKey(**({"request_id": "t", "by": "vera", "at_ms": T0_MS, "key_id": "k1", "to": "rosa"} | changes))


def left(**changes: Any) -> PersonLeft:
    return PersonLeft(**({"request_id": "l", "by": "ada", "at_ms": T0_MS, "person": "vera"} | changes))


def test_a_transfer_gives_the_key_another_owner_and_makes_its_secret_due() -> None:
    life = Life(keys=(key(),))
    told = life.take(transfer(reason="vera changed teams"))
    record = life.key()
    assert (record.owner, record.rotate_by_ms) == ("rosa", T0_MS + 14 * DAY_MS)
    assert record.change == "rosa answers for it instead of vera: vera changed teams"
    assert (told.audit[0].action, told.audit[0].result, told.audit[0].detail["to"]) == ("transfer_key", "taken", "rosa")
    life.passes(days=7.1)
    (notice,) = life.open("rotation")
    assert (notice.to, notice.lines["Why"]) == (
        ("rosa",),
        "somebody who does not answer for it any more knows its secret",
    )


def test_a_key_of_nobody_has_no_secret_that_somebody_else_knows() -> None:
    life = Life(keys=(key(owner=""),))
    life.take(transfer(by="ada"))
    assert (life.key().owner, life.key().rotate_by_ms) == ("rosa", None)


@pytest.mark.parametrize(
    ("changes", "of_key", "words"),
    [
        ({"key_id": "k9"}, {}, "no key k9 is registered"),
        ({"to": "eve"}, {}, "eve is not in people.yaml"),
        ({"to": ""}, {}, "nobody is not in people.yaml"),
        ({"to": "vera"}, {}, "vera answers for it already"),
        ({"by": "rosa"}, {}, "rosa is responder; the key is vera's, and it needs approver otherwise"),
        ({}, {"state": "pending"}, "it is not issued yet: refuse it, and ask for another"),
        ({}, {"state": "retired"}, "it is retired: nobody needs to answer for it any more"),
    ],
)
def test_why_somebody_else_may_not_answer_for_it(changes: dict[str, Any], of_key: dict[str, Any], words: str) -> None:
    told = Life(keys=(key(**of_key),)).take(transfer(**changes))
    assert (told.keys, told.audit[0].result, told.audit[0].detail["why"]) == ((), "refused", words)


def test_whoever_leaves_leaves_no_key_without_an_owner() -> None:
    keys = (key(), key("k2", state="disabled"), key("k3", state="retiring"), key("k4", state="retired"),
            key("k5", owner="rosa"), key("k6", owner="Vera"))  # fmt: skip
    life = Life(keys=keys)
    told = life.take(left())
    assert {name: life.key(name).owner for name in ("k1", "k2", "k3", "k4", "k5", "k6")} == {
        "k1": "ada", "k2": "ada", "k3": "ada", "k4": "vera", "k5": "rosa", "k6": "ada",
    }  # fmt: skip
    assert life.key("k1").change == "its owner vera has left: ada answers for it"
    assert {each.key_id for each in told.keys if each.rotate_by_ms == T0_MS + 72 * HOUR_MS} == {"k1", "k6"}
    assert sorted(told.audit[0].detail["keys"]) == ["k1", "k2", "k3", "k6"]
    life.passes(hours=1)
    assert {each.about: each.to for each in life.open("rotation")} == {"k1": ("ada",), "k6": ("ada",)}
    again = life.take(left(request_id="l2"))
    assert (again.keys, again.audit[0].result) == ((), "no_effect")


def test_what_a_pending_key_waits_for_still_stands_in_it_when_its_owner_leaves() -> None:
    life = Life(keys=(key(state="pending", change="asked for; waits for an approver: prod"),))
    life.take(left())
    record = life.key()
    assert (record.owner, record.by, record.rotate_by_ms) == ("ada", "vera", None)
    assert record.change == "asked for; waits for an approver: prod"


def test_an_owner_of_keys_yaml_who_left_is_not_its_owner_any_more() -> None:
    written = KeysConfig(keys=(KeyConfig(key_id="k1", provider="openai", owner="vera"),))
    life = Life(config=written)
    life.take(left(to="rosa"))
    assert life.key().owner == "rosa"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by": "rosa"}, "rosa is responder; it needs approver"),
        ({"by": "eve"}, "eve is not in people.yaml"),
        ({"person": ""}, "it does not say who has left"),
        ({"to": "vera"}, "vera cannot take the keys over: they are not in people.yaml, or leave themselves"),
        ({"to": "eve"}, "eve cannot take the keys over: they are not in people.yaml, or leave themselves"),
    ],
)
def test_why_a_leaving_is_not_believed(changes: dict[str, Any], words: str) -> None:
    told = Life(keys=(key(),)).take(left(**changes))
    assert (told.keys, told.audit[0].detail["why"]) == ((), words)


def test_a_signed_call_needs_nobodys_role() -> None:
    assert Life(keys=(key(),)).take(left(by="hr", via="api")).keys


def test_with_nobody_there_to_answer_the_owner_stays_and_the_secret_is_due() -> None:
    life = Life(keys=(key(),), people=NOBODY)
    life.take(left())
    assert (life.key().owner, life.key().rotate_by_ms) == ("vera", T0_MS + 72 * HOUR_MS)
    assert "NOBODY is there to answer for it" in life.key().change


def test_a_secret_that_is_due_sooner_stays_so() -> None:
    life = Life(keys=(key(rotate_by_ms=T0_MS + HOUR_MS),))
    life.take(transfer())
    assert life.key().rotate_by_ms == T0_MS + HOUR_MS


def test_whoever_was_shown_a_question_first_is_remembered_of_every_kind() -> None:
    life = Life()
    life.state.questions["q"] = question(question_id="q", kind="exception")
    life.take(QuestionShown(question_id="q", at_ms=T0_MS + 5))
    life.take(QuestionShown(question_id="q", at_ms=T0_MS + 9))
    assert life.state.questions["q"].shown_at_ms == T0_MS + 5
    assert not life.take(QuestionShown(question_id="nobody-asked", at_ms=T0_MS))
