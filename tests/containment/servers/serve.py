"""A real loopback server for the length of a test, and a layer that makes it misbehave on order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState


@dataclass(frozen=True)
class Misbehave:
    """Answers one request wrongly. `after`: the request is really carried out first."""

    status: int = 500
    body: bytes = b'{"error": {"message": "broken"}}'
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    after: bool = False
    hang: bool = False  # never answers
    changes_only: bool = False  # lets reads pass and waits for the next change


IsChange = Callable[[str, str], bool]  # of a request's method and path


def is_change(method: str, path: str) -> bool:
    return method != "GET" and not path.endswith("/probe")


class Faulty:
    """ASGI layer: the queued faults go to the next requests, first in, first out."""

    def __init__(self, app: ASGIApp, *, is_change: IsChange = is_change) -> None:
        self._app = app
        self.is_change = is_change
        self.faults: deque[Misbehave] = deque()
        self.requests: list[tuple[str, str]] = []
        self.released = asyncio.Event()

    @property
    def deviations(self) -> list[str]:
        """What was not as the provider describes it, where a description is at hand."""
        return getattr(self._app, "deviations", [])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.requests.append((scope["method"], scope["path"]))
        fault = self._next(changing=self.is_change(scope["method"], scope["path"]))
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.after:
            await self._app(scope, receive, _nowhere)
        if fault.hang:
            await self.released.wait()
        headers = [(name.encode(), value.encode()) for name, value in fault.headers.items()]
        await send({"type": "http.response.start", "status": fault.status, "headers": headers})
        await send({"type": "http.response.body", "body": fault.body})

    def _next(self, *, changing: bool) -> Misbehave | None:
        if self.faults and (changing or not self.faults[0].changes_only):
            return self.faults.popleft()
        return None


async def _nowhere(message: Message) -> None:
    """The client never sees it."""


@contextlib.asynccontextmanager
async def serving(app: Faulty) -> AsyncIterator[str]:
    """The base URL of the app on a free loopback port.

    Uvicorn's protocol without its server: that one takes over signals and needs 0.2 s to stop, hundreds of times.
    """
    config = uvicorn.Config(app, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    make = partial(H11Protocol, config=config, server_state=state, app_state={})
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        app.released.set()
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        await asyncio.gather(*state.tasks, return_exceptions=True)
    assert not app.deviations, "not as the provider describes it: " + "; ".join(dict.fromkeys(app.deviations))


def body(value: object) -> bytes:
    return json.dumps(value).encode()
