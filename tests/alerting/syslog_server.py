"""A strict syslog collector on loopback: RFC 6587 frames of RFC 5424 messages over TCP or TLS, or datagrams."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

_RFC5424: Final = re.compile(
    rb"<(?P<pri>\d{1,3})>1 (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?P<host>[\x21-\x7e]{1,255})"
    rb" (?P<app>[\x21-\x7e]{1,48}) (?P<proc>[\x21-\x7e]{1,128}) (?P<msgid>[\x21-\x7e]{1,32}) - (?P<msg>[\x20-\x7e]+)"
)


@dataclass(frozen=True)
class Entry:
    """One message that is well formed."""

    priority: int
    time: str
    host: str
    app: str
    finding: dict[str, Any]


@dataclass
class Collector(asyncio.DatagramProtocol):
    """Keeps what is well formed in `arrived`, all else in `nonsense`; `drop` breaks off each connection."""

    port: int = 0
    drop: bool = False
    arrived: list[Entry] = field(default_factory=list)
    nonsense: list[bytes] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.drop:
            writer.transport.abort()
            return
        while head := await reader.readuntil(b" ") if not reader.at_eof() else b"":
            self.take(await reader.readexactly(int(head)))
            if not await _more(reader):
                break
        writer.close()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.take(data)

    def take(self, data: bytes) -> None:
        found = _RFC5424.fullmatch(data)
        if found is None:
            self.nonsense.append(data)
        else:
            part = found.groupdict()
            self.arrived.append(
                Entry(
                    int(part["pri"]), part["time"].decode(), part["host"].decode(), part["app"].decode(),
                    json.loads(part["msg"]),
                )
            )  # fmt: skip
        self.news.set()


async def _more(reader: asyncio.StreamReader) -> bool:
    """False at the end: one message for each connection is what the channel promises."""
    return bool(await reader.read(1))


@asynccontextmanager
async def collecting(*, tls: ssl.SSLContext | None = None, udp: bool = False) -> AsyncIterator[Collector]:
    collector = Collector()
    if udp:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: collector, local_addr=("127.0.0.1", 0)
        )
        collector.port = transport.get_extra_info("sockname")[1]
        yield collector
        transport.close()
        return
    server = await asyncio.start_server(collector.talk, "127.0.0.1", 0, ssl=tls)
    collector.port = server.sockets[0].getsockname()[1]
    try:
        yield collector
    finally:
        server.close()
        await server.wait_closed()
