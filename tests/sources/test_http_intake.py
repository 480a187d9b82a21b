"""Events over HTTP: all or nothing, acknowledged before the answer, and no secret published."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from sources.acceptance import CHUNK_BYTES, Acceptor
from sources.errors import BrokerDown, BrokerSlow
from sources.http_intake import Message, create_intake
from sources.room import Room
from tests.sources.events import NOW_MS, PROVIDER_KEY, event, fingerprinter, parse

TOKEN = "intake-token"
MAX_BODY = 4_000_000


ROOM = 6_000_000


class Broker:
    """Keeps what is published, or fails as told."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.failure: Exception | None = None
        self.acknowledge = asyncio.Event()
        self.acknowledge.set()
        self.stands = asyncio.Event()  # somebody waits for it

    async def publish(self, messages: Sequence[Message]) -> None:
        self.stands.set()
        await self.acknowledge.wait()
        if self.failure is not None:
            raise self.failure
        self.messages += messages

    @property
    def events(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for _, value, _ in self.messages for line in value.split(b"\n")]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    acceptor = Acceptor(fingerprinter=fingerprinter())
    intake = create_intake(
        publish=broker.publish,
        acceptor=acceptor,
        token=SecretStr(TOKEN),
        max_body_bytes=MAX_BODY,
        now_ms=lambda: NOW_MS,
        room=Room(ROOM),
    )
    app.include_router(intake)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://intake", headers=headers) as client:
        yield client


def ndjson(events: Sequence[dict[str, Any]]) -> bytes:
    return b"\n".join(map(orjson.dumps, events))


THREE = [event(event_id=f"e{n}") for n in range(3)]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (orjson.dumps(THREE), {"Content-Type": "application/json"}),
        (ndjson(THREE), {"Content-Type": "application/x-ndjson"}),
        (ndjson(THREE), {}),
        (json.dumps(THREE, indent=2).encode(), {"Content-Type": "application/json; charset=utf-8"}),
        (gzip.compress(ndjson(THREE)), {"Content-Encoding": "gzip"}),
        (gzip.compress(ndjson(THREE[:2]) + b"\n") + gzip.compress(ndjson(THREE[2:])), {"Content-Encoding": "gzip"}),
    ],
    ids=["array", "ndjson", "ndjson by shape", "pretty-printed", "gzip", "gzip of two members"],
)
async def test_events_are_published_and_counted(
    client: httpx.AsyncClient, broker: Broker, body: bytes, headers: dict[str, str]
) -> None:
    answer = await client.post("/v1/events", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 3})
    ((key, _, fmt),) = broker.messages
    assert (key, fmt) == (None, "native")
    assert [published["event_id"] for published in broker.events] == ["e0", "e1", "e2"]


async def test_one_object_is_one_event(client: httpx.AsyncClient, broker: Broker) -> None:
    assert (await client.post("/v1/events", json=event())).json() == {"accepted": 1}
    assert broker.events == [event(ts=NOW_MS - 1750)]


async def test_what_is_published_gives_the_rows_of_what_was_sent(client: httpx.AsyncClient, broker: Broker) -> None:
    sent = [
        event(),
        event(event_id="b", ip="::ffff:203.0.113.7", cost_usd=0.25, requests=3),
        event(event_id="c", key_id=None, key=PROVIDER_KEY, user_id=PROVIDER_KEY, latency_ms=0.1),
    ]
    assert (await client.post("/v1/events", json=sent)).status_code == 202
    assert parse(*broker.events).frame.to_pylist() == parse(*sent).frame.to_pylist()


async def test_202_is_said_only_after_the_broker_has_acknowledged(client: httpx.AsyncClient, broker: Broker) -> None:
    broker.acknowledge.clear()
    answer = asyncio.create_task(client.post("/v1/events", json=event()))
    done, _ = await asyncio.wait([answer], timeout=0.05)
    assert not done
    broker.acknowledge.set()
    assert (await answer).status_code == 202


