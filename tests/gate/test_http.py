"""Bytes on a connection: however cut, however wrong, each question has one answer and no harm is done."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate.http import Listener
from gate.server import MAX_BODY_BYTES, Asked, Reply
from tests.gate.test_server import SECRET, server
from tests.gate.world import Gate

BODY = b'{"key_id": "k1"}'
HEAD = b"POST /v1/authorize HTTP/1.1\r\nHost: gate\r\n"
ASK = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Line:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of the next."""
        async with asyncio.timeout(10):
            head = await self._reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            return int(head.split()[1]), await self._reader.readexactly(size)

    async def ended(self) -> bool:
        async with asyncio.timeout(10):
            return await self._reader.read() == b""


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    listener = Listener(server(Gate()))
    port = int((await listener.start()).rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Line(reader, writer)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    await listener.stop()


async def test_one_connection_carries_many_questions_also_sent_at_once(line: Line) -> None:
    await line.send(ASK)
    assert (await line.answer())[0] == 200
    await line.send(ASK * 50)
    bodies = [await line.answer() for _ in range(50)]
    assert len({body for status, body in bodies if status == 200}) == 50


async def test_a_question_may_come_byte_by_byte_and_in_chunks(line: Line) -> None:
    await line.send(*(bytes([byte]) for byte in ASK))
    assert (await line.answer())[0] == 200

    await line.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"5\r\n" + BODY[:5] + b"\r\n")
    await line.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY) - 5, BODY[5:]))
    assert (await line.answer())[0] == 200


async def test_who_asks_for_it_is_told_to_go_on_and_the_connection_ends_on_demand(line: Line) -> None:
    await line.send(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    assert (await line._reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")

    await line.send(BODY)

    assert (await line.answer())[0] == 200
    assert await line.ended()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"this is not HTTP\r\n\r\n", 400),
        (HEAD + b"Content-Length: nine\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: gate\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 404),
        (HEAD + b"Content-Length: 10000000\r\n\r\n" + b"x" * (MAX_BODY_BYTES + 20_000), 413),
        (HEAD + b"X-Long: " + b"x" * 200_000, 413),
    ],
)
async def test_what_is_no_question_is_answered_once_and_ends_the_connection(
    line: Line, sent: bytes, status: int
) -> None:
    await line.send(sent)

    assert (await line.answer())[0] == status
    with contextlib.suppress(ConnectionError):  # one that is reset has ended as well
        assert await line.ended()


async def test_who_asks_for_the_head_alone_is_sent_no_body(line: Line) -> None:
    """A body would be taken for the beginning of the next answer."""
    for path, status in ((b"/healthz", b"200"), (b"/nowhere", b"404")):
        await line.send(b"HEAD %b HTTP/1.1\r\nHost: gate\r\n\r\n" % path)
        head = await line._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 " + status)
    await line.send(ASK)
    assert (await line.answer())[0] == 200


async def test_a_mistake_of_the_gates_own_refuses_that_call_and_no_other() -> None:
    told: list[Exception] = []

    def broken(_: Asked) -> Reply:
        raise KeyError(SECRET)

    gate = server(Gate())
    gate.edge = replace(gate.edge, failed=told.append)
    gate.routes[b"POST", b"/v1/settle"] = broken
    answer = gate.answer(b"POST", b"/v1/settle", Asked({}, b"{}"))

    assert (answer.status, SECRET.encode() in answer.body, len(told)) == (400, False, 1)
    assert gate.answer(b"POST", b"/v1/authorize", Asked({}, BODY)).status == 200


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_break_a_gate(noise: bytes, cuts: list[int]) -> None:
    async def main() -> None:
        listener = Listener(server(Gate()))
        port = int((await listener.start()).rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        edges = sorted({0, len(noise), *cuts})
        try:
            for start, end in pairwise(edges):
                writer.write(noise[start:end])
                await asyncio.sleep(0)
        finally:
            writer.close()
        good, other = await asyncio.open_connection("127.0.0.1", port)
        line = Line(good, other)
        await line.send(ASK)
        assert (await line.answer())[0] == 200
        other.close()
        await listener.stop()

    asyncio.run(main())
