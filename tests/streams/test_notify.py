"""The notify stage: a dead channel keeps its work and stops no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from alerting.channels.errors import Reason, Retryable
from alerting.channels.memory import MemoryChannel
from schemas.config import RoutesConfig
from schemas.config.routes import ChannelConfig, RouteConfig
from schemas.records import Incident
from streams.metrics import Metrics
from streams.notify import NotifyDeps, NotifyStage
from tests.streams.world import T0, MemoryShards, decider, finding

ROUTES = RoutesConfig(
    channels={name: ChannelConfig(kind="webhook", target="https://example.org") for name in ("good", "bad")},
    routes=(RouteConfig(channels=("good", "bad")),),
)


def versions() -> list[Incident]:
    rules = decider("observe")
    first = rules.finding(None, finding(0))
    second = rules.finding(first.case, finding(5, family="origin"))
    return [*first.incidents, *second.incidents]


class World:
    def __init__(self) -> None:
        failures = [Retryable("bad", Reason.CONNECTION, "down") for _ in range(6)]
        self.good, self.bad = MemoryChannel("good"), MemoryChannel("bad", failures)
        self.store = MemoryShards()
        self.acked: list[int] = []
        self.all_acked = asyncio.Event()
        self.stage = self.new_stage()

    def new_stage(self) -> NotifyStage:
        return NotifyStage(
            NotifyDeps(
                routes=lambda: ROUTES, channels={"good": self.good, "bad": self.bad}, store=self.store,
                load=self.store.load, metrics=Metrics(), now_ms=lambda: T0, sleep=self.sleep,
            )
        )  # fmt: skip

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def tell(self, incidents: list[Incident]) -> None:
        def acked(seq: int) -> None:
            self.acked.append(seq)
            if len(self.acked) == len(incidents):
                self.all_acked.set()

        for incident in incidents:
            self.stage.on_incident(0, incident.to_bytes(), done=lambda seq=incident.seq: acked(seq))  # type: ignore[misc]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.stage.start()
    yield world
    await world.stage.stop()


async def test_every_version_reaches_every_channel_also_one_that_was_down(world: World) -> None:
    incidents = versions()
    world.tell(incidents)
    async with asyncio.timeout(5):
        await world.all_acked.wait()
    expected = [incident.seq for incident in incidents]
    assert [incident.seq for incident in world.good.delivered] == expected
    assert [incident.seq for incident in world.bad.delivered] == expected
    assert world.acked == expected


async def test_what_was_told_before_a_restart_is_not_told_again(world: World) -> None:
    incidents = versions()
    world.tell(incidents)
    async with asyncio.timeout(5):
        await world.all_acked.wait()
    await world.stage.stop()
    world.acked.clear()
    world.all_acked.clear()
    world.stage = world.new_stage()
    world.stage.start()
    world.tell(incidents)
    async with asyncio.timeout(5):
        await world.all_acked.wait()
    assert [incident.seq for incident in world.good.delivered] == [incident.seq for incident in incidents]
