"""A real HTTP server on loopback that records what arrives and answers what a test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web


@dataclass(frozen=True)
class Arrived:
    """One request."""

    path: str
    headers: dict[str, str]
    body: str
    data: bytes = b""  # the body as it came

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.path).query))


@dataclass(frozen=True)
class Answer:
    """One response. `echo` adds the whole request to the body, as a debugging proxy does."""

    status: int = 200
    body: str = ""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    echo: bool = False


@dataclass
class Server:
    """Answers from `answers` first, then what the service says when all is well."""

    well: Callable[[Arrived, int], str]
    answers: list[Answer] = field(default_factory=list)
    arrived: list[Arrived] = field(default_factory=list)
    url: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        data = await request.read()
        arrived = Arrived(request.path_qs, dict(request.headers), data.decode(errors="replace"), data)
        self.arrived.append(arrived)
        answer = self.answers.pop(0) if self.answers else Answer(body=self.well(arrived, len(self.arrived)))
        if answer.hang:
            await self.over.wait()
        echo = f"\n{arrived}" if answer.echo else ""
        return web.Response(
            status=answer.status,
            text=answer.body + echo,
            content_type=answer.content_type,
            headers=answer.headers,
        )


@asynccontextmanager
async def serving(well: Callable[[Arrived, int], str]) -> AsyncIterator[Server]:
    server = Server(well)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.over.set()
        await runner.cleanup()
