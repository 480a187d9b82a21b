"""Is the key still needed? Every step is stated before it happens, can be undone, and touches only what it may."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controls.people import NOBODY
from schemas.config.keys import KeyConfig, KeysConfig
from schemas.life import RevalidateKey
from schemas.records import Mode
from tests.controls.lives import DAY_MS, T0_MS, Life, key

ON = KeysConfig.model_validate({"revalidation": {"enabled": True}})


def asked(**changes: Any) -> Life:
    """Vera has just been asked whether k1 is needed."""
    life = Life(config=ON, keys=(key(**changes),))
    life.passes(days=90.01)
    return life


def states(life: Life, days: range) -> dict[int, str]:
    """The key's state on each of the days after the question."""
    found: dict[int, str] = {}
    for day in days:
        life.passes(days=1, steps=4)
        found[day] = life.key().state
    return found


def test_a_campaign_asks_reminds_escalates_throttles_and_disables_as_it_said() -> None:
    life = asked()
    first = life.question()
    assert (first.to, first.about, [each.name for each in first.choices]) == (
        ("vera",),
        "k1",
        ["keep", "drop", "not_mine"],
    )
    stated = {step.name: step.at_ms for step in first.steps}
    assert [round((at_ms - first.asked_at_ms) / DAY_MS) for at_ms in stated.values()] == [7, 10, 14, 21]
    assert [step.words for step in first.steps] == [
        "you are asked again", "asked as well: ada, bo", "the key is throttled", "the key is disabled"
    ]  # fmt: skip
    seen = states(life, range(1, 24))
    assert [day for day in seen if seen[day] == "throttled"] == list(range(14, 21))
    assert [day for day in seen if seen[day] == "disabled"] == list(range(21, 24))
    last = life.question()
    assert set(last.to) == {"vera", "ada", "bo"}
    for reminder, at_ms in zip(last.reminders, stated.values(), strict=True):
        assert 0 <= reminder.at_ms - at_ms < DAY_MS / 2
    assert [row.action for row in life.rows("revalidation_throttle") + life.rows("revalidation_disable")] == [
        "revalidation_throttle", "revalidation_disable"
    ]  # fmt: skip
    assert life.requests() == []  # gates read the record; nobody else has to be told of a key of Keyfuse's own


def test_nothing_is_asked_where_campaigns_are_off_or_it_is_not_time() -> None:
    life = Life(keys=(key(),))
    life.passes(days=365)
    assert life.open("revalidation") == []
    life = Life(config=ON, keys=(key(revalidated_ms=T0_MS + 30 * DAY_MS), key("k2", state="retired")))
    life.passes(days=119)
    assert life.open("revalidation") == []


@pytest.mark.parametrize("day", [3, 12, 18, 30])
def test_still_needed_undoes_whatever_was_done(day: int) -> None:
    life = asked(kind="provider", provider="openai")
    states(life, range(day))
    before = life.key().state
    life.answers(life.question(), "vera", "keep", "the ranker uses it")
    kept = life.key()
    assert (kept.state, kept.revalidated_ms, kept.by) == ("active", life.now_ms, "vera")
    assert kept.change.endswith("the ranker uses it")
    question = life.question()
    assert (question.state, question.answered_by, question.outcome) == (
        "answered", "vera", "The next question comes in 90 days."
    )  # fmt: skip
    ordered = [(each.action, each.step, each.by, each.via) for each in life.requests()]
    cut = [("contain", "throttle", "keyfuse", "identity"), ("contain", None, "keyfuse", "identity")]
    number = {"active": 0, "throttled": 1, "disabled": 2}[before]
    assert ordered == cut[:number] + ([("restore", None, "vera", "identity")] if number else [])
    life.passes(days=89)
    assert life.open("revalidation") == []
    life.passes(days=1.1)
    assert len(life.open("revalidation")) == 1


def test_not_needed_disables_it_at_once_and_it_can_come_back() -> None:
    life = asked(kind="provider", provider="openai")
    life.answers(life.question(), "ada", "drop")
    assert (life.key().state, life.key().by) == ("disabled", "ada")
    (order,) = life.requests()
    assert (order.action, order.step, order.by, order.alone) == ("contain", None, "ada", True)
    life.take(RevalidateKey(request_id="back", by="vera", at_ms=life.now_ms, key_id="k1", reason="it is needed"))
    assert life.key().state == "active"
    assert life.requests()[-1].action == "restore"


def test_not_mine_asks_the_approvers_instead_and_the_steps_go_on() -> None:
    life = asked()
    life.answers(life.question(), "vera", "not_mine")
    assert life.question().to == ("ada", "bo")
    assert life.question().lines["Not theirs"] == "says vera"
    seen = states(life, range(1, 22))
    assert (seen[13], seen[14], seen[21]) == ("active", "throttled", "disabled")


@pytest.mark.parametrize(
    ("changes", "mode", "words"),
    [
        ({"protected": True}, "auto", "you are asked again: the key is protected, nothing is done to it"),
        ({}, "observe", "you are asked again: the mode is observe, a person disables it"),
        ({}, "approve", "you are asked again: the mode is approve, a person disables it"),
    ],
)
def test_silence_never_touches_a_protected_key_nor_one_whose_mode_wants_a_person(
    changes: dict[str, Any], mode: Mode, words: str
) -> None:
    life = asked(**changes)
    if mode != "auto":
        life = Life(config=ON, keys=(key(),), mode=mode)
        life.passes(days=90.01)
    assert [step.words for step in life.question().steps[2:]] == [words, words]
    assert set(states(life, range(1, 40)).values()) == {"active"}
    assert len(life.question().reminders) == 4
    life.answers(life.question(), "ada", "drop")  # a person's word
    assert life.key().state == "disabled"