async def test_a_secret_is_fingerprinted_before_it_is_published(client: httpx.AsyncClient, broker: Broker) -> None:
    events = [
        event(event_id="a", key_id=None, key=PROVIDER_KEY),
        event(event_id="b", key_id=PROVIDER_KEY),
        event(event_id="c", error=f"401 for {PROVIDER_KEY}"),
        event(event_id="d", notes=PROVIDER_KEY),
    ]
    assert (await client.post("/v1/events", json=events)).status_code == 202
    assert PROVIDER_KEY.encode() not in b"".join(value for _, value, _ in broker.messages)
    name = fingerprinter().of(PROVIDER_KEY)
    assert [published["key_id"] for published in broker.events[:2]] == [name, name]
    assert all("key" not in published for published in broker.events)


async def test_one_bad_event_stops_the_whole_request_and_each_is_named(
    client: httpx.AsyncClient, broker: Broker
) -> None:
    events = [event(), event(status="200"), event(ts=0), {"no": "shape"}, event(key=PROVIDER_KEY)]
    answer = await client.post("/v1/events", json=events)
    assert answer.status_code == 400
    assert broker.messages == []
    assert (answer.json()["accepted"], answer.json()["bad"]) == (0, 4)
    assert [(error["index"], error["field"], error["reason"]) for error in answer.json()["errors"]] == [
        (1, "status", "invalid_field"),
        (2, "ts", "time_out_of_range"),
        (3, "", "unknown_format"),
        (4, "key_id", "invalid_field"),
    ]
    assert PROVIDER_KEY not in answer.text


async def test_a_bad_line_is_named_by_its_number(client: httpx.AsyncClient, broker: Broker) -> None:
    answer = await client.post("/v1/events", content=ndjson(THREE)[:-5])
    assert answer.status_code == 400
    assert [(error["index"], error["reason"]) for error in answer.json()["errors"]] == [(2, "not_json")]
    assert broker.messages == []


@pytest.mark.parametrize("body", [b"", b" \n", b"not json", b'{"event_id":'])
async def test_a_body_that_is_no_json_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/events", content=body)
    assert answer.status_code == 400
    assert [(error["index"], error["reason"]) for error in answer.json()["errors"]] == [(-1, "not_json")]


async def test_an_empty_list_is_nothing_to_publish(client: httpx.AsyncClient, broker: Broker) -> None:
    answer = await client.post("/v1/events", json=[])
    assert (answer.status_code, answer.json(), broker.messages) == (202, {"accepted": 0}, [])


