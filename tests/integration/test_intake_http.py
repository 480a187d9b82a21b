"""`POST /v1/events` of a real worker in front of a real broker."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from service.tansu import Tansu
from streams.topics import Topic
from tests.brokers import Broker
from tests.integration.faust_engine import read_all
from tests.integration.uses import T0_MS, Event, ndjson, use, uses
from tests.integration.world import World, running, until

KEY = "key_of_the_intake"
ONLY_HTTP = ("http",)


@pytest.fixture
async def world(broker: Broker, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    """A worker that only takes events."""
    async with running(broker, prefix, tmp_path, roles=ONLY_HTTP) as one:
        yield one


async def published(world: World) -> list[Event]:
    """What stands in `usage.raw` now."""
    topics = world.worker.install.topics
    found = [await read_all(world.worker.bootstrap, topics.name(Topic.RAW), p) for p in range(topics.partitions)]
    return [orjson.loads(line) for records in found for _, value in records for line in (value or b"").split(b"\n")]


async def test_what_was_accepted_is_in_the_topic_before_the_answer(world: World) -> None:
    for number in range(5):
        assert (await world.post(ndjson([use(f"e{number}", KEY, T0_MS)]))).status_code == 202
        assert {event["event_id"] for event in await published(world)} == {f"e{n}" for n in range(number + 1)}


async def test_answers_by_what_was_sent(world: World) -> None:
    good = uses(KEY, T0_MS, count=3)
    zipped = gzip.compress(ndjson(good))
    bad = [good[0], use("b", KEY, T0_MS, output_tokens=-5), use("c", KEY, T0_MS, status="200")]
    big = ndjson(uses(KEY, T0_MS, count=800))
    assert len(big) > world.worker.install.folder.wiring.intake.max_body_bytes

    assert (await world.post(zipped, **{"content-encoding": "gzip"})).json() == {"accepted": 3}
    answers = {
        "bad fields": await world.post(ndjson(bad)),
        "no json": await world.post(b"{"),
        "too large": await world.post(big),
        "a bomb": await world.post(gzip.compress(b" " * 10_000_000), **{"content-encoding": "gzip"}),
        "broken gzip": await world.post(zipped[:-9], **{"content-encoding": "gzip"}),
        "no token": await world.post(ndjson(good), authorization=""),
        "wrong token": await world.post(ndjson(good), authorization="Bearer guess"),
    }
    assert {name: answer.status_code for name, answer in answers.items()} == {
        "bad fields": 400, "no json": 400, "too large": 413, "a bomb": 413, "broken gzip": 400, "no token": 401,
        "wrong token": 401,
    }  # fmt: skip
    errors = answers["bad fields"].json()["errors"]
    assert [(error["index"], error["field"]) for error in errors] == [(1, "output_tokens"), (2, "status")]
    assert [event["event_id"] for event in await published(world)] == [event["event_id"] for event in good]


async def test_a_secret_never_reaches_the_topic(world: World) -> None:
    secret = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t"
    assert (await world.post(ndjson([use("s", None, T0_MS, key=secret)]))).status_code == 202
    (event,) = await published(world)
    assert event["key_id"].startswith("fp1:")
    assert secret not in str(event)


class PausedBroker:
    """A Tansu of this test alone that can be made to hang, as a broker does whose disk is full or whose machine is."""

    def __init__(self, tansu: Tansu) -> None:
        process = tansu._process
        assert isinstance(process, subprocess.Popen)
        self._group = process.pid
        self.broker = Broker("tansu", tansu.bootstrap, tansu.log_path)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        os.killpg(self._group, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._group, signal.SIGCONT)


@pytest.fixture
async def hangs(tmp_path: Path) -> AsyncIterator[PausedBroker]:
    async with Tansu(log_path=tmp_path / "tansu.log") as tansu:
        yield PausedBroker(tansu)


async def test_nothing_is_accepted_before_the_broker_has_it(hangs: PausedBroker, prefix: str, tmp_path: Path) -> None:
    async with running(hangs.broker, prefix, tmp_path, roles=ONLY_HTTP) as world:
        assert (await world.post(ndjson([use("before", KEY, T0_MS)]))).status_code == 202
        async with hangs.paused():
            answer = asyncio.create_task(world.post(ndjson([use("meanwhile", KEY, T0_MS)])))
            done, _ = await asyncio.wait([answer], timeout=0.5)
            assert not done
        assert (await answer).status_code == 202
        assert {event["event_id"] for event in await published(world)} == {"before", "meanwhile"}


async def test_while_the_broker_hangs_producers_are_asked_to_come_back_and_then_all_is_well(
    hangs: PausedBroker, prefix: str, tmp_path: Path
) -> None:
    async with running(hangs.broker, prefix, tmp_path) as world:
        events = uses(KEY, T0_MS, count=6)
        assert (await world.post(ndjson(events[:2]))).status_code == 202
        await until(lambda: world.windows(KEY)[0].get("requests_1h") == 2, "the first two are scored")
        async with hangs.paused():
            refused = await world.post(ndjson(events[2:4]))
            assert refused.status_code in (429, 503)
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.json()["accepted"] == 0
            leak = await world.http.post("/v1/leaks", json={"key_id": KEY, "source": "paste"})
            assert (leak.status_code in (429, 503), leak.json()["accepted"]) == (True, 0)

        async def taken() -> bool:
            return (await world.post(ndjson(events[2:]))).status_code == 202

        await until(taken, "events are taken again")
        # The refused ones may have got through after all; sent again they are counted once.
        await until(lambda: world.windows(KEY)[0].get("requests_1h") == 6, lambda: f"scored: {world.windows(KEY)}")

        async def archived() -> bool:
            return await world.archived(KEY) == 6

        await until(archived, "six rows in the archive")
        answer = await world.http.get("/healthz")
        assert answer.json()["problems"] == []
