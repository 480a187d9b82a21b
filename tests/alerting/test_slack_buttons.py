"""What can be answered to an incident depends on its state; nothing foreign is ever more than text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.channels.slack_blocks import render
from alerting.channels.slack_buttons import BUTTONS, Value, answers_to
from alerting.channels.slack_text import cut, escape
from schemas.records import Incident, IncidentStep, KeyFacts, StepState
from tests.alerting.slack_limits import check_message, elements, texts
from tests.alerting.world import KEY, incident, shown_step

WAITS = StepState.AWAITING_APPROVAL


def names(one: Incident, timezone: str = "UTC") -> list[str]:
    return [name.removeprefix("keyfuse_") for name in elements(answers_to(one, timezone=timezone))]


CUT = (shown_step("disable"),)
FOR_GOOD = (shown_step("revoke", automatic=False, by="ada"),)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["acknowledge", "contain", "snooze", "expected", "false_positive"]),
        ({"state": "acknowledged"}, ["resolve", "contain", "snooze", "expected", "false_positive"]),
        ({"state": "contained", "steps": CUT}, ["restore", "resolve", "false_positive"]),
        ({"state": "contained", "steps": FOR_GOOD}, ["resolve", "false_positive"]),
        ({"state": "resolved", "steps": CUT}, ["restore"]),
        ({"state": "resolved"}, []),
        ({"state": "false_positive", "steps": FOR_GOOD}, []),
        (
            {"steps": (shown_step("disable", WAITS),)},
            ["approve", "reject", "acknowledge", "contain", "snooze", "expected", "false_positive"],
        ),
        ({"state": "resolved", "steps": (shown_step("disable", WAITS),)}, []),
    ],
)
def test_the_buttons_of_each_state(changes: dict[str, Any], expected: list[str]) -> None:
    assert names(incident(**changes)) == expected


def test_a_button_carries_the_incidents_id_and_what_is_meant_and_never_the_key() -> None:
    shown = elements(answers_to(incident(steps=(shown_step("revoke", WAITS),)), timezone="Europe/Berlin"))
    assert shown["keyfuse_acknowledge"]["value"] == "inc_1|1|"
    assert shown["keyfuse_approve"]["value"] == "inc_1|1|revoke"
    assert [each["value"] for each in shown["keyfuse_snooze"]["options"]] == [
        "inc_1|1|30m", "inc_1|1|2h", "inc_1|1|9am Europe/Berlin",
    ]  # fmt: skip
    assert KEY not in str(shown)


@pytest.mark.parametrize(
    ("approvals", "needed", "words"),
    [
        (("rosa",), 2, "revoke for good* (CANNOT BE UNDONE). 1 of 2: rosa"),
        ((), 2, "(CANNOT BE UNDONE). 0 of 2"),
        ((), 0, "(CANNOT BE UNDONE). 0 of 1"),
        (("<!here>",), 2, "1 of 2: &lt;!here&gt;"),
    ],
)
def test_what_waits_says_who_stands_behind_it(approvals: tuple[str, ...], needed: int, words: str) -> None:
    step = shown_step("revoke", WAITS, automatic=False, approvals=approvals, people_needed=needed)
    assert words in str(answers_to(incident(steps=(step,)), timezone="UTC"))


@pytest.mark.parametrize(
    ("button", "step", "words"),
    [
        ("approve", "revoke", "Revoke for good: CANNOT BE UNDONE."),
        ("approve", "disable", "can be undone"),
        ("restore", "", "The key works again, for whoever holds it."),
    ],
)
def test_what_hurts_asks_again(button: str, step: str, words: str) -> None:
    steps = (shown_step("disable"), *([shown_step(step, WAITS)] if step in ("revoke", "disable") else []))  # type: ignore[arg-type]  # a test's table
    pressed = elements(answers_to(incident(steps=steps, state="contained"), timezone="UTC"))[f"keyfuse_{button}"]
    assert words in pressed["confirm"]["text"]["text"]
    assert pressed["style"] == ("primary" if step == "disable" else "danger")


def test_without_anybody_who_hears_there_are_no_buttons() -> None:
    assert "actions" not in str(render(incident())[1])
    assert "actions" in str(render(incident(), buttons="UTC")[1])


evil = st.text(alphabet=st.sampled_from(list("<>&!@#|*_~`:;ab \n\x1b\u202e")), max_size=120).map(
    lambda tail: f"<!channel> <https://evil|x> &lt;!here&gt; {tail}"
)


@given(evil, st.sampled_from(["open", "contained", "resolved"]), st.sampled_from(list(StepState)))
def test_no_foreign_text_reaches_a_message_unescaped(text: str, state: str, step_state: StepState) -> None:
    steps = (shown_step("revoke", step_state, by=text, detail=text, automatic=False),)
    facts = KeyFacts(provider=text, team=text, app=text, env=text)
    one = incident(
        key_id=text, headline=text, reasons={"velocity": text}, transition=text, facts=facts, state=state, steps=steps
    )
    said, blocks = render(one, buttons="UTC")
    check_message(said, blocks)
    for shown in (said, *texts(blocks)):
        assert_escaped(shown)


def assert_escaped(shown: str) -> None:
    assert "<" not in shown
    assert ">" not in shown
    assert "`" not in shown
    without = shown.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert "&" not in without, shown


@given(st.text(), st.integers(min_value=1, max_value=60))
def test_what_is_cut_is_cut_between_characters(text: str, limit: int) -> None:
    short = cut(escape(text), limit)
    assert len(short) <= limit
    assert "&" not in short.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")


def test_the_largest_incident_keeps_to_the_limits_with_all_its_buttons() -> None:
    long = "<&>" * 2000
    steps = tuple(
        IncidentStep(
            step="revoke", command_id=f"c{n}", state=WAITS, automatic=False, reversible=False, at_ms=n, by=long
        ).model_copy(update={"step": step})
        for n, step in enumerate(("block", "disable", "revoke"))
    )
    facts = KeyFacts(provider=long, team=long, app=long, env=long)
    one = incident(
        incident_id="manual:" + "f" * 40, headline=long, facts=facts, transition=long, key_id=long, steps=steps
    )
    check_message(*render(one, buttons="America/Argentina/ComodRivadavia"))


def test_every_button_is_known_by_its_value() -> None:
    for one in (incident(), incident(state="contained", steps=(*CUT, shown_step("revoke", WAITS)))):
        for name, element in elements(answers_to(one, timezone="UTC")).items():
            assert name.removeprefix("keyfuse_") in BUTTONS
            for value in [element["value"]] if "value" in element else [each["value"] for each in element["options"]]:
                assert Value.of(value) is not None
