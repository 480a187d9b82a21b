"""Made-up traffic: the same seed gives the same events, in time order, and they arrive wherever they are sent."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi import FastAPI, Request, Response
from rich.console import Console

from service.errors import UserError
from service.install import Install, Running
from service.local_server import LocalServer
from service.simulate import main, traffic
from sources.simulator.shapes import SHAPES
from streams.kafka import EMBEDDED, consumer, create_topics
from streams.topics import Topic
from tests.brokers import Broker

END_MS = 1_795_478_400_000


def events(**changed: Any) -> list[dict[str, Any]]:
    wanted: dict[str, Any] = {"keys": 8, "minutes": 4, "theft": "", "seed": 1, "end_ms": END_MS}
    return list(traffic(**(wanted | changed)))


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    assert events(theft="burst") == events(theft="burst")
    assert events() != events(seed=2)


@pytest.mark.parametrize("theft", ["", *SHAPES])
def test_events_are_in_time_order_and_end_at_the_end(theft: str) -> None:
    times = [event["ts"] for event in events(theft=theft)]
    assert times == sorted(times)
    assert END_MS - 4 * 60_000 <= times[0] <= times[-1] < END_MS


def test_a_theft_fills_the_last_quarter() -> None:
    before, after = events(), events(theft="burst")
    added = {event["event_id"] for event in after} - {event["event_id"] for event in before}
    times = [event["ts"] for event in after if event["event_id"] in added]
    assert len(times) > 10
    assert min(times) >= END_MS - 60_000


@pytest.mark.parametrize(("theft", "keys"), [("nope", 8), ("many_keys", 1)])
def test_a_theft_that_cannot_be_is_refused_before_anything_is_made(theft: str, keys: int) -> None:
    with pytest.raises(UserError, match=theft):
        traffic(keys=keys, minutes=1, theft=theft, seed=1, end_ms=END_MS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEYFUSE_INTAKE_TOKEN", "let-me-in")
    (tmp_path / "keyfuse.d").mkdir()
    return tmp_path / "keyfuse.d"


class Intake:
    """Refuses the first request as too fast, then takes what has the token; `deaf` refuses all."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.taken: list[dict[str, Any]] = []
        self.calls = 0
        self.app = FastAPI()

        @self.app.post("/v1/events")
        async def events(request: Request) -> Response:
            self.calls += 1
            if deaf or request.headers["authorization"] != "Bearer let-me-in":
                return Response("wrong or missing bearer token", 401)
            if self.calls == 1:
                return Response(status_code=429, headers={"retry-after": "0"})
            self.taken += [orjson.loads(line) for line in (await request.body()).split(b"\n")]
            return Response(status_code=202)


async def simulated(to: str, config: Path) -> str:
    said = io.StringIO()
    err = Console(file=said, width=200)
    await asyncio.to_thread(main, to=to, destination="-", keys=4, minutes=3, theft="", seed=1, config=config, err=err)
    return said.getvalue()


@pytest.fixture
async def serve(folder: Path) -> AsyncIterator[Any]:
    servers: list[LocalServer] = []

    async def start(app: FastAPI) -> None:
        server = LocalServer(app)
        url = await server.start()
        servers.append(server)
        Running("127.0.0.1:1", url, os.getpid()).write(Install.open(folder).data_dir)

    yield start
    for server in servers:
        await server.stop()


async def test_over_http_every_event_arrives_once_even_when_asked_to_slow_down(folder: Path, serve: Any) -> None:
    intake = Intake()
    await serve(intake.app)
    said = await simulated("http", folder)
    assert said.startswith(f"{len(intake.taken):,} events of 4 keys")
    assert len({event["event_id"] for event in intake.taken}) == len(intake.taken) > 0


async def test_what_the_intake_refuses_is_told(folder: Path, serve: Any) -> None:
    await serve(Intake(deaf=True).app)
    with pytest.raises(UserError, match="the intake answered 401: wrong or missing bearer token"):
        await simulated("http", folder)


async def test_to_kafka_every_event_is_a_record(folder: Path, tansu_broker: Broker, prefix: str) -> None:
    (folder / "keyfuse.yaml").write_text(f"kafka: {{bootstrap: '{tansu_broker.bootstrap}', topic_prefix: {prefix}}}\n")
    install = Install.open(folder)
    await create_topics(tansu_broker.bootstrap, install.topics.specs())
    said = await simulated("kafka", folder)
    count = int(said.split()[0].replace(",", ""))
    reader = consumer(tansu_broker.bootstrap, install.topics.name(Topic.RAW), f"{prefix}test", timing=EMBEDDED)
    await reader.start()
    found: list[Any] = []
    try:
        async with asyncio.timeout(30):
            while len(found) < count:
                batches = await reader.getmany(timeout_ms=500)
                found += [orjson.loads(record.value) for records in batches.values() for record in records]
    finally:
        await reader.stop()
    assert len({event["event_id"] for event in found}) == count
