"""From Slack's JSON to what was meant: each button, each form, and everything that is neither."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.answers.desk import Said
from alerting.answers.slack_forms import Origin
from alerting.answers.slack_said import Heard, KillWord, Opening, Place, Typed, Unclear, Word, Wrong, heard
from controls.people import Person
from schemas.records import EXPECTED_MAX_MS

ROSA = Person("rosa", "responder")
NOW_MS = 1_795_428_000_000  # 2026-11-23 10:00 UTC
CLICKED = "1795428000.840180"
PLACE = Place("U0ROSA", "C0123", "1795427000.000001", "https://hooks.slack.com/actions/T1/1/x", "trigger.1")
ORIGIN = Origin("inc_1", "C0123", "https://hooks.slack.com/actions/T1/1/x")


def understood(doc: Any) -> Heard | None:
    return heard(doc, people={"U0ROSA": ROSA}.get, now_ms=NOW_MS)


def click(button: str, value: str, user: str = "U0ROSA", **action: Any) -> dict[str, Any]:
    pressed = {"type": "button", "action_id": f"keyfuse_{button}", "value": value, "action_ts": CLICKED} | action
    return {
        "type": "block_actions", "user": {"id": user}, "trigger_id": PLACE.trigger_id, "channel": {"id": "C0123"},
        "container": {"type": "message", "message_ts": PLACE.message_ts, "channel_id": "C0123"},
        "response_url": PLACE.response_url, "actions": [pressed],
    }  # fmt: skip


def chosen(value: str) -> dict[str, Any]:
    return click("snooze", "", type="static_select", selected_option={"value": value})


def form(name: str, values: dict[str, Any], origin: str = ORIGIN.text()) -> dict[str, Any]:
    state = {block: {"value": value} for block, value in values.items()}
    view = {
        "id": "V1", "callback_id": f"keyfuse_form_{name}", "private_metadata": origin, "state": {"values": state}
    }  # fmt: skip
    return {"type": "view_submission", "user": {"id": "U0ROSA"}, "view": view}


def said(doc: Any) -> Said:
    word = understood(doc)
    assert isinstance(word, Word), word
    return word.said


@pytest.mark.parametrize(
    ("button", "value", "expected"),
    [
        ("acknowledge", "inc_1|7|", {}),
        ("resolve", "inc_1|7|", {}),
        ("restore", "inc_1|7|", {}),
        ("approve", "inc_1|7|revoke", {"step": "revoke"}),
        ("reject", "inc_1|7|disable", {"step": "disable"}),
    ],
)
def test_a_click_is_one_word_of_one_person(button: str, value: str, expected: dict[str, Any]) -> None:
    word = understood(click(button, value))
    assert isinstance(word, Word)
    wanted = Said("", "slack", "U0ROSA", ROSA, button, "inc_1", **expected)  # type: ignore[arg-type]  # a test's table
    assert (word.said._replace(said_id=""), word.place, word.seen) == (wanted, PLACE, 7)


@pytest.mark.parametrize(
    ("value", "until_ms"),
    [
        ("inc_1|7|30m", NOW_MS + 840 + 1_800_000),
        ("inc_1|7|2h", NOW_MS + 840 + 7_200_000),
        ("inc_1|7|9am UTC", NOW_MS + 23 * 3_600_000),
        ("inc_1|7|9am Europe/Berlin", NOW_MS + 22 * 3_600_000),
        ("inc_1|7|9am Asia/Tokyo", NOW_MS + 14 * 3_600_000),
    ],
)
def test_a_snooze_counts_from_the_click(value: str, until_ms: int) -> None:
    assert said(chosen(value)).until_ms == until_ms


@pytest.mark.parametrize("button", ["contain", "expected", "false_positive"])
def test_what_needs_more_words_opens_a_form(button: str) -> None:
    opening = understood(click(button, "inc_1|7|"))
    assert isinstance(opening, Opening)
    assert (opening.form, opening.said.action, opening.said.incident_id) == (button, button, "inc_1")


REASON = {"type": "plain_text_input", "value": " leaked in a gist "}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("contain", {"step": {"selected_option": {"value": "disable"}}}, {"step": "disable"}),
        ("expected", {"until": {"selected_date_time": NOW_MS // 1000 + 60}}, {"until_ms": NOW_MS + 60_000}),
        ("false_positive", {}, {}),
    ],
)
def test_a_form_is_one_word_with_its_reason(name: str, values: dict[str, Any], expected: dict[str, Any]) -> None:
    word = said(form(name, values | {"reason": REASON}))
    wanted = Said("", "slack", "U0ROSA", ROSA, name, "inc_1", reason="leaked in a gist", **expected)  # type: ignore[arg-type]  # a test's table
    assert word._replace(said_id="") == wanted


@pytest.mark.parametrize(
    ("name", "values", "field", "words"),
    [
        ("contain", {"step": {"selected_option": None}}, "step", "Choose a step"),
        ("contain", {"step": {"selected_option": {"value": "restore"}}}, "step", "Choose a step"),
        ("expected", {"until": {"selected_date_time": NOW_MS // 1000}}, "until", "This time is over"),
        ("expected", {"until": {"selected_date_time": None}}, "until", "This time is over"),
        ("expected", {"until": {"selected_date_time": True}}, "until", "This time is over"),
        (
            "expected", {"until": {"selected_date_time": (NOW_MS + EXPECTED_MAX_MS) // 1000 + 1}}, "until",
            "31 days at most: until 2026-12-24",
        ),
    ],
)  # fmt: skip
def test_a_field_that_cannot_be_meant_is_told_beside_it(
    name: str, values: dict[str, Any], field: str, words: str
) -> None:
    wrong = understood(form(name, values | {"reason": REASON}))
    assert isinstance(wrong, Wrong)
    assert words in wrong.errors[field]


def test_kill_brings_what_was_shown_and_what_was_typed() -> None:
    origin = Origin("", "C0123", "", asked="kill team:search", digest="kill_1", keys=12)
    word = understood(form("kill", {"typed": {"value": "12 kill"}, "reason": REASON}, origin.text()))
    assert isinstance(word, KillWord)
    assert (word.typed, word.origin, word.person) == ("12 kill", origin, ROSA)


def test_a_command_is_its_text_and_who_typed_it() -> None:
    fields = {"command": "/keyfuse", "text": "status", "user_id": "U0ROSA", "channel_id": "C9", "trigger_id": "t"}
    typed = understood(fields | {"response_url": "https://x"})
    assert typed == Typed("status", ROSA, Place("U0ROSA", "C9", "", "https://x", "t"))


def test_the_same_click_is_the_same_word_and_another_is_another() -> None:
    once, again = said(click("acknowledge", "inc_1|7|")), said(click("acknowledge", "inc_1|7|"))
    assert once.said_id == again.said_id
    others = [
        click("acknowledge", "inc_1|7|", action_ts="1795428000.840181"), click("resolve", "inc_1|7|"),
        click("acknowledge", "inc_2|7|"), click("acknowledge", "inc_1|7|", user="U0ADA"),
    ]  # fmt: skip
    assert len({said(other).said_id for other in others} | {once.said_id}) == len(others) + 1
    twice = [said(form("false_positive", {"reason": REASON})).said_id for _ in range(2)]
    assert twice[0] == twice[1]


def test_somebody_unknown_is_known_by_their_id() -> None:
    word = said(click("acknowledge", "inc_1|7|", user="U0EVE"))
    assert (word.who, word.person) == ("U0EVE", None)


@pytest.mark.parametrize(
    "doc",
    [
        {"type": "view_closed", "user": {"id": "U0ROSA"}, "view": {}},
        click("contain", "inc_1|7|") | {"container": {"type": "view", "view_id": "V1"}},
    ],
)
def test_what_means_nothing_is_passed_over(doc: Any) -> None:
    assert understood(doc) is None


@pytest.mark.parametrize(
    ("doc", "words"),
    [
        ({}, "does not say who"),
        ([], "does not say who"),
        ("block_actions", "does not say who"),
        ({"user": {"id": "U0ROSA"}, "type": "shortcut"}, "does not know this kind"),
        (click("explode", "inc_1|7|"), "does not know this button"),
        (click("acknowledge", "nonsense"), "does not know this button"),
        (click("acknowledge", "inc_1|7|") | {"actions": []}, "does not know this button"),
        (click("acknowledge", "inc_1|7|", action_ts=None), "does not know this button"),
        (chosen("inc_1|7|9am Nowhere/City"), "No such time"),
        (chosen("inc_1|7|9am ../../etc/passwd"), "No such time"),
        (chosen("inc_1|7|forever"), "No such time"),
        (click("snooze", "inc_1|7|30m", action_ts="soon"), "No such time"),
        (click("snooze", "inc_1|7|30m", action_ts="inf"), "No such time"),
        (click("approve", "inc_1|7|restore"), "No such step"),
        (click("approve", "inc_1|7|"), "No such step"),
        (form("contain", {}, "{}"), "does not know this form"),
        (form("contain", {}, '["inc_1"]'), "does not know this form"),
        (form("explode", {}), "does not know this form"),
        ({"type": "view_submission", "user": {"id": "U0ROSA"}}, "does not know this form"),
    ],
)
def test_what_is_not_ours_is_refused_in_words(doc: Any, words: str) -> None:
    unclear = understood(doc)
    assert isinstance(unclear, Unclear)
    assert words in unclear.words


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "user", "id", "actions", "action_id", "value", "view", "state", "values", "command", "text"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(json, st.sampled_from(["block_actions", "view_submission", "view_closed", "other"]))
def test_nothing_that_slack_could_send_raises(doc: Any, kind: str) -> None:
    understood(doc)
    if isinstance(doc, dict):
        understood({**doc, "user": {"id": "U0ROSA"}, "type": kind})
        understood({**click("snooze", "inc_1|7|30m"), **doc, "user": {"id": "U0ROSA"}})
        understood({**form("contain", {}), "view": {**form("contain", {})["view"], **doc}})


@given(st.text(max_size=40))
def test_no_value_of_a_button_raises(value: str) -> None:
    for button in ("acknowledge", "approve"):
        understood(click(button, value))
    understood(chosen(f"inc_1|7|{value}"))
    understood(chosen(f"inc_1|7|9am {value}"))
    assert Origin.of(value) is None


def test_a_form_remembers_where_it_came_from() -> None:
    assert Origin.of(ORIGIN.text()) == ORIGIN
