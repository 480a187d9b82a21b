"""What every channel promises, asked of each one that exists, against a real server on loopback."""

from __future__ import annotations

import logging
import socket
import traceback
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from alerting.channels.base import Channel, DeliveryState
from alerting.channels.build import KINDS
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable
from tests.alerting.kinds import NETWORKED, SPOKEN, WITHOUT_NETWORK, build, modules, placed, secrets_of
from tests.alerting.servers import Answer, Server, serving
from tests.alerting.world import incident

ALL = sorted(modules())
REMOTE = sorted([*NETWORKED, *SPOKEN])
HTML = "<html><body>Sign in to the guest network</body></html>"


class Spot(NamedTuple):
    """A channel and the server it talks to."""

    kind: str
    channel: Channel
    server: Server


@pytest.fixture(params=sorted(NETWORKED))
async def spot(request: pytest.FixtureRequest) -> AsyncIterator[Spot]:
    kind: str = request.param
    async with serving(NETWORKED[kind].well) as server:
        channel = build(kind, server.url)
        yield Spot(kind, channel, server)
        await channel.close()


def test_every_channel_module_is_in_this_suite_and_can_be_configured() -> None:
    assert set(ALL) == set(REMOTE) | set(WITHOUT_NETWORK)
    assert set(KINDS) == set(REMOTE)


@pytest.mark.parametrize("kind", ALL)
async def test_first_and_second_version_are_shown(kind: str) -> None:
    async with placed(kind) as url:
        channel = build(kind, url)
        first = await channel.deliver(incident(), None)
        assert (first.channel, first.incident_id, first.seq, first.state) == ("ops", "inc_1", 1, "open")
        stored = DeliveryState.from_bytes(first.to_bytes())
        second = await channel.deliver(incident(seq=2, state="resolved"), stored)
        assert (second.seq, second.state) == (2, "resolved")
        assert (channel.name, channel.kind) == ("ops", kind)
        await channel.close()


async def test_every_message_names_the_page_that_says_what_to_do(spot: Spot) -> None:
    await spot.channel.deliver(incident(), None)
    assert "docs/runbooks/velocity.md" in spot.server.arrived[0].body


class Case(NamedTuple):
    """One thing a service may do."""

    name: str
    answer: Answer
    error: type[ChannelError]
    reason: Reason
    retry_after_s: float | None = None


@pytest.mark.parametrize(
    "case",
    [
        Case("asks to slow down", Answer(429, "{}", headers={"Retry-After": "7"}), Retryable, Reason.RATE_LIMITED, 7.0),
        Case("asks without saying when", Answer(429, "{}"), Retryable, Reason.RATE_LIMITED),
        Case(
            "asks in a strange way", Answer(429, "{}", headers={"Retry-After": "soon"}), Retryable, Reason.RATE_LIMITED
        ),
        Case("is broken", Answer(500, "oops", "text/plain"), Retryable, Reason.SERVER_ERROR),
        Case("is overloaded", Answer(503, HTML, "text/html"), Retryable, Reason.SERVER_ERROR),
        Case("sends us elsewhere", Answer(302, headers={"Location": "/elsewhere"}), Refused, Reason.REDIRECTED),
        Case("sends us and the text", Answer(307, headers={"Location": "/elsewhere"}), Refused, Reason.REDIRECTED),
    ],
    ids=lambda case: case.name,
)
async def test_verdicts(spot: Spot, case: Case) -> None:
    spot.server.answers = [case.answer]
    with pytest.raises(case.error) as caught:
        await spot.channel.deliver(incident(), None)
    assert caught.value.reason == case.reason
    assert getattr(caught.value, "retry_after_s", None) == case.retry_after_s
    assert len(spot.server.arrived) == 1, "one delivery is one try, and redirects are not followed"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(HTML, "text/html"), ("{", "application/json"), ("[]", "application/json"), ("hello", "text/plain"),
     ('"ok"', "application/json"), ("", "application/json")],
)  # fmt: skip
async def test_nonsense_with_status_200(spot: Spot, body: str, content_type: str) -> None:
    spot.server.answers = [Answer(200, body, content_type)]
    if NETWORKED[spot.kind].any_2xx:
        assert (await spot.channel.deliver(incident(), None)).seq == 1
        return
    with pytest.raises(Retryable) as caught:
        await spot.channel.deliver(incident(), None)
    assert caught.value.reason == Reason.BAD_ANSWER


@pytest.mark.parametrize("kind", REMOTE)
async def test_no_answer_in_time(kind: str) -> None:
    async with placed(kind, hang=True) as url:
        channel = build(kind, url, timeout_s=0.1)
        with pytest.raises(Retryable) as caught:
            await channel.deliver(incident(), None)
        assert caught.value.reason == Reason.TIMEOUT
        assert caught.value.__context__ is None, "a foreign exception rides along"
        await channel.close()


@pytest.mark.parametrize("kind", REMOTE)
async def test_nobody_listens(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    channel = build(kind, f"http://127.0.0.1:{port}")
    with pytest.raises(Retryable) as caught:
        await channel.deliver(incident(), None)
    assert caught.value.reason == Reason.CONNECTION
    await channel.close()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, HTML, "text/html", echo=True),
        Answer(200, "{", echo=True),
        Answer(401, HTML, "text/html", echo=True),
        Answer(400, '{"ok": false, "error": "', echo=True),
        Answer(500, "oops", "text/plain", echo=True),
        Answer(429, "{}", headers={"Retry-After": "7"}),
        Answer(hang=True),
    ],
)
@pytest.mark.parametrize("kind", sorted(NETWORKED))
async def test_no_secret_is_seen_even_when_the_other_side_quotes_it(
    kind: str, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(NETWORKED[kind].well) as server:
        server.answers = [answer]
        channel = build(kind, server.url, timeout_s=0.2)
        seen = [repr(channel), str(channel)]
        caught: ChannelError | None = None
        try:
            await channel.deliver(incident(), None)
        except ChannelError as error:
            caught = error
        if NETWORKED[kind].any_2xx and answer.status == 200 and not answer.hang:
            assert caught is None
        else:
            assert caught is not None
            seen += [str(caught), repr(caught), "".join(traceback.format_exception(caught))]
            assert caught.__context__ is None, "a foreign exception rides along"
        await channel.close()
        server.over.set()
    seen.append(caplog.text)
    for secret in secrets_of(kind):
        assert secret not in "\n".join(seen)


async def test_a_code_that_quotes_the_token_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = secrets_of("slack")[0]
    async with serving(NETWORKED["slack"].well) as server:
        server.answers = [Answer(200, f'{{"ok": false, "error": "{token}"}}')]
        channel = build("slack", server.url)
        with pytest.raises(Retryable) as caught:
            await channel.deliver(incident(), None)
        await channel.close()
    assert token not in f"{caught.value}{caught.value!r}{caplog.text}"
