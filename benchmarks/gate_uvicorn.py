"""The other way to carry the bytes, to compare with: the same server as an ASGI application under uvicorn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import uvicorn

from gate.server import Asked, GateServer

_Message = MutableMapping[str, Any]


def asgi(server: GateServer) -> Callable[..., Awaitable[None]]:
    async def app(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        reply = server.answer(scope["method"].encode(), scope["raw_path"], Asked(dict(scope["headers"]), body))
        size = str(len(reply.body)).encode()
        headers = [(b"content-type", reply.content_type), (b"content-length", size), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    return app


class UvicornListener(uvicorn.Server):
    """As quick as it can be set."""

    def __init__(self, server: GateServer) -> None:
        super().__init__(
            uvicorn.Config(
                asgi(server), host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off",
                http="httptools", date_header=False, server_header=False,
            )
        )  # fmt: skip

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def start(self) -> str:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup()
        return f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}"