def test_a_key_that_became_protected_since_it_was_asked_about_is_spared() -> None:
    life = asked()
    life.mode = "observe"
    assert set(states(life, range(1, 30)).values()) == {"active"}


def test_nobody_is_cut_off_who_was_never_shown_the_question() -> None:
    life = Life(config=ON, keys=(key(),), shows=False)
    life.passes(days=90.01)
    assert set(states(life, range(1, 60)).values()) == {"active"}
    assert [len(life.question().reminders), set(life.question().to)] == [2, {"vera", "ada", "bo"}]


def test_a_pause_of_keyfuse_moves_the_steps_and_skips_none() -> None:
    life = asked()
    life.passes(days=60)
    assert (life.key().state, len(life.question().reminders)) == ("active", 1)
    seen = states(life, range(1, 16))
    assert [min(day for day in seen if seen[day] == state) for state in ("throttled", "disabled")] == [7, 14]


@pytest.mark.parametrize(
    ("by", "choice", "words"),
    [
        ("rosa", "keep", "rosa is responder; asked is vera, and it needs approver otherwise"),
        ("eve", "keep", "eve is not in people.yaml"),
        ("vera", "maybe", "maybe is no answer to it: choose keep or drop or not_mine"),
    ],
)
def test_an_answer_that_does_not_count_is_in_the_audit(by: str, choice: str, words: str) -> None:
    life = asked()
    told = life.answers(life.question(), by, choice)
    assert (told.keys, told.questions, told.audit[0].result, told.audit[0].detail["why"]) == ((), (), "refused", words)


def test_a_key_of_nobody_known_is_its_approvers_question() -> None:
    for owner in ("", "someone-who-left"):
        assert asked(owner=owner).question().to == ("ada", "bo")
    team = KeysConfig.model_validate(
        {"revalidation": {"enabled": True}, "issuing": {"approvers": {"search": ["rosa"]}}}
    )
    life = Life(config=team, keys=(key(owner=""),))
    life.passes(days=91)
    assert life.question().to == ("rosa",)


def test_a_key_without_dates_is_asked_about_at_once_but_never_more_than_the_day_has_room_for() -> None:
    settings = {"enabled": True, "most_per_day": 3}
    keys = tuple(KeyConfig(key_id=f"k{number}", provider="openai", owner="vera") for number in range(8))
    life = Life(config=KeysConfig.model_validate({"revalidation": settings}).model_copy(update={"keys": keys}))
    life.state.registry = type(life.state.registry)(life.config)
    for expected in (3, 6, 8):
        life.passes(days=1.01, steps=10)
        assert len(life.open("revalidation")) == expected


def test_a_question_is_taken_back_when_the_key_is_gone_or_somebody_said_it_elsewhere() -> None:
    life = asked()
    life.take(RevalidateKey(request_id="r", by="vera", at_ms=life.now_ms, key_id="k1"))
    life.passes(hours=1)
    assert (life.question().state, life.question().outcome) == ("withdrawn", "vera said so already: still needed.")
    life = asked()
    gone = life.key().next(at_ms=life.now_ms, by="keyfuse", change="its time is over", state="retired")
    life.state.registry.take(gone)
    life.passes(hours=1)
    assert life.question().outcome == "The key is retired."


@pytest.mark.parametrize(
    ("of_key", "by", "words"),
    [
        ({"key_id": "k9"}, "vera", "no key k1 is registered"),
        ({"state": "retired"}, "vera", "it is retired: there is nothing to keep"),
        ({}, "rosa", "rosa is responder; the key is vera's, and it needs approver otherwise"),
    ],
)
def test_why_nothing_can_be_said_of_a_key(of_key: dict[str, Any], by: str, words: str) -> None:
    life = Life(keys=(key(**of_key),))
    told = life.take(RevalidateKey(request_id="r", by=by, at_ms=T0_MS, key_id="k1"))
    assert told.audit[0].detail["why"] == words


@settings(max_examples=40, deadline=None)
@given(
    doings=st.lists(
        st.tuples(st.sampled_from(["wait", "keep", "not_mine", "protect", "observe", "auto"]), st.floats(0, 30)),
        max_size=20,
    ),
    steps=st.integers(1, 5),
)  # fmt: skip
def test_no_history_throttles_or_disables_before_it_was_stated_shown_and_every_step_before_was_told(
    doings: list[tuple[str, float]], steps: int
) -> None:
    life = Life(config=ON, keys=(key(),), people=NOBODY)
    life.passes(days=90.01)
    for doing, days in doings:
        before, question = life.key(), life.open("revalidation")
        if doing == "wait":
            told = life.passes(days=days, steps=steps)
            harmed = [each for each in told.keys if each.state in ("throttled", "disabled")]
            for each in harmed:
                assert life.mode == "auto"
                assert not before.protected
                assert question or steps > 1
                current = life.question() if len(life.state.questions) == 1 else life.open("revalidation")[-1]
                number = ("throttled", "disabled").index(each.state) + 2
                assert current.shown_at_ms is not None
                assert len(current.reminders) > number
                assert each.at_ms - current.shown_at_ms >= (14, 21)[number - 2] * DAY_MS
        elif doing in ("keep", "not_mine") and question:
            life.answers(question[0], "vera", doing)
            assert doing != "keep" or life.key().state == "active"
        elif doing == "protect":
            life.state.registry.take(before.next(at_ms=life.now_ms, by="ada", change="protected", protected=True))
        elif doing in ("observe", "auto"):
            life.mode = "observe" if doing == "observe" else "auto"
