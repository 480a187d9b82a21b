"""The layer that holds a local server, and who speaks with it, to the provider's own description."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.containment.published.description import Description


class Checked:
    """ASGI layer: what is not as described is noted in `deviations`, which `serving` wants empty at the end.

    Args:
        app: The local server.
        description: What the provider publishes.
        also: Descriptions of other parts of the same API, asked where the first does not know a path.
        callers: Paths that a key's users call, which are no part of what is described here.
    """

    def __init__(
        self, app: ASGIApp, description: Description, *also: Description, callers: frozenset[str] = frozenset()
    ) -> None:
        self._app = app
        self._callers = callers
        self._descriptions = (description, *also)
        self.deviations: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if path in self._callers:
            await self._app(scope, receive, send)
            return
        known = ((each, each.find(method, path)) for each in self._descriptions)
        description, operation = next((pair for pair in known if pair[1]), (None, None))
        body = await whole(receive)
        if description is None or operation is None:
            self.deviations.append(f"{method} {path}: the provider describes no such call")
            await self._app(scope, again(body), send)
            return
        kind = _content_type(scope["headers"])
        self.deviations += description.wrong_in_request(operation, scope["query_string"].decode(), kind, body)
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        await self._app(scope, again(body), keep)
        start, content = answer[0], b"".join(each.get("body", b"") for each in answer[1:])
        given = _content_type(start["headers"])
        self.deviations += description.wrong_in_answer(operation, start["status"], given, content)
        for message in answer:
            await send(message)


async def whole(receive: Receive) -> bytes:
    """A request's body."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def again(body: bytes) -> Receive:
    """A body that was read, to be read once more."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _content_type(headers: list[tuple[bytes, bytes]]) -> str:
    return next((value.decode() for name, value in headers if name.lower() == b"content-type"), "")
