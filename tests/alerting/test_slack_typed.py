"""`/keyfuse`: what was typed, and what is shown to who looks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.answers.plans import KillWanted
from alerting.answers.slack_typed import (
    Ask,
    ask_of,
    explain_blocks,
    help_blocks,
    one_blocks,
    status_blocks,
)
from schemas.records import KeyFacts
from tests.alerting.slack_bench import Known, bench
from tests.alerting.slack_limits import check_message, texts
from tests.alerting.test_slack_buttons import assert_escaped, evil
from tests.alerting.world import KEY, WORDS, incident, shown_step, sketched


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Ask("help")),
        ("help", Ask("help")),
        ("HELP", Ask("help")),
        ("status", Ask("status")),
        ("  Status  inc_1 ", Ask("status", "inc_1")),
        ("explain fp1:ab", Ask("explain", "fp1:ab")),
        ("kill fp1:ab fp1:cd", Ask("kill", wanted=KillWanted(("fp1:ab", "fp1:cd")))),
        ("kill team:search app:a&amp;b", Ask("kill", wanted=KillWanted(team="search", app="a&b"))),
        ("kill team:", Ask("kill", wanted=KillWanted(team=""))),
        ("kill", Ask("kill")),
        ("kill team:a team:b", Ask("kill", problem="team: is said twice; say which one you mean.")),
        ("explain", Ask("help", problem="One key or one incident, as in `/keyfuse explain inc_…`.")),
        ("status a b", Ask("help", problem="One key or one incident, as in `/keyfuse status inc_…`.")),
        ("explode", Ask("help", problem="There is no `/keyfuse explode`.")),
    ],
)
def test_what_was_typed(text: str, expected: Ask) -> None:
    assert ask_of(text) == expected


def test_a_secret_is_not_taken_for_a_name() -> None:
    ask = ask_of("kill sk-proj-" + "a1B2" * 30)
    assert "rotate that key" in ask.problem
    assert (ask.verb, ask.wanted) == ("help", KillWanted())


def test_too_many_keys_are_for_a_terminal() -> None:
    assert "more than 300 keys" in ask_of("kill " + " ".join(f"k{n}" for n in range(301))).problem


@given(st.text(max_size=200))
def test_whatever_is_typed_is_answered(text: str) -> None:
    ask = ask_of(text)
    check_message("x", help_blocks(ask.problem))
    for shown in texts(help_blocks(ask.problem)) if ask.problem else ():
        assert "<" not in shown


def ten_and_two() -> Known:
    small = [incident(incident_id=f"inc_{n}", key_id=f"key-{n}", lost_usd=float(n)) for n in range(11)]
    return Known(*small, incident(incident_id="inc_info", severity="info", lost_usd=900.0), incident(
        incident_id="inc_over", state="resolved"
    ))  # fmt: skip


def test_status_shows_the_ten_worst_that_are_open() -> None:
    text = "\n".join(texts(status_blocks(ten_and_two())))
    assert text.startswith(
        "*12 incidents open*\n• *critical*: open, key-10 of search/ranker in prod, $10.00 lost, inc_10"
    )
    assert "… and 2 more" in text
    assert "inc_over" not in text
    assert "inc_info" not in text
    assert "No incident is open that has changed within a week" in str(status_blocks(Known()))


async def test_status_does_not_say_that_nothing_is_open_before_it_has_been_read() -> None:
    async with bench() as one:
        one.incidents.all.clear()
        one.incidents.whole = False
        await one.take(one.fake.slash("U0VERA", "status"))
        assert one.told().startswith("Not taken: the incidents of the last week are still being read.")


def test_explain_says_why_with_scores_and_evidence() -> None:
    one = incident(
        families=("velocity", "policy", "economics"), scores={"velocity": 8.25, "policy": 1.0},
        reasons=WORDS, sketch=sketched(),
    )  # fmt: skip
    text = "\n".join(texts(explain_blocks(one)))
    for words in (
        f"*policy* (certain): {WORDS['policy'].replace('`', chr(39))}", f"*velocity* (score 8.2): {WORDS['velocity']}",
        f"*economics* (no score): {WORDS['economics']}", "What changed: new network 203.0.113.0/24",
        "$3.00/min, normally $0.10/min", "policy (certain), velocity 8.2", "docs/runbooks/policy.md",
    ):  # fmt: skip
        assert words in text, words
    assert "a person opened it by an order" in str(explain_blocks(incident(families=(), reasons={}, scores={})))


def test_one_incident_shows_where_it_stands() -> None:
    text = "\n".join(texts(one_blocks(incident(state="contained", steps=(shown_step(),)))))
    assert "CRITICAL, contained" in text
    assert "disable at the provider: confirmed" in text


@given(evil)
def test_no_foreign_text_reaches_an_answer_unescaped(text: str) -> None:
    one = incident(
        incident_id="inc_1", key_id=text, headline=text, reasons={"velocity": text}, transition=text,
        facts=KeyFacts(provider=text, team=text, app=text, env=text), steps=(shown_step(by=text, detail=text),),
        sketch=sketched(changed=(text,)),
    )  # fmt: skip
    for blocks in (status_blocks(Known(one)), one_blocks(one), explain_blocks(one)):
        check_message("x", blocks)
        for shown in texts(blocks):
            assert_escaped(shown.replace("`keyfuse incidents`", ""))


@pytest.mark.parametrize(
    ("user", "text", "words"),
    [
        ("U0VERA", "status", "*1 incident open*"),
        ("U0VERA", f"status {KEY}", "CRITICAL, open"),
        ("U0VERA", "explain inc_1", "velocity"),
        ("U0VERA", "explain inc_none", "No incident of inc_none is known here."),
        ("U0EVE", "status", "U0EVE is not in people.yaml, so Keyfuse tells nothing here."),
        ("U0EVE", "explain inc_1", "U0EVE is not in people.yaml"),
        ("U0EVE", "help", "/keyfuse status"),
        ("U0VERA", "explode", "There is no '/keyfuse explode'."),
    ],
)
async def test_who_asks_is_answered_alone(user: str, text: str, words: str) -> None:
    async with bench() as one:
        await one.take(one.fake.slash(user, text))
        (whisper,) = one.fake.whispers
        assert words in str(whisper["blocks"])
        assert (whisper["response_type"], one.sent) == ("ephemeral", [])


@pytest.mark.parametrize("people", [{}, {"vera": {"role": "viewer"}}])
async def test_while_nobody_is_known_nobody_is_told(people: dict[str, Any]) -> None:
    async with bench(people=people) as one:
        await one.take(one.fake.slash("U0VERA", "status"))
        assert "not in people.yaml" in one.told()
