"""Slack: one message, edited in place; a reply for each transition; foreign text stays text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import get_args

import pytest

from alerting.channels.base import Channel
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from alerting.channels.slack import render
from alerting.channels.slack_blocks import render_reply
from alerting.channels.slack_text import escape
from schemas.records import Family, KeyFacts, StepState
from tests.alerting.kinds import NETWORKED, build
from tests.alerting.servers import Answer, Server, serving
from tests.alerting.world import WORDS, incident, ms, shown_step


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving(NETWORKED["slack"].well) as one:
        yield one


@pytest.fixture
async def channel(server: Server) -> AsyncIterator[Channel]:
    one = build("slack", server.url)
    yield one
    await one.close()


def paths(server: Server) -> list[str]:
    return [arrived.path for arrived in server.arrived]


async def test_the_first_version_is_posted(server: Server, channel: Channel) -> None:
    state = await channel.deliver(incident(), None)
    (post,) = server.arrived
    assert post.path == "/api/chat.postMessage"
    assert post.headers["Authorization"] == f"Bearer {NETWORKED['slack'].secret}"
    text, blocks = render(incident())
    assert (post.json["channel"], post.json["text"], post.json["blocks"]) == ("C0123", text, blocks)
    assert post.json["metadata"]["event_payload"] == {"incident_id": "inc_1", "seq": 1}
    assert state.ids == {"channel": "C0123", "ts": "1795428000.000001"}


async def test_later_versions_edit_it_and_reply_in_its_thread(server: Server, channel: Channel) -> None:
    state = await channel.deliver(incident(), None)
    contained = incident(seq=2, state="contained", transition="Contained.", steps=(shown_step(),))
    assert (await channel.deliver(contained, state)).ids == state.ids
    _, edit, reply = server.arrived
    assert paths(server)[1:] == ["/api/chat.update", "/api/chat.postMessage"]
    assert (edit.json["ts"], edit.json["channel"]) == ("1795428000.000001", "C0123")
    assert edit.json["blocks"] == render(contained)[1]
    assert reply.json["thread_ts"] == "1795428000.000001"
    assert reply.json["text"] == "Contained."


async def test_a_failed_edit_sends_no_reply(server: Server, channel: Channel) -> None:
    state = await channel.deliver(incident(), None)
    server.answers = [Answer(500)]
    with pytest.raises(Retryable):
        await channel.deliver(incident(seq=2), state)
    assert paths(server)[1:] == ["/api/chat.update"]


@pytest.mark.parametrize("code", ["message_not_found", "cant_update_message", "edit_window_closed"])
async def test_a_deleted_message_is_posted_anew(server: Server, channel: Channel, code: str) -> None:
    state = await channel.deliver(incident(), None)
    server.answers = [Answer(200, f'{{"ok": false, "error": "{code}"}}')]
    anew = await channel.deliver(incident(seq=2), state)
    assert paths(server)[1:] == ["/api/chat.update", "/api/chat.postMessage"]
    assert anew.ids["ts"] == "1795428000.000003"


@pytest.mark.parametrize(
    ("code", "error", "reason"),
    [
        ("invalid_auth", Refused, Reason.UNAUTHORIZED),
        ("missing_scope", Refused, Reason.UNAUTHORIZED),
        ("channel_not_found", Refused, Reason.NOT_FOUND),
        ("not_in_channel", Refused, Reason.NOT_FOUND),
        ("invalid_blocks", Refused, Reason.REJECTED),
        ("ratelimited", Retryable, Reason.RATE_LIMITED),
        ("internal_error", Retryable, Reason.SERVER_ERROR),
    ],
)
async def test_codes(server: Server, channel: Channel, code: str, error: type[ChannelError], reason: Reason) -> None:
    server.answers = [Answer(200, f'{{"ok": false, "error": "{code}"}}')]
    with pytest.raises(error) as caught:
        await channel.deliver(incident(), None)
    assert caught.value.reason == reason


async def test_buttons_come_with_a_way_back_and_in_its_timezone(server: Server) -> None:
    for settings, expected in (
        ({}, None),
        ({"app_token_env": "A"}, "until tomorrow 9:00 (UTC)"),
        ({"signing_secret_env": "S", "timezone": "Asia/Tokyo"}, "until tomorrow 9:00 (Asia/Tokyo)"),
        ({"app_token_env": "A", "answers": "none"}, None),
    ):
        one = build("slack", server.url, slack=settings)
        await one.deliver(incident(), None)
        await one.close()
        blocks = str(server.arrived[-1].json["blocks"])
        assert expected is None or expected in blocks
        assert ("actions" in blocks) == (expected is not None)


def test_the_message_says_what_a_person_needs() -> None:
    text, blocks = render(incident(steps=(shown_step(detail="effective after 4.2 s"),), state="contained"))
    everything = str(blocks)
    for words in (
        "CRITICAL, contained", "fp1:0123456789abcdef", "team search, app ranker, env prod",
        "$3.00/min, normally $0.10/min",
        "$2.90 above normal", "$100.00", "disable at the provider: confirmed (automatic, can be undone)",
        WORDS["economics"], "inc_1",
    ):  # fmt: skip
        assert words in everything, words
    assert text.startswith("CRITICAL, contained: openai key")
    assert len(blocks) <= 50


def test_a_failed_step_is_in_the_title() -> None:
    _, blocks = render(incident(steps=(shown_step(state=StepState.IRREVOCABLE),), key_id="k" * 200))
    assert "A PERSON MUST ACT NOW" in blocks[0]["text"]["text"]


def test_foreign_text_calls_nobody_and_formats_nothing() -> None:
    evil = "<!channel> <https://evil.example|click> *bold* `code` & \x1b[31m"
    facts = KeyFacts(provider="<!here>", team=evil, app=evil, env=evil)
    text, blocks = render(incident(headline=evil, reasons={"velocity": evil}, facts=facts, transition=evil))
    everything = text + str(blocks) + str(render_reply(incident(transition=evil)))
    for forbidden in ("<!", "<http", "*bold*", "`code`", "\x1b"):
        assert forbidden not in everything
    assert "&lt;!channel&gt;" in everything
    assert escape("a & b") == "a &amp; b"


def test_limits_hold_for_the_largest_incident() -> None:
    long = "&" * 5000
    steps = tuple(shown_step(detail=long, command_id=f"c{n}", by=long) for n in range(32))
    facts = KeyFacts(provider=long, team=long, app=long, env=long)
    families = get_args(Family)
    largest = incident(
        headline=long, families=families, reasons=dict.fromkeys(families, long), steps=steps, facts=facts,
        transition=long, key_id=long, updated_at_ms=ms(0),
    )  # fmt: skip
    text, blocks = render(largest)
    assert len(text) < 4000
    assert len(blocks) <= 50
    for block in blocks:
        assert len(block.get("text", {}).get("text", "")) <= (150 if block["type"] == "header" else 3000)
        assert len(block.get("fields", [])) <= 10
        assert all(len(each["text"]) <= 2000 for each in block.get("fields", []))
        assert all(len(each["text"]) <= 3000 for each in block.get("elements", []))