async def test_litellm_records_are_taken_by_shape_or_by_name(client: httpx.AsyncClient, broker: Broker) -> None:
    record = {
        "id": "chatcmpl-1",
        "call_type": "acompletion",
        "startTime": 1_795_427_999.0,
        "model": "gpt-4o",
        "custom_llm_provider": "openai",
        "metadata": {"user_api_key_hash": "b" * 64},
        "messages": [{"role": "user", "content": "a private question"}],
    }
    assert (await client.post("/v1/events", json=record)).status_code == 202
    assert (await client.post("/v1/events?format=litellm", json=record)).status_code == 202
    assert (await client.post("/v1/events?format=kong", json=record)).status_code == 400
    assert [published["key_id"] for published in broker.events] == ["b" * 64] * 2
    assert "private" not in str(broker.messages)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer tök"]
)
async def test_without_the_token_nothing_is_read(client: httpx.AsyncClient, broker: Broker, header: str) -> None:
    answer = await client.post("/v1/events", json=event(), headers={b"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert broker.messages == []


def test_an_intake_without_a_token_is_not_built(broker: Broker) -> None:
    acceptor = Acceptor(fingerprinter=fingerprinter())
    with pytest.raises(ValueError, match="token"):
        create_intake(
            publish=broker.publish, acceptor=acceptor, token=SecretStr(""), max_body_bytes=1, now_ms=lambda: 0
        )


async def endless(sent: list[int]) -> AsyncIterator[bytes]:
    while True:
        sent.append(100_000)
        yield b" " * 100_000


async def test_a_body_over_the_limit_is_413_while_it_streams(client: httpx.AsyncClient) -> None:
    sent: list[int] = []
    answer = await client.post("/v1/events", content=endless(sent))
    assert answer.status_code == 413
    assert sum(sent) <= MAX_BODY + 200_000


async def test_a_declared_size_over_the_limit_is_413_unread(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/events", content=b"{}", headers={"Content-Length": str(MAX_BODY + 1)})
    assert answer.status_code == 413


def bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b" " * 1_000_000) for _ in range(size // 1_000_000)) + packer.flush()


async def test_a_gzip_bomb_is_413(client: httpx.AsyncClient) -> None:
    body = bomb(200_000_000)
    assert len(body) < MAX_BODY
    answer = await client.post("/v1/events", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "body", [b"plain", b"", gzip.compress(ndjson(THREE))[:-4], gzip.compress(b"{}", mtime=0) + b"tail"]
)
async def test_broken_gzip_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/events", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400


async def test_too_many_events_are_413(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/events", content=b"[" + b"1," * 100_000 + b"1]")
    assert answer.status_code == 413
    assert answer.json()["errors"][0]["reason"] == "too_many_events"


@pytest.mark.parametrize(
    "headers", [{"Content-Type": "text/html"}, {"Content-Encoding": "br"}, {"Content-Type": "multipart/form-data"}]
)
async def test_other_sorts_of_bodies_are_415(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await client.post("/v1/events", content=b"{}", headers=headers)).status_code == 415


@pytest.mark.parametrize(
    ("failure", "status", "retry_after"),
    [
        (BrokerSlow(retry_after_s=7), 429, "7"),
        (BrokerDown("gone"), 503, "5"),
        (ConnectionResetError(), 503, "5"),
        (TimeoutError(), 503, "5"),
    ],
)
async def test_a_broker_in_trouble_asks_for_patience(
    client: httpx.AsyncClient, broker: Broker, failure: Exception, status: int, retry_after: str
) -> None:
    broker.failure = failure
    answer = await client.post("/v1/events", json=event())
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, retry_after)
    assert answer.json()["accepted"] == 0


async def test_many_events_are_published_in_values_a_broker_takes(client: httpx.AsyncClient, broker: Broker) -> None:
    events = [event(event_id=f"e{n}", user_agent="x" * 1000) for n in range(1500)]
    answer = await client.post("/v1/events", content=ndjson(events))
    assert answer.json() == {"accepted": 1500}
    assert len(broker.messages) > 1
    assert max(len(value) for _, value, _ in broker.messages) <= CHUNK_BYTES
    assert [published["event_id"] for published in broker.events] == [f"e{n}" for n in range(1500)]


def burst(times: int) -> list[bytes]:
    """Bodies of so many times what there is room for."""
    body = ndjson([event(event_id=f"-{n}", user_agent="x" * 1000) for n in range(40)])
    return [body.replace(b'"-', b'"%d-' % n) for n in range(times * ROOM // len(body))]


async def test_a_burst_is_asked_to_come_back_and_nothing_of_it_is_lost(
    client: httpx.AsyncClient, broker: Broker
) -> None:
    """Twenty times what there is room for, while the broker stands still; what was refused is sent again later."""
    broker.acknowledge.clear()
    refused: list[bytes] = []
    taken: list[asyncio.Task[httpx.Response]] = []
    for body in burst(20):
        sending = asyncio.create_task(client.post("/v1/events", content=body))
        await asyncio.wait([sending, asyncio.create_task(broker.stands.wait())], return_when=asyncio.FIRST_COMPLETED)
        broker.stands.clear()
        if not sending.done():
            taken.append(sending)  # it waits for the broker
            continue
        answer = sending.result()
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        refused.append(body)
    assert len(refused) > 18 * len(taken)
    broker.acknowledge.set()
    assert {(await each).status_code for each in taken} == {202}
    for body in refused:
        assert (await client.post("/v1/events", content=body)).status_code == 202
    assert len({published["event_id"] for published in broker.events}) == 40 * len(burst(20))


async def test_without_room_a_body_is_not_read(client: httpx.AsyncClient, broker: Broker) -> None:
    broker.acknowledge.clear()
    packed = gzip.compress(ndjson(THREE))  # what it comes to is not known before
    first = asyncio.create_task(client.post("/v1/events", content=packed, headers={"Content-Encoding": "gzip"}))
    await broker.stands.wait()
    sent: list[int] = []
    answer = await client.post("/v1/events", content=endless(sent))
    assert (answer.status_code, answer.headers["Retry-After"], sent) == (429, "1", [])
    broker.acknowledge.set()
    assert (await first).status_code == 202
    assert (await client.post("/v1/events", content=ndjson(THREE))).status_code == 202
