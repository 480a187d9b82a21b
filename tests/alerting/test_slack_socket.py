"""Socket Mode against a strict Slack: it connects, acknowledges, moves on when asked, and says when it is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from alerting.answers.slack_socket import SlackSocket
from alerting.channels.slack_client import SlackApi
from schemas.config.routes import ChannelConfig
from tests.alerting.slack_server import APP, BOT, FakeSlack, slack

CLICK = {"type": "block_actions", "user": {"id": "U0ROSA"}, "actions": []}


@dataclass
class Line:
    """A running connection and what it was told."""

    fake: FakeSlack
    taken: list[Any] = field(default_factory=list)
    told: list[tuple[bool, str]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    now_s: float = 0.0
    passes_s: float = 3600.0
    busy: bool = False
    turned_away: int = 0
    ack: dict[str, Any] | None = None

    def take(self, doc: object) -> tuple[bool, dict[str, Any] | None]:
        if self.busy:
            self.turned_away += 1
            self.fake.poke()
            return False, None
        self.taken.append(doc)
        return True, self.ack

    def clock(self) -> float:
        """Each look at it is an hour later, unless time stands still."""
        self.now_s += self.passes_s
        return self.now_s

    def tell(self, connected: bool, why: str) -> None:
        self.told.append((connected, why))
        self.fake.poke()

    async def sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        await asyncio.sleep(0)

    async def connected(self, number: int = 1) -> None:
        await self.fake.when(lambda: sum(connected for connected, _ in self.told) >= number)

    async def away(self, words: str) -> None:
        await self.fake.when(lambda: any(words in why for connected, why in self.told if not connected))


@asynccontextmanager
async def line(fake: FakeSlack, token: str = APP) -> AsyncIterator[Line]:
    one = Line(fake)
    api = SlackApi("security", ChannelConfig(kind="slack", base_url=f"{fake.url}/api/", timeout_s=2), SecretStr(BOT))
    socket = SlackSocket(api, SecretStr(token), one.take, sleep=one.sleep, now_s=one.clock, tell=one.tell)
    running = asyncio.create_task(socket.run())
    try:
        yield one
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await api.close()


async def test_what_comes_is_acknowledged_and_taken() -> None:
    async with slack() as fake, line(fake) as one:
        await one.connected()
        assert await fake.send(CLICK) == {}
        one.ack = {"response_action": "errors", "errors": {"typed": "Type exactly: 2 kill"}}
        assert await fake.send({"type": "view_submission", "user": {"id": "U0ROSA"}}) == one.ack
        assert await fake.send(CLICK) == {}  # Slack takes no payload for a click
        assert [doc["type"] for doc in one.taken] == ["block_actions", "view_submission", "block_actions"]


async def test_what_cannot_be_taken_is_not_acknowledged() -> None:
    async with slack() as fake, line(fake) as one:
        await one.connected()
        one.busy = True
        refused = await fake.begin(CLICK)
        await fake.when(lambda: one.turned_away)
        one.busy = False
        assert await fake.send(CLICK) == {}
        assert not refused.done()


@pytest.mark.parametrize("reason", ["warning", "refresh_requested"])
async def test_a_new_connection_stands_before_the_old_one_ends(reason: str) -> None:
    async with slack() as fake, line(fake) as one:
        await one.connected()
        await fake.disconnect(reason)
        await one.connected(2)
        assert await fake.send(CLICK, on=0) == {}
        assert await fake.send(CLICK, on=1) == {}
        await fake.sockets[0].close()
        assert await fake.send(CLICK, on=1) == {}
        assert one.pauses == []
        assert all(connected for connected, _ in one.told)


@pytest.mark.parametrize(
    ("reason", "words", "pause_s"),
    [
        ("too_many_websockets", "more than ten workers", 60.0),
        ("link_disabled", "Socket Mode is switched off", 60.0),
        ("something_new", "Slack ended the connection: something_new", 1.0),
    ],
)
async def test_a_connection_that_slack_ends_is_told_and_tried_again(reason: str, words: str, pause_s: float) -> None:
    async with slack() as fake, line(fake) as one:
        await one.connected()
        await fake.disconnect(reason)
        await one.away(words)
        await one.connected(2)
        assert await fake.send(CLICK) == {}
        assert one.pauses == [pause_s]


async def test_a_lost_connection_comes_back() -> None:
    async with slack() as fake, line(fake) as one:
        await one.connected()
        transport = fake.sockets[0]._req.transport  # type: ignore[union-attr]  # the wire is cut
        assert transport is not None
        transport.abort()
        await one.away("the connection was lost")
        await one.connected(2)
        assert await fake.send(CLICK) == {}


async def test_while_slack_is_away_the_pauses_grow_to_a_minute() -> None:
    async with slack() as fake:
        fake.fail["apps.connections.open"] = [(500, "x")] * 6
        async with line(fake) as one:
            one.passes_s = 0
            await one.connected()
            assert one.pauses == [1.0, 2.0, 5.0, 15.0, 60.0, 60.0]
            assert all("Slack answered 500" in why for connected, why in one.told if not connected)
            one.passes_s = 3600  # it stands for an hour
            await fake.sockets[0].close()
            await one.connected(2)
            assert one.pauses[-1] == 1.0


async def test_connections_that_end_at_once_are_no_reason_to_hurry() -> None:
    async with slack() as fake, line(fake) as one:
        one.passes_s = 0
        for number in range(1, 4):
            await one.connected(number)
            await fake.disconnect("refresh_requested")
        await one.connected(4)
        assert one.pauses == [1.0, 2.0, 5.0]
        assert all(connected for connected, _ in one.told)


async def test_slack_says_how_long_to_wait() -> None:
    async with slack() as fake:
        fake.fail["apps.connections.open"] = [(429, "ratelimited")]
        fake.retry_after_s = 47
        async with line(fake) as one:
            await one.connected()
            assert one.pauses == [47.0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, "invalid_auth"), "unauthorized: Slack answered invalid_auth: check the token"),
        ((429, "ratelimited"), "rate_limited"),
    ],
)
async def test_a_refusal_says_what_to_look_at(answer: tuple[int, str], words: str) -> None:
    async with slack() as fake:
        fake.fail["apps.connections.open"] = [answer]
        async with line(fake) as one:
            await one.away(words)
            await one.connected()


async def test_a_wrong_token_is_not_shown() -> None:
    async with slack() as fake, line(fake, "xapp-1-WRONGtoken") as one:
        await one.away("invalid_auth")
        assert "WRONGtoken" not in str(one.told)


async def test_an_address_is_used_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with slack() as fake:
        fake.hello = False
        async with line(fake) as one:
            await fake.when(lambda: fake.sockets)
            await fake.sockets[0].close()
            fake.hello = True
            await one.away("did not say hello")
            await one.connected()
        assert len(fake.made("apps.connections.open")) == len(fake.sockets)
        assert "SECRETticket" not in str(one.told)


@pytest.mark.parametrize(
    "sent",
    ["", "[]", "no json", "{}", '{"type": "interactive"}', "[" * 9000,
     '{"type": "interactive", "envelope_id": 7, "payload": {}}'],
)  # fmt: skip
async def test_what_is_no_envelope_is_passed_over(sent: str) -> None:
    async with slack() as fake, line(fake) as one:
        await one.connected()
        await fake.sockets[0].send_str(sent)
        await fake.sockets[0].send_bytes(b"\x00")
        assert await fake.send(CLICK) == {}
        assert one.taken[-1] == CLICK


async def test_an_address_elsewhere_is_not_gone_to() -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        return web.json_response({"ok": True, "url": "wss://evil.example/link?ticket=1"})

    async with slack() as fake:
        app = web.Application()
        app.router.add_post("/api/apps.connections.open", elsewhere)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        fake.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with line(fake) as one:
            await one.away("foreign address")
        await runner.cleanup()


async def test_a_connection_outlives_the_timeout_of_a_call() -> None:
    async with slack() as fake:
        api = SlackApi("s", ChannelConfig(kind="slack", base_url=f"{fake.url}/api/", timeout_s=0.3), SecretStr(BOT))
        one = Line(fake)
        running = asyncio.create_task(
            SlackSocket(api, SecretStr(APP), one.take, sleep=one.sleep, now_s=one.clock, tell=one.tell).run()
        )
        await one.connected()
        # The one thing that can be shown by time alone: that nothing happens within it.
        await asyncio.sleep(0.8)
        assert await fake.send(CLICK) == {}
        assert (len(fake.sockets), one.pauses) == (1, [])
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await api.close()
