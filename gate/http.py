"""What carries the bytes: an ASGI application for uvicorn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from gate.server import MAX_BODY_BYTES, Asked, GateServer, Reply, problem

_Message = MutableMapping[str, Any]


def asgi(server: GateServer) -> Callable[..., Awaitable[None]]:
    """The server as an ASGI application."""

    async def app(
        scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]
    ) -> None:
        body, more = b"", True
        while more and len(body) <= MAX_BODY_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        reply = _answer(server, scope, body)
        size = str(len(reply.body)).encode()
        headers = [(b"content-type", reply.content_type), (b"content-length", size), *reply.headers]
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})

    return app


def _answer(server: GateServer, scope: _Message, body: bytes) -> Reply:
    if len(body) > MAX_BODY_BYTES:
        return problem(413, f"more than {MAX_BODY_BYTES} bytes: the gate needs no prompts, only their size")
    return server.answer(scope["method"].encode(), scope["raw_path"], Asked(dict(scope["headers"]), body))
