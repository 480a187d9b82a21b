"""The notify stage's pictures: after the words, once, and never in their way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import Reason, Refused
from alerting.channels.memory import MemoryChannel
from alerting.illustrate import MOST_AT_ONCE
from schemas.config import RoutesConfig
from schemas.config.routes import ChannelConfig
from schemas.records import Incident
from streams.metrics import Metrics
from streams.notify import NotifyDeps, NotifyStage, draw_aside
from tests.alerting.kinds import NETWORKED, build
from tests.alerting.servers import serving
from tests.alerting.world import incident, sketched
from tests.streams.world import T0, MemoryShards

ROUTES = RoutesConfig(channels={"gallery": ChannelConfig(kind="slack", target="C0123")})
OPEN = incident(sketch=sketched())
LATER = incident(sketch=sketched(), seq=2, transition="Also mix.")
CONTAINED = incident(sketch=sketched(), seq=3, state="contained")


class Gallery(MemoryChannel):
    """A channel whose uploads take as long as a test says."""

    def __init__(self, *, pictures: bool = True) -> None:
        super().__init__("gallery")
        self.pictures = pictures
        self.log: list[str] = []
        self.may_upload = asyncio.Event()
        self.may_upload.set()
        self.refusal: Refused | None = None

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        self.log.append(f"words {incident.seq}")
        await super().deliver(incident, previous)
        return shows(self, incident, {"ts": "1.0"})

    async def illustrate(self, incident: Incident, shown: DeliveryState, png: bytes) -> None:
        await self.may_upload.wait()
        if self.refusal:
            raise self.refusal
        self.log.append(f"picture {incident.seq}")


class World:
    def __init__(self) -> None:
        self.channel, self.store, self.metrics = Gallery(), MemoryShards(), Metrics()
        self.acked: list[int] = []
        self.changed = asyncio.Event()
        self.stage = self.new_stage()

    def new_stage(self) -> NotifyStage:
        deps = NotifyDeps(
            routes=lambda: ROUTES, channels={"gallery": self.channel}, store=self.store, load=self.store.load,
            metrics=self.metrics, now_ms=lambda: T0, sleep=self.sleep, draw=self.draw,
        )  # fmt: skip
        return NotifyStage(deps)

    async def draw(self, incident: Incident) -> bytes | None:
        return b"png"

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)

    async def tell(self, *incidents: Incident, acked: int) -> None:
        """Queue them, and wait until this many in all are acknowledged."""
        for one in incidents:
            self.stage.on_incident(0, one.to_bytes(), done=lambda seq=one.seq: self._ack(seq))  # type: ignore[misc]
        async with asyncio.timeout(5):
            while len(self.acked) < acked:
                self.changed.clear()
                await self.changed.wait()

    def _ack(self, seq: int) -> None:
        self.acked.append(seq)
        self.changed.set()

    async def restart(self) -> None:
        await self.stage.stop()
        self.stage = self.new_stage()
        self.stage.start()

    def counted(self, result: str) -> float:
        line = f'keyfuse_pictures_total{{channel="gallery",result="{result}"}} '
        told = [each for each in self.metrics.render().decode().splitlines() if each.startswith(line)]
        return float(told[0].removeprefix(line)) if told else 0.0


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.stage.start()
    yield world
    await world.stage.stop()


async def test_the_words_come_first_and_the_picture_once_for_each_occasion(world: World) -> None:
    for number, one in enumerate((OPEN, LATER, CONTAINED), 1):
        await world.tell(one, acked=number)
    assert world.channel.log == ["words 1", "picture 1", "words 2", "words 3", "picture 3"]
    assert world.counted("delivered") == 2


async def test_a_redelivery_after_a_restart_brings_no_second_picture(world: World) -> None:
    await world.tell(OPEN, acked=1)
    await world.restart()
    await world.tell(OPEN, acked=2)
    assert world.channel.log == ["words 1", "picture 1"]


async def test_a_crash_between_words_and_picture_loses_no_picture(world: World) -> None:
    world.channel.may_upload.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await world.tell(OPEN, acked=1)
    assert world.acked == [], "not acknowledged before its picture is settled, so that it comes again"
    await world.restart()
    world.channel.may_upload.set()
    await world.tell(OPEN, acked=1)
    assert world.channel.log == ["words 1", "picture 1"]


async def test_an_upload_that_hangs_holds_up_no_words(world: World) -> None:
    world.channel.may_upload.clear()
    others = [incident(incident_id=f"inc_{n}", seq=n) for n in range(2, 5)]
    await world.tell(OPEN, *others, acked=3)
    assert world.channel.log == ["words 1", "words 2", "words 3", "words 4"]
    assert world.acked == [2, 3, 4]


async def test_in_a_mass_event_pictures_are_crowded_out_and_words_are_not(world: World) -> None:
    world.channel.may_upload.clear()
    many = [incident(incident_id=f"inc_{n}", seq=1, sketch=sketched()) for n in range(40)]
    await world.tell(*many, acked=7)
    assert len(world.channel.log) == 40
    assert 40 - MOST_AT_ONCE - 1 <= world.counted("crowded_out") <= 40 - MOST_AT_ONCE


async def test_a_failed_picture_is_counted_and_the_record_ends(world: World) -> None:
    world.channel.refusal = Refused("gallery", Reason.UNAUTHORIZED, "missing_scope")
    await world.tell(OPEN, acked=1)
    assert world.channel.log == ["words 1"]
    assert world.counted("unauthorized") == 1
    assert world.counted("delivered") == 0


async def test_no_pictures_for_a_channel_that_wants_none(world: World) -> None:
    world.channel.pictures = False
    await world.restart()
    await world.tell(OPEN, acked=1)
    assert world.channel.log == ["words 1"]


async def test_the_real_picture_reaches_the_real_thread(world: World) -> None:
    """Slack's channel on a server of our own, and the drawing in its thread."""
    async with serving(NETWORKED["slack"].well) as server:
        slack = build("slack", server.url)
        deps = replace(world.stage.deps, channels={"gallery": slack}, draw=draw_aside)
        stage = NotifyStage(deps)
        stage.start()
        acked = asyncio.Event()
        stage.on_incident(0, OPEN.to_bytes(), done=acked.set)
        async with asyncio.timeout(30):
            await acked.wait()
        await stage.stop()
        await slack.close()
    paths = [arrived.path.partition("?")[0] for arrived in server.arrived]
    assert paths[0] == "/api/chat.postMessage"
    assert paths[1:] == ["/api/files.getUploadURLExternal", "/upload/v1/ABC", "/api/files.completeUploadExternal"]
    assert server.arrived[2].data.startswith(b"\x89PNG")
    assert server.arrived[3].query["thread_ts"] == "1795428000.000001"
