"""ASGI middleware: an application of your own asks the gate before each call that reaches it.

    app.add_middleware(KeyfuseMiddleware)             # Starlette, FastAPI; settings from the environment
    app = KeyfuseMiddleware(app, settings=Settings(gate_url="http://127.0.0.1:8322"))

Refused calls do not reach the application. A degraded one reaches it with the cheaper model in its body.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

from gate.adapters.asking import AsyncGate
from gate.adapters.outbox import Outbox
from gate.adapters.question import json_of, key_of, question_of
from gate.adapters.settings import Settings, settings_from
from gate.adapters.watch import Watch
from gate.adapters.wire import Answer, headers_of, refusal, words

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


class KeyfuseMiddleware:
    """Asks for each request under `paths`.

    Args:
        app: The application behind it.
        settings: Where the gate is; by default from the environment.
        paths: Beginnings of the paths that are asked for; others pass as they are.
        max_body_bytes: Larger bodies are answered 413: the model stands in the body, so all of it is read first.
    """

    def __init__(
        self, app: App, *, settings: Settings | None = None, paths: Sequence[str] = ("/v1/",),
        max_body_bytes: int = 32_000_000, gate: AsyncGate | None = None, outbox: Outbox | None = None,
    ) -> None:  # fmt: skip
        self._app = app
        self._settings = settings or settings_from(os.environ)
        self._paths, self._max_body_bytes = tuple(paths), max_body_bytes
        self._gate = gate or AsyncGate(self._settings)
        self.outbox = outbox or Outbox(self._settings)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] not in {"http", "websocket"} or not scope["path"].startswith(self._paths):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._call(scope, receive, send)

    async def _call(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = _named(scope)
        body = await self._body(receive) if scope["method"] in _BODY else b""
        if body is None:
            await _answer(send, 413, {}, {"error": {"message": f"more than {self._max_body_bytes} bytes"}})
            return
        read = json_of(body)
        question, answer = await self._ask(scope, headers, read)
        watch = Watch(question, answer, outbox=self.outbox, settings=self._settings, now_s=time.time)  # noqa: TID251 - the edge
        if not answer.passes:
            watch.refused()
            await _answer(send, answer.status, headers_of(answer), refusal(answer))
            return
        if answer.state == "degrade":
            body = json.dumps(read | {"model": answer.model}).encode()
            scope = {**scope, "headers": _sized(scope["headers"], len(body))}
        try:
            await self._app(scope, _again(body, receive), _watching(send, watch, headers_of(answer)))
        finally:
            watch.over()

    async def _ask(
        self, scope: Message, headers: dict[str, str], body: dict[str, Any]
    ) -> tuple[dict[str, Any], Answer]:
        question = question_of(body, headers, endpoint=scope["path"], ip=(scope.get("client") or ("",))[0])
        key = key_of(headers)
        if isinstance(key, Answer):
            return question, key
        question |= {"key": key} | ({} if scope.get("method") in _BODY else {"requests": 0})
        return question, await self._gate.ask(question)

    async def _socket(self, scope: Message, receive: Receive, send: Send) -> None:
        """Asked once, when it is opened; what goes over it is not seen."""
        headers = _named(scope)
        _, answer = await self._ask(scope, headers, {})
        if answer.passes:
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": words(answer)[:120]})

    async def _body(self, receive: Receive) -> bytes | None:
        """All of it; None when it is too large."""
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                return None
            more = message.get("more_body", False)
        return b"".join(parts)

    async def _lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            await self.close()

    async def close(self) -> None:
        """Delivers what is not told yet."""
        await self._gate.close()
        await asyncio.to_thread(self.outbox.close)  # the gate may be in this very loop


def _named(scope: Message) -> dict[str, str]:
    """Headers by name; one that comes twice is joined."""
    named: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        named[name] = f"{named[name]}, {value.decode('latin-1')}" if name in named else value.decode("latin-1")
    return named


def _again(body: bytes, receive: Receive) -> Receive:
    """The body that was read already, then whatever else comes."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def once_more() -> Message:
        return waiting.pop() if waiting else await receive()

    return once_more


def _watching(send: Send, watch: Watch, more: dict[str, str]) -> Send:
    async def through(message: Message) -> None:
        if message["type"] == "http.response.start":
            named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]}
            watch.began(message["status"], named)
            message = {**message, "headers": [*message["headers"], *_raw(more)]}
        elif message["type"] == "http.response.body":
            watch.feed(message.get("body", b""))
            if not message.get("more_body", False):
                watch.over()
        await send(message)

    return through


async def _answer(send: Send, status: int, headers: dict[str, str], body: dict[str, Any]) -> None:
    content = json.dumps(body).encode()
    sized = headers | {"content-type": "application/json", "content-length": str(len(content))}
    await send({"type": "http.response.start", "status": status, "headers": _raw(sized)})
    await send({"type": "http.response.body", "body": content})


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


def _sized(headers: list[tuple[bytes, bytes]], size: int) -> list[tuple[bytes, bytes]]:
    kept = [pair for pair in headers if pair[0] not in {b"content-length", b"transfer-encoding"}]
    return [*kept, (b"content-length", str(size).encode())]
