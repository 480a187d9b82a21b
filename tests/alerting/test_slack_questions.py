"""Questions in Slack: one message that is edited, buttons that answer, and who may not answer is told so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alerting.channels.errors import Refused
from alerting.channels.slack_questions import render
from tests.alerting.questions import question
from tests.alerting.slack_bench import Bench, bench
from tests.alerting.slack_limits import check_message, elements, texts
from tests.alerting.slack_server import CHANNEL
from tests.alerting.world import T0_MS


@pytest.fixture
async def one() -> AsyncIterator[Bench]:
    async with bench() as made:
        made.questions["rev:key-1:1"] = question()
        yield made


async def test_the_question_is_one_message_that_says_all_there_is_to_know(one: Bench) -> None:
    channel = one.channel()
    shown = await channel.ask(question(), None, member="U0ADA")
    again = await channel.ask(question(), shown, member="U0ADA")
    await channel.close()
    assert shown.ids["channel"] == "DU0ADA"
    assert again == shown
    (posted,), (edited,) = one.fake.made("chat.postMessage"), one.fake.made("chat.update")
    assert (posted["channel"], edited["channel"], edited["ts"]) == ("U0ADA", "DU0ADA", shown.ids["ts"])
    everything = json.dumps(posted["blocks"], ensure_ascii=False)
    for words in ("Is key-1 still needed?", "After 14 days", "throttled", "Still needed", "2026-12-14 10:00 UTC",
                  "keyfuse answer rev:key-1:1 keep|drop"):  # fmt: skip
        assert words in everything, words


async def test_a_reminder_is_said_once_under_the_message(one: Bench) -> None:
    channel = one.channel()
    first = await channel.ask(question(), None)
    reminded = question(reminders=({"at_ms": 1, "words": "Please answer: in 7 days it is throttled."},))
    second = await channel.ask(reminded, first)
    await channel.ask(reminded.model_copy(update={"to": ("ada", "bo")}), second)
    await channel.close()
    assert one.fake.thread() == ["Please answer: in 7 days it is throttled."]
    assert {body["channel"] for body in one.fake.made("chat.postMessage")} == {CHANNEL}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "answered", "answered_by": "ada", "answer": "keep", "outcome": "Asked again in 90 days."},
         "Answered by ada: Still needed. Asked again in 90 days."),
        ({"state": "withdrawn", "outcome": "The key is gone."}, "No answer is needed any more. The key is gone."),
    ],
)  # fmt: skip
def test_what_is_answered_has_no_buttons_and_says_what_came_of_it(changes: dict[str, Any], words: str) -> None:
    text, blocks = render(question(**changes), buttons=True)
    assert elements(blocks) == {}
    assert words in "".join(texts(blocks))
    assert words in text


def test_without_a_way_back_there_are_words_instead_of_buttons() -> None:
    _, blocks = render(question(), buttons=False)
    assert elements(blocks) == {}
    assert "keyfuse answer rev:key-1:1 keep|drop" in "".join(texts(blocks))


def test_what_happens_without_an_answer_is_stated_with_its_time_until_it_has_happened() -> None:
    steps = [{"name": "remind", "at_ms": T0_MS, "words": "you are asked again"},
             {"name": "cut", "at_ms": T0_MS + 86_400_000, "words": "the key is disabled", "harms": True}]  # fmt: skip
    for reminders, stated in (((), 2), (({"at_ms": T0_MS, "words": "x"},), 1)):
        _, blocks = render(question(steps=steps, reminders=reminders), buttons=True)
        everything = "".join(texts(blocks))
        assert everything.count("Without an answer") == stated
        assert "*Without an answer, 2026-11-24 10:00 UTC*: the key is disabled" in everything


def test_what_asks_for_a_deed_has_no_buttons() -> None:
    _, blocks = render(question(choices=()), buttons=True)
    assert [block["type"] for block in blocks] == ["header", "section"]


def test_foreign_text_calls_nobody_and_keeps_to_slacks_limits() -> None:
    evil = "<!channel> *bold* & " * 300
    lines = {f"{number} {evil}": evil for number in range(60)}
    choices = [{"name": f"c{number}", "label": evil, "style": "danger"} for number in range(5)]
    text, blocks = render(question(title=evil, lines=lines, outcome=evil, choices=choices), buttons=True)
    check_message(text, blocks)
    assert "<!channel>" not in text + json.dumps(blocks)


async def test_a_message_that_was_deleted_is_posted_anew(one: Bench) -> None:
    channel = one.channel()
    first = await channel.ask(question(), None)
    one.fake.fail["chat.update"] = [(200, "message_not_found")]
    anew = await channel.ask(question(outcome="x"), first)
    await channel.close()
    assert anew.ids["ts"] != first.ids["ts"]


async def test_a_person_who_cannot_be_written_to_is_a_refusal(one: Bench) -> None:
    channel = one.channel()
    one.fake.fail["chat.postMessage"] = [(200, "channel_not_found")]
    with pytest.raises(Refused):
        await channel.ask(question(), None, member="U0GONE")
    await channel.close()


async def test_a_click_of_who_is_asked_is_one_answer(one: Bench) -> None:
    await one.ask(question())
    await one.take(one.fake.click("U0ADA", "answer_keep"))
    (answer,) = one.answers
    assert (answer.question_id, answer.by, answer.choice, answer.via) == ("rev:key-1:1", "ada", "keep", "slack")
    assert one.told() == "Taken: Still needed, by ada."
    assert one.results == ["taken"]


@pytest.mark.parametrize(
    ("user", "changes", "words"),
    [
        ("U0VERA", {}, "vera is viewer; asked is ada, and it needs approver otherwise"),
        ("U0EVE", {}, "U0EVE is not in people.yaml"),
        ("U0ADA", {"asked_by": "ada"}, "ada asked for it: somebody else has to answer"),
        ("U0ADA", {"state": "answered", "answered_by": "bo", "answer": "drop"},
         "bo has answered it already: Disable it"),
    ],
)  # fmt: skip
async def test_who_may_not_answer_is_told_so_alone(one: Bench, user: str, changes: dict[str, Any], words: str) -> None:
    await one.ask(question())
    one.questions["rev:key-1:1"] = question(**changes)
    await one.take(one.fake.click(user, "answer_keep"))
    assert one.told() == f"Not taken: {words}."
    assert (one.answers, one.results) == ([], ["refused"])
    assert one.not_counted == [f"rev:key-1:1 keep: {words}"]


async def test_a_person_named_like_an_id_of_slack_is_not_who_has_that_id() -> None:
    async with bench(people={"U0EVE": {"role": "admin", "slack": "U0ADA"}}) as one:
        one.questions["rev:key-1:1"] = question()
        await one.ask(question())
        await one.take(one.fake.click("U0EVE", "answer_keep"))
        assert one.told() == "Not taken: U0EVE is not in people.yaml."


async def test_a_question_that_nobody_knows_is_waited_for_and_then_said_so(one: Bench) -> None:
    await one.ask(question())
    one.questions.clear()
    await one.take(one.fake.click("U0ADA", "answer_keep"))
    assert one.told() == "No question rev:key-1:1 is known here; it may be too old."
    assert one.slept == 20


async def test_an_answer_is_not_lost_quietly_while_the_broker_is_away(one: Bench) -> None:
    await one.ask(question())
    one.broker_away_after = 0
    await one.take(one.fake.click("U0ADA", "answer_keep"))
    assert one.told() == "Not taken: the broker does not answer. Try again in a moment."


@pytest.mark.parametrize("value", ["", "|keep", "rev:key-1:1|drop", "rev:key-1:1"])
async def test_a_button_of_another_version_is_not_guessed_at(one: Bench, value: str) -> None:
    await one.ask(question())
    click = one.fake.click("U0ADA", "answer_keep")
    click["actions"][0]["value"] = value
    await one.take(click)
    assert "does not know this button" in one.told()
    assert one.answers == []
