"""Slack, PagerDuty, a webhook and a provider that fail for a while: before what they were asked for, or after it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from aiohttp import web
from fastapi import Request, Response
from pydantic import SecretStr

from containment.sandbox_server import NewKey, Sandbox, create_sandbox
from service.local_server import LocalServer
from tests.alerting.kinds import NETWORKED
from tests.alerting.servers import Arrived, Server
from tests.integration.servers import Board
from tests.integration.world import ENVIRON, until

Way = Literal["500", "503", "429", "timeout", "connection dropped"]
_WAYS: Final[tuple[Way, ...]] = ("500", "503", "429", "timeout", "connection dropped")
_FAILING_SHARE: Final = 0.8
_AFTER_SHARE: Final = 0.3  # of the failures: it was done all the same
_HANG_S: Final = 8.0  # longer than Keyfuse waits
_LONGER_S: Final = 60.0
_LONGEST_S: Final = 3600.0


class Failure(NamedTuple):
    """How one call fails."""

    way: Way
    after: bool


@dataclass
class Weather:
    """Calls fail while it is bad, most of them."""

    rng: random.Random
    storms: int = 0  # under way
    faults: Counter[str] = field(default_factory=Counter)

    async def storm(self, for_s: float, until_s: float) -> None:
        """Bad for so long, and on until it has hit a call; not much beyond `until_s` of the loop's clock."""
        loop, before = asyncio.get_running_loop(), self.faults.total()
        self.storms += 1
        try:
            await asyncio.sleep(for_s)
            async with asyncio.timeout_at(max(until_s, loop.time()) + _LONGER_S):
                await until(lambda: self.faults.total() > before, "a call fails", patience_s=_LONGEST_S)
        except TimeoutError:
            return
        finally:
            self.storms -= 1

    def draw(self) -> Failure | None:
        if not self.storms or self.rng.random() >= _FAILING_SHARE:
            return None
        failure = Failure(self.rng.choice(_WAYS), self.rng.random() < _AFTER_SHARE)
        self.faults[f"{failure.way} {'after' if failure.after else 'before'} the effect"] += 1
        return failure


class FailingServer(Server):
    """`arrived` is what took effect, and `at_s` when, whether or not its sender knows; `lost_s` is when it does not."""

    def __init__(self, kind: str, rng: random.Random) -> None:
        super().__init__(NETWORKED[kind].well)
        self.weather = Weather(rng)
        self.at_s: list[float] = []
        self.lost_s: list[float] = []
        self._numbers = 0

    def takes(self, arrived: Arrived, at_s: float) -> None:
        self.arrived.append(arrived)
        self.at_s.append(at_s)

    async def handle(self, request: web.Request) -> web.Response:
        data = await request.read()
        arrived = Arrived(request.path_qs, dict(request.headers), data.decode(errors="replace"), data)
        failure = self.weather.draw()
        self._numbers += 1
        body = ""
        if failure is None or failure.after:
            self.takes(arrived, time.monotonic())
            body = self.well(arrived, self._numbers)
            if failure is not None:
                self.lost_s.append(self.at_s[-1])
        if failure is None:
            return web.Response(text=body, content_type="application/json")
        if failure.way == "connection dropped" and request.transport is not None:
            request.transport.close()
        if failure.way == "timeout":
            await asyncio.sleep(_HANG_S)
        status = int(failure.way) if failure.way.isdigit() else 502
        return web.Response(status=status, headers={"Retry-After": "1"} if status == 429 else {})


class Effect(NamedTuple):
    """A key that stands otherwise than before."""

    key_id: str
    status: str


@dataclass
class FailingProvider:
    """The sandbox behind the weather. `effects` are what really changed, in order."""

    sandbox: Sandbox
    weather: Weather
    url: str = ""
    effects: list[Effect] = field(default_factory=list)
    calls: int = 0
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def through(self, request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        """Around each call."""
        failure, self.calls = self.weather.draw(), self.calls + 1
        answer = Response(status_code=502)
        if failure is None or failure.after:
            answer = await self._effective(request, go_on)
        if failure is None:
            return answer
        if failure.way in ("timeout", "connection dropped"):
            await asyncio.sleep(_HANG_S)  # whoever waited has gone
            return Response(status_code=504)
        return Response(status_code=int(failure.way), headers={"Retry-After": "1"} if failure.way == "429" else {})

    async def _effective(self, request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        async with self._turn:  # else a change could be counted for two calls
            before = self._statuses()
            answer = await go_on(request)
            after = self._statuses()
        self.effects += [Effect(key, after[key]) for key in after if before.get(key, "active") != after[key]]
        return answer

    def _statuses(self) -> dict[str, str]:
        return {key: self.sandbox.find(key).rule.status for key in self.keys}

    keys: tuple[str, ...] = ()


@dataclass
class Services:
    """What stands around an install."""

    board: Board
    provider: FailingProvider

    def weather(self, name: str) -> Weather:
        """Of a channel, or of `provider`."""
        if name == "provider":
            return self.provider.weather
        server = getattr(self.board, name)
        assert isinstance(server, FailingServer)
        return server.weather


@asynccontextmanager
async def services(seed: int, keys: tuple[str, ...]) -> AsyncIterator[Services]:
    """All of them, up and well."""
    rng = random.Random(seed)
    async with AsyncExitStack() as stack:
        board = Board(
            *[await stack.enter_async_context(_serving(FailingServer(kind, random.Random(rng.random())))) for kind in (
                "slack", "pagerduty", "webhook"
            )]
        )  # fmt: skip
        app = create_sandbox(SecretStr(ENVIRON["SANDBOX_ADMIN"]))
        provider = FailingProvider(app.state.sandbox, Weather(random.Random(rng.random())), keys=keys)
        for key_id in keys:
            provider.sandbox.register(NewKey(key_id=key_id))
        app.middleware("http")(provider.through)
        server = LocalServer(app)
        provider.url = await server.start()
        stack.push_async_callback(server.stop)
        yield Services(board, provider)


@asynccontextmanager
async def _serving(server: FailingServer) -> AsyncIterator[FailingServer]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
