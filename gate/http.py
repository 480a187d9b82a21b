"""What carries the bytes: HTTP/1.1 on asyncio, parsed by httptools. An answer is written before the next is read.

Nothing is awaited for an answer, so a call costs one turn of the loop and no task. What a gateway can do to it is
bounded: bodies, what is received for one request, and idle connections.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

import httptools

from gate.check import MAX_BODY_BYTES as CHECK_BODY_BYTES
from gate.check import PATH
from gate.server import MAX_BODY_BYTES, Asked, GateServer, Reply, problem

_HEAD_BYTES: Final = 16_384  # of one request, besides its body
_CHECK: Final = PATH.encode()
_IDLE_S: Final = 120.0
_TOO_MUCH: Final = "more than {} bytes: the gate needs no prompts, only their size"
_LINE: Final = {
    200: b"200 OK", 400: b"400 Bad Request", 401: b"401 Unauthorized", 403: b"403 Forbidden", 404: b"404 Not Found",
    413: b"413 Content Too Large", 429: b"429 Too Many Requests", 503: b"503 Service Unavailable",
}  # fmt: skip


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: GateServer, connections: set[_Connection]) -> None:
        self._server, self._connections = server, connections
        self._transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._received = 0
        self._most_bytes = MAX_BODY_BYTES  # of this request's body
        self.heard = True  # since the listener last looked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of a stream; uvloop's has no such base
        self._connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._connections.discard(self)

    def pause_writing(self) -> None:
        """Who does not read its answers is not asked for more questions."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.heard = True
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # answered as it stands; another protocol there is none
            self._transport.close()
        except httptools.HttpParserError:
            self._end(problem(400, "this is not HTTP"))
        else:
            if self._received > self._most_bytes + _HEAD_BYTES:
                self._end(problem(413, _TOO_MUCH.format(self._most_bytes)))

    def close(self) -> None:
        """At the second time also of one that does not read its last answer."""
        if self._transport.is_closing():
            self._transport.abort()
        else:
            self._transport.close()

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body, self._most_bytes = b"", {}, [], MAX_BODY_BYTES

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One that comes twice is joined: nobody may take the first and be judged by the second."""
        name = name.lower()
        before = self._headers.get(name)
        self._headers[name] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        if self._url.startswith(_CHECK):
            self._most_bytes = CHECK_BODY_BYTES
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._received = 0
        if self._transport.is_closing():
            return
        method, body = self._parser.get_method(), b"".join(self._body)
        if len(body) > self._most_bytes:
            reply = problem(413, _TOO_MUCH.format(self._most_bytes))
        else:
            asked = Asked(self._headers, body)
            reply = self._server.answer(method, self._url.partition(b"?")[0], asked)
        if self._parser.should_keep_alive() and not self._parser.should_upgrade():
            self._transport.write(_bytes(reply, head=method == b"HEAD"))
        else:
            self._end(reply, head=method == b"HEAD")

    def _end(self, reply: Reply, *, head: bool = False) -> None:
        if not self._transport.is_closing():
            self._transport.write(_bytes(reply, b"connection: close\r\n", head=head))
            self._transport.close()


class Listener:
    """A gate's address. `start` returns its URL; `stop` once what had come was answered."""

    def __init__(self, server: GateServer, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server, self._host, self._port = server, host, port
        self._connections: set[_Connection] = set()
        self._listening: asyncio.Server | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """OSError when the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            lambda: _Connection(self._server, self._connections), self._host, self._port, backlog=1024
        )
        self._looking = asyncio.create_task(self._hang_up_idle(), name="idle connections")
        return f"http://{self._host}:{self._listening.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._listening is not None:
            self._listening.close()
        for connection in [*self._connections]:
            connection.close()
        await asyncio.sleep(0)

    async def _hang_up_idle(self) -> None:
        """Who says nothing for that long, in the middle of a request too, is gone."""
        while True:
            await asyncio.sleep(_IDLE_S)
            for connection in [*self._connections]:
                if not connection.heard:
                    connection.close()
                connection.heard = False


def _bytes(reply: Reply, more: bytes = b"", *, head: bool = False) -> bytes:
    """`head`: of an answer without a body its client would take one for the next answer's beginning."""
    for name, value in reply.headers:
        more += b"%b: %b\r\n" % (name, value)
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b" % (
        _LINE[reply.status], reply.content_type, len(reply.body), more, b"" if head else reply.body,
    )  # fmt: skip
