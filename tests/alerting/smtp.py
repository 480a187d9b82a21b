"""A strict mail relay on loopback: in order, TLS and sign-in first when told so, and it fails on demand."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass(frozen=True)
class Letter:
    """One mail as it arrived, and how."""

    sender: str
    to: tuple[str, ...]
    mail: EmailMessage
    over_tls: bool
    signed_in: str


@dataclass
class Relay:
    """`answers`: verb → what it says once instead; `hang` before anything is said; `quote` repeats every line."""

    tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = None
    answers: dict[str, list[str]] = field(default_factory=dict)
    hang: bool = False
    port: int = 0
    arrived: list[Letter] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.hang:
            await self.over.wait()
        try:
            await _Talk(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@dataclass
class _Talk:
    relay: Relay
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    over_tls: bool = False
    signed_in: str = ""
    greeted: bool = False
    sender: str = ""
    to: list[str] = field(default_factory=list)

    async def run(self) -> None:
        self.over_tls = self.writer.get_extra_info("ssl_object") is not None
        await self.say("220 relay ESMTP")
        while line := (await self.reader.readline()).decode().rstrip("\r\n"):
            self.relay.lines.append(line)
            verb = line.split(" ", 1)[0].upper()
            wanted = self.relay.answers.get(verb)
            if wanted:
                await self.say(wanted.pop(0).replace("{line}", line))
                continue
            if verb == "QUIT":
                await self.say("221 bye")
                return
            await self.answer(verb, line)

    async def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())
        await self.writer.drain()

    async def answer(self, verb: str, line: str) -> None:
        if verb == "EHLO":
            self.greeted = True
            await self.say(*self.offers())
        elif verb == "STARTTLS" and self.relay.tls and not self.over_tls:
            await self.say("220 go ahead")
            await self.writer.start_tls(self.relay.tls)
            self.over_tls, self.greeted = True, False
        elif verb == "AUTH" and self.relay.login:
            await self.sign_in(line)
        elif self.relay.login and not self.signed_in:
            await self.say("530 5.7.0 sign in first")
        else:
            await self.mail(verb, line)

    def offers(self) -> list[str]:
        starttls = ["250-STARTTLS"] if self.relay.tls and not self.over_tls else []
        auth = ["250-AUTH PLAIN"] if self.relay.login and (self.over_tls or not self.relay.tls) else []
        return ["250-relay", *starttls, *auth, "250 8BITMIME"]

    async def sign_in(self, line: str) -> None:
        _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
        if (user, password) != self.relay.login:
            await self.say(f"535 5.7.8 {user} and {password} are not known")
            return
        self.signed_in = user
        await self.say("235 2.7.0 welcome")

    async def mail(self, verb: str, line: str) -> None:
        address = line.partition("<")[2].partition(">")[0]
        if verb == "MAIL" and self.greeted:
            self.sender, self.to = address, []
            await self.say("250 2.1.0 ok")
        elif verb == "RCPT" and self.sender:
            self.to.append(address)
            await self.say("250 2.1.5 ok")
        elif verb == "DATA" and self.to:
            await self.say("354 go on")
            data = await self.reader.readuntil(b"\r\n.\r\n")
            mail = message_from_bytes(data[:-3].replace(b"\r\n..", b"\r\n."), policy=policy.default)
            self.relay.arrived.append(Letter(self.sender, tuple(self.to), mail, self.over_tls, self.signed_in))
            await self.say("250 2.0.0 queued")
        elif verb == "RSET":
            await self.say("250 ok")
        else:
            await self.say(f"503 5.5.1 not now: {line}")


@asynccontextmanager
async def relaying(relay: Relay, *, at_once: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """Serve; `at_once` is TLS from the first byte."""
    server = await asyncio.start_server(relay.talk, "127.0.0.1", 0, ssl=at_once)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        relay.over.set()
        server.close()
        await server.wait_closed()
