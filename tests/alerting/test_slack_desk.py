"""People click, fill in forms and type: each word that counts goes to the broker once, the others are told why not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from alerting.answers.slack_forms import looking
from schemas.records import Incident, StepState
from tests.alerting.slack_bench import PLAN, bench
from tests.alerting.slack_limits import check_view
from tests.alerting.slack_server import BOT
from tests.alerting.world import FACTS, KEY, T0_MS, incident, shown_step

ASKED = StepState.AWAITING_APPROVAL
WAITS = (shown_step("revoke", ASKED, automatic=False, by="rosa", approvals=("rosa",)),)


@pytest.mark.parametrize(
    ("button", "option", "expected"),
    [
        ("acknowledge", 0, {"action": "acknowledge"}),
        ("snooze", 1, {"action": "snooze", "until_ms": 1_795_428_000_000 + 7_200_000}),
    ],
)
async def test_a_click_of_somebody_who_may_is_one_request(button: str, option: int, expected: dict[str, Any]) -> None:
    async with bench() as one:
        await one.post(incident())
        click = one.fake.click("U0ROSA", button, option)
        assert await one.take(click) == {}
        await one.take(click)
        first, again = one.sent
        assert first.request_id == again.request_id
        assert (first.by, first.via, first.incident_id, first.key_id) == ("rosa", "slack", "inc_1", KEY)
        assert first.model_dump().items() >= expected.items()
        assert "Taken: " in one.told()
        assert one.results == ["taken", "taken"]


@pytest.mark.parametrize(
    ("user", "changes", "button", "words"),
    [
        ("U0VERA", {}, "acknowledge", "vera is viewer; acknowledge needs responder"),
        ("U0EVE", {}, "acknowledge", "U0EVE is not in people.yaml"),
        ("U0VERA", {}, "contain", "vera is viewer; contain needs responder"),
        ("U0VERA", {"state": "contained", "steps": (shown_step(),)}, "restore", "restore needs responder"),
        ("U0ROSA", {"steps": WAITS}, "approve", "approve for good needs approver"),
    ],
)
async def test_who_may_not_is_told_so_alone_and_nothing_is_sent(
    user: str, changes: dict[str, Any], button: str, words: str
) -> None:
    async with bench(incident(**changes)) as one:
        await one.post(incident(**changes))
        await one.take(one.fake.click(user, button))
        assert words in one.told()
        assert (one.sent, one.fake.made("views.open")) == ([], [])
        assert one.results == ["refused"]
        ((request, why),) = one.refused
        assert (request.action, request.key_id, request.via) == (button, KEY, "slack")
        assert words in why


@pytest.mark.parametrize(
    ("shown", "now", "button", "words"),
    [
        ({}, {"state": "acknowledged", "by": "ada"}, "acknowledge", "already acknowledged (the latest word is by ada)"),
        ({}, {"state": "resolved"}, "snooze", "the incident is over: resolved"),
        ({}, {"state": "contained"}, "snooze", "the incident is contained, there is nothing to snooze"),
        ({}, {"state": "false_positive"}, "false_positive", "the incident is over: false positive"),
        ({"steps": WAITS}, {"steps": (shown_step("revoke"),)}, "approve", "revoke for good is already confirmed"),
        ({"steps": WAITS}, {}, "reject", "nothing waits for an approval any more"),
        ({"steps": WAITS}, {"steps": (shown_step("revoke", ASKED, approvals=("ada",)),)}, "approve",
         "ada stands behind it already"),
        ({"state": "contained", "steps": (shown_step(),)}, {"steps": (shown_step("restore"),)}, "restore",
         "nothing is in force that could be undone"),
    ],
)  # fmt: skip
async def test_an_old_message_answers_nothing(
    shown: dict[str, Any], now: dict[str, Any], button: str, words: str
) -> None:
    async with bench(incident(**now)) as one:
        await one.post(incident(**shown))
        await one.take(one.fake.click("U0ADA", button))
        assert words in one.told()
        assert one.sent == []


async def test_a_snooze_that_was_long_on_its_way_is_told_to_be_over() -> None:
    async with bench() as one:
        await one.post(incident())
        one.fake.now_s -= 3600
        await one.take(one.fake.click("U0ROSA", "snooze", option=0))
        assert one.told() == "Not taken: This time is over. Choose one that is to come."
        assert one.sent == []


async def test_who_saw_a_newer_version_than_the_desk_is_not_too_late() -> None:
    cut = incident(seq=9, state="contained", steps=(shown_step(),))
    async with bench(incident(seq=8)) as one:
        await one.post(cut)
        await one.take(one.fake.click("U0ROSA", "restore"))
        assert [request.action for request in one.sent] == ["restore"]
        assert one.slept == 10


@pytest.mark.parametrize("known", [incident(seq=8, steps=WAITS), incident(incident_id="another")])
async def test_what_was_just_told_of_is_waited_for(known: Incident) -> None:
    newest = incident(seq=9, steps=(shown_step("revoke"),))
    async with bench(known) as one:
        await one.post(incident(seq=9, steps=WAITS))
        one.news = newest
        await one.take(one.fake.click("U0ADA", "approve"))
        assert "revoke for good is already confirmed" in one.told()
        assert (one.sent, one.slept) == ([], 1)


async def test_two_people_approve_what_cannot_be_undone() -> None:
    async with bench(incident(steps=WAITS)) as one:
        await one.post(incident(steps=WAITS))
        await one.take(one.fake.click("U0ADA", "approve"))
        (request,) = one.sent
        assert (request.action, request.step, request.by) == ("approve", "revoke", "ada")


async def test_contain_shows_the_plan_and_what_is_sent_is_the_order() -> None:
    async with bench() as one:
        await one.post(incident())
        await one.take(one.fake.click("U0ROSA", "contain"))
        (opened,) = one.fake.made("views.open")
        shown = str(opened["view"])
        for words in ("search/ranker in prod", "$4,176.00 in 24 h", "2 people must order it", "key-2", "Contain now"):
            assert words in shown, words
        assert KEY not in opened["view"]["private_metadata"]
        assert one.sent == []
        assert await one.take(one.fake.submit("U0ROSA", step="disable", reason="leaked")) == {}
        (request,) = one.sent
        assert (request.action, request.step, request.reason, request.by) == ("contain", "disable", "leaked", "rosa")
        assert "Taken: contain, by rosa." in one.told()


async def test_the_form_does_not_make_a_responder_an_approver() -> None:
    async with bench() as one:
        await one.post(incident())
        await one.take(one.fake.click("U0ROSA", "contain"))
        await one.take(one.fake.submit("U0ROSA", step="revoke", reason="leaked"))
        assert "contain for good needs approver" in one.told()
        assert one.sent == []


async def test_a_plan_that_takes_long_comes_after_the_form_is_open() -> None:
    async with bench() as one:
        one.plan_takes = asyncio.Event()
        await one.post(incident())
        working = asyncio.create_task(one.take(one.fake.click("U0ROSA", "contain")))
        await one.fake.when(lambda: one.fake.made("views.open"))
        assert one.fake.view()["blocks"] == looking("contain")["blocks"]
        one.plan_takes.set()
        await working
        (updated,) = one.fake.made("views.update")
        assert "search/ranker in prod" in str(updated["view"])


async def test_where_nothing_can_be_done_the_form_says_what_to_do() -> None:
    async with bench() as one:
        one.plan = PLAN._replace(steps=(), why_none="switch the key off at google by hand")
        await one.post(incident())
        await one.take(one.fake.click("U0ROSA", "contain"))
        assert "switch the key off at google by hand" in str(one.fake.view())
        assert "submit" not in one.fake.view()


async def test_expected_and_false_positive_ask_for_a_reason() -> None:
    async with bench() as one:
        await one.post(incident())
        await one.take(one.fake.click("U0ROSA", "expected"))
        refused = await one.take(one.fake.submit("U0ROSA", until=T0_MS // 1000 - 60, reason="a batch"))
        assert refused["response_action"] == "errors"
        await one.take(one.fake.submit("U0ROSA", until=T0_MS // 1000 + 3600, reason="a batch"))
        await one.take(one.fake.click("U0ROSA", "false_positive"))
        await one.take(one.fake.submit("U0ROSA", reason="our nightly batch"))
        expected, nothing = one.sent
        assert (expected.action, expected.until_ms, expected.reason) == ("expected", T0_MS + 3_600_000, "a batch")
        assert (nothing.action, nothing.reason) == ("false_positive", "our nightly batch")


async def test_while_the_broker_is_away_it_is_told_and_nothing_is_half_done() -> None:
    async with bench() as one:
        one.broker_away_after = 0
        await one.post(incident())
        click = one.fake.click("U0ROSA", "acknowledge")
        await one.take(click)
        assert one.told() == "Not taken: the broker does not answer. Try again in a moment."
        assert (one.sent, one.results) == ([], ["unavailable"])
        one.broker_away_after = None
        await one.take(click)
        assert [request.action for request in one.sent] == ["acknowledge"]


async def test_kill_shows_each_key_and_wants_it_typed() -> None:
    async with bench() as one:
        await one.take(one.fake.slash("U0ROSA", "kill team:search"))
        view = one.fake.view()
        assert "2 keys would be cut now" in str(view)
        assert "key-1: disable" in str(view)
        for typed in ("kill", "1 kill", "yes"):
            ack = await one.take(one.fake.submit("U0ROSA", typed=typed, reason="leaked"))
            assert ack == {"response_action": "errors", "errors": {"typed": "Type exactly: 2 kill"}}
        assert one.sent == []
        await one.take(one.fake.submit("U0ROSA", typed="2 kill", reason="leaked"))
        assert [(r.key_id, r.action, r.step, r.by, r.reason) for r in one.sent] == [
            (key, "contain", "disable", "rosa", "leaked") for key in ("key-1", "key-2")
        ]
        assert len({request.request_id for request in one.sent}) == 2
        assert all(request.facts == FACTS for request in one.sent)
        assert "Ordered to cut 2 of 2 keys." in one.told()


async def test_kill_does_nothing_when_the_list_has_changed_since() -> None:
    async with bench() as one:
        await one.take(one.fake.slash("U0ROSA", "kill team:search"))
        one.keys["key-3"] = FACTS
        await one.take(one.fake.submit("U0ROSA", typed="2 kill", reason="leaked"))
        assert "no longer what you saw" in one.told()
        assert one.sent == []


async def test_kill_says_how_far_it_came() -> None:
    async with bench() as one:
        one.broker_away_after = 1
        await one.take(one.fake.slash("U0ROSA", "kill key-1 key-2"))
        await one.take(one.fake.submit("U0ROSA", typed="2 kill", reason="leaked"))
        assert "Ordered to cut 1 of 2 keys. Then: the broker does not answer." in one.told()


@pytest.mark.parametrize(
    ("user", "text", "words"),
    [
        ("U0VERA", "kill team:search", "vera is viewer; contain needs responder"),
        ("U0EVE", "kill team:search", "not in people.yaml"),
    ],
)
async def test_kill_is_not_for_everybody(user: str, text: str, words: str) -> None:
    async with bench() as one:
        await one.take(one.fake.slash(user, text))
        assert words in one.told()
        assert one.fake.made("views.open") == []
        assert [request.action for request, _ in one.refused] == ["contain"]


async def test_a_kill_that_is_not_clear_asks_back() -> None:
    async with bench() as one:
        await one.take(one.fake.slash("U0ROSA", "kill team:a team:b"))
        assert "Nothing was done: team: is said twice; say which one you mean." in one.told()
        assert (one.fake.made("views.open"), one.refused, one.results) == ([], [], ["not_understood"])


@pytest.mark.parametrize("text", ["kill", "kill team:nobody"])
async def test_no_key_is_never_every_key(text: str) -> None:
    async with bench() as one:
        await one.take(one.fake.slash("U0ROSA", text))
        assert "nothing to kill" in str(one.fake.view())
        assert "submit" not in one.fake.view()


async def test_a_form_that_slack_refuses_is_told() -> None:
    async with bench() as one:
        await one.post(incident())
        click = one.fake.click("U0ROSA", "contain")
        await one.take(click)
        await one.take(click)  # its trigger is used up
        assert "Slack did not take" in one.told()
        assert one.results == ["failed"]


@pytest.mark.parametrize(("code", "tries"), [("ratelimited", 3), ("internal_error", 1)])
async def test_an_answer_reaches_the_person_by_another_way(code: str, tries: int) -> None:
    async with bench() as one:
        await one.post(incident())
        one.fake.dead_urls = True
        one.fake.fail["chat.postEphemeral"] = [(200, code)] * (tries - 1)
        await one.take(one.fake.click("U0ROSA", "acknowledge"))
        assert one.told().startswith("Taken: acknowledge, by rosa.")
        assert (one.fake.whispers[-1]["user"], one.fake.whispers[-1]["channel"]) == ("U0ROSA", "C0123")


async def test_tokens_and_the_addresses_of_answers_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with bench() as one:
        await one.post(incident())
        await one.take(one.fake.click("U0ROSA", "acknowledge"))
        one.fake.dead_urls = True
        await one.take(one.fake.click("U0ROSA", "contain"))
        await one.take(one.fake.slash("U0ROSA", "status"))
        for secret in (BOT, "SECRETurl", "trigger."):
            assert secret not in caplog.text


async def test_when_nobody_can_be_told_the_word_is_taken_all_the_same() -> None:
    async with bench() as one:
        await one.post(incident())
        one.fake.dead_urls = True
        one.fake.fail["chat.postEphemeral"] = [(500, "x")] * 9
        await one.take(one.fake.click("U0ROSA", "acknowledge"))
        assert one.results == ["taken"]
        assert len(one.sent) == 1


@pytest.mark.parametrize("doc", [{}, [], {"user": {"id": "U0ROSA"}}, {"type": "block_actions", "user": {"id": "U0X"}}])
async def test_what_is_not_ours_ends_nothing(doc: object) -> None:
    async with bench() as one:
        assert await one.take(doc) == {}
        assert (one.sent, one.results) == ([], ["not_understood"])


async def test_a_mistake_in_keyfuse_is_told_without_its_words() -> None:
    async with bench() as one:
        await one.post(incident())
        one.plan = "not a plan"  # type: ignore[assignment]  # the mistake
        await one.take(one.fake.click("U0ROSA", "contain"))
        assert "Keyfuse stumbled" in one.told()
        assert one.results == ["failed"]


async def test_a_payload_that_keyfuse_stumbles_over_does_not_end_the_listening() -> None:
    async with bench() as one:
        await one.post(incident())
        click = one.fake.click("U0ROSA", "acknowledge")
        one.people = None  # type: ignore[assignment]  # the mistake
        assert one.desk.take(click) == (True, None)
        assert one.results == ["failed"]


async def test_too_much_at_once_is_not_taken() -> None:
    async with bench() as one:
        await one.post(incident())
        taken = [one.desk.take(one.fake.click("U0ROSA", "acknowledge"))[0] for _ in range(70)]
        assert (taken.count(True), taken.count(False)) == (64, 6)
        await one.desk.close()
        assert len(one.sent) == 64


async def test_all_forms_keep_to_slacks_limits_whatever_stands_in_them() -> None:
    long = "<&> " * 1000
    steps = tuple(step._replace(name=long, undo=long, breaks=long, also_hits=long, state=long) for step in PLAN.steps)
    async with bench() as one:
        one.plan = PLAN._replace(about=((long, long),) * 12, next=long, at_stake=long, steps=steps)
        one.keys = {f"key-{number}": FACTS for number in range(250)}
        await one.post(incident())
        await one.take(one.fake.click("U0ROSA", "contain"))
        check_view(one.fake.view())
        assert len(one.fake.made("views.open")) == 1
        await one.take(one.fake.slash("U0ROSA", "kill team:search"))
        check_view(one.fake.view())
        assert "key-249" in str(one.fake.view())
        one.keys |= {f"more-{number}": FACTS for number in range(250)}
        await one.take(one.fake.slash("U0ROSA", "kill team:search"))
        assert "500 keys are too many for here" in str(one.fake.view())
