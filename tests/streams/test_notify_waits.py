"""What waits for time alone: told at the end of quiet hours and up the chain, also by another process, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from alerting.channels.memory import MemoryChannel
from schemas.config import RoutesConfig
from schemas.config.routes import ChannelConfig, RouteConfig
from schemas.records import Incident
from streams.metrics import Metrics
from streams.notify import NotifyDeps, NotifyStage
from tests.alerting.world import incident, ms
from tests.streams.world import MemoryShards

CHAIN: dict[str, Any] = {"channels": ["chat"], "escalate": [{"after_min": 15, "to": ["pager"]}]}
NIGHT: dict[str, Any] = {"channels": ["chat"], "quiet_hours": {"from": "10:00", "until": "11:00"}}


class World:
    """One notify stage after another on the same store; the incident opened at 10:00 UTC."""

    def __init__(self) -> None:
        self.store, self.now_ms = MemoryShards(), ms(0)
        self.routes = RoutesConfig()
        self.use(CHAIN)
        self.acked: list[int] = []
        self.chat, self.pager = MemoryChannel("chat"), MemoryChannel("pager")
        self.stage = self.new_stage()

    def use(self, route: dict[str, Any]) -> None:
        channels = {name: ChannelConfig(kind="webhook", target="https://example.org") for name in ("chat", "pager")}
        self.routes = RoutesConfig(channels=channels, routes=(RouteConfig(**route),))

    def new_stage(self) -> NotifyStage:
        return NotifyStage(
            NotifyDeps(
                routes=lambda: self.routes, channels={"chat": self.chat, "pager": self.pager}, store=self.store,
                load=self.store.load, metrics=Metrics(), now_ms=lambda: self.now_ms, sleep=asyncio.sleep,
            )
        )  # fmt: skip

    async def restart(self) -> None:
        await self.stage.stop()
        self.stage = self.new_stage()
        self.stage.start()
        self.stage.restored(0, self.store.values)

    async def tell(self, one: Incident) -> None:
        self.stage.on_incident(0, one.to_bytes(), done=lambda: self.acked.append(one.seq))
        await self.settle()

    async def tick(self, at_s: float) -> None:
        self.now_ms = ms(at_s)
        await self.stage.tick()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(50):  # nothing here waits for anything but its turn
            await asyncio.sleep(0)

    @property
    def seen(self) -> tuple[list[int], list[int]]:
        return [one.seq for one in self.chat.delivered], [one.seq for one in self.pager.delivered]

    @property
    def waits(self) -> list[bytes]:
        return [key for key, value in self.store.values.items() if key.startswith(b"waiting:") and value]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.stage.start()
    yield world
    await world.stage.stop()


async def test_the_chain_goes_on_while_nobody_acknowledges_and_tells_each_once(world: World) -> None:
    await world.tell(incident())
    assert (world.seen, world.acked) == (([1], []), [1])
    await world.tick(14 * 60)
    assert world.seen == ([1], [])
    for _ in range(3):
        await world.tick(15 * 60)
    assert world.seen == ([1], [1])
    assert world.waits == []


async def test_an_acknowledged_incident_wakes_nobody_else(world: World) -> None:
    await world.tell(incident())
    await world.tell(incident(seq=2, state="acknowledged"))
    await world.restart()
    await world.tick(3600)
    assert (world.seen, world.waits, world.acked) == (([1, 2], []), [], [1, 2])


async def test_a_restart_forgets_no_chain(world: World) -> None:
    await world.tell(incident())
    await world.restart()
    await world.tick(60)
    assert world.seen == ([1], [])
    await world.restart()
    await world.tick(16 * 60)
    assert world.seen == ([1], [1])


async def test_a_restart_between_telling_and_noting_tells_nobody_twice(world: World) -> None:
    await world.tell(incident())
    before = dict(world.store.values)
    await world.tick(16 * 60)
    world.store.values.update({key: before[key] for key in before if key.startswith(b"waiting:")})
    await world.restart()
    await world.tick(17 * 60)
    assert (world.seen, world.waits) == (([1], [1]), [])


async def test_quiet_hours_hold_and_the_newest_version_is_told_at_their_end(world: World) -> None:
    world.use(NIGHT)
    await world.tell(incident(severity="warning"))
    await world.tell(incident(severity="warning", seq=2))
    assert (world.seen, world.acked) == (([], []), [1, 2]), "what is stored is done with"
    await world.restart()
    await world.tick(3599)
    assert world.seen == ([], [])
    await world.tick(3600)
    assert (world.seen, world.waits) == (([2], []), [])


async def test_what_turns_critical_at_night_is_told_at_once(world: World) -> None:
    world.use(NIGHT)
    await world.tell(incident(severity="warning"))
    await world.tell(incident(seq=2))
    assert (world.seen, world.waits) == (([2], []), [])


async def test_nothing_is_acknowledged_before_it_is_stored(world: World) -> None:
    world.use(NIGHT)
    world.store.crash_after = 0
    await world.tell(incident(severity="warning"))
    assert world.acked == []


async def test_after_a_rebalance_another_worker_tells(world: World) -> None:
    await world.tell(incident())
    world.stage.forget()
    await world.tick(16 * 60)
    assert world.seen == ([1], [])


async def test_an_old_version_that_comes_again_does_not_undo_a_newer_one(world: World) -> None:
    await world.tell(incident(seq=2))
    await world.tell(incident(seq=1))
    await world.tick(16 * 60)
    assert (world.seen, world.acked) == (([2], [2]), [2, 1])
