"""A stage that was given a record and never ends it is begun anew, by what the broker says of its group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from schemas.records import Incident
from service.app_keeper import AppKeeper
from service.watchdog import Watchdog, Watched, people_told
from streams.acks import Arrived
from streams.faust_apps import StageApp
from streams.health import StageProgress
from streams.kafka import EMBEDDED, Timing
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.standstill import Place, places_of
from streams.topics import Topic, Topics
from tests.brokers import Broker
from tests.integration.faust_engine import create_topics, read_all
from tests.integration.world import PATIENCE_S, until


class Forgetful:
    """Takes its first records and forgets them; a new app gives it another chance."""

    def __init__(self, forgets: int = 1) -> None:
        self.taken = 0
        self._forgets = forgets

    async def handle(self, record: Arrived) -> None:
        self.taken += 1
        if self.taken > self._forgets:
            record.ack()

    def forget(self) -> None:
        """It keeps nothing."""


@dataclass
class World:
    """One stage on a broker, with one record, and what its watchdog did."""

    broker: Broker
    prefix: str
    stage: Forgetful
    gave_up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def tp(self) -> TopicPartition:
        return TopicPartition(f"{self.prefix}source", 0)

    @property
    def group(self) -> str:
        return f"{self.prefix}group"

    @property
    def topics(self) -> Topics:
        return Topics(self.prefix, 1)

    async def committed(self) -> bool:
        return await places_of(self.broker.bootstrap, self.group, [self.tp]) == {self.tp: Place(1, 1)}


@asynccontextmanager
async def watched(broker: Broker, prefix: str, stage: Forgetful) -> AsyncIterator[World]:
    world, progress = World(broker, prefix, stage), StageProgress("score", started_s=0)
    await create_topics(broker.bootstrap, {world.tp.topic: 1, world.topics.name(Topic.INCIDENTS): 1})
    timing = EMBEDDED if broker.name == "tansu" else Timing(2.0, 100)
    keeper = AppKeeper(
        StageApp(world.group, [world.tp.topic], stage.handle, stage.forget), broker.bootstrap, timing=timing,
        progress=progress, now_s=time.monotonic,
    )  # fmt: skip
    kept = Watched("score", world.group, [world.tp], keeper.assigned, keeper.restart, progress)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as sender:
        await sender.send_and_wait(world.tp.topic, b"1", partition=0)
        dog = Watchdog(
            broker.bootstrap, [kept], after_s=1.0, metrics=Metrics(), give_up=lambda _: world.gave_up.set(),
            tell=people_told(Outbox(sender, world.topics), ends=True, now_ms=lambda: 0),
        )  # fmt: skip
        await keeper.start()
        watching = asyncio.create_task(dog.run(time.monotonic))
        try:
            yield world
        finally:
            watching.cancel()
            await keeper.stop()


async def test_a_stage_that_no_longer_commits_is_begun_anew(broker: Broker, prefix: str) -> None:
    async with watched(broker, prefix, Forgetful()) as world:
        await until(lambda: world.stage.taken > 1, "the record has come again")
        await until(world.committed, "it is committed", every_s=0.2)
        assert not world.gave_up.is_set()


@pytest.mark.kafka
async def test_where_that_does_not_help_people_are_told_before_the_worker_ends(
    kafka_broker: Broker, prefix: str
) -> None:
    async with watched(kafka_broker, prefix, Forgetful(forgets=1000)) as world:
        async with asyncio.timeout(PATIENCE_S):
            await world.gave_up.wait()
        (_, told), *_ = await read_all(kafka_broker.bootstrap, world.topics.name(Topic.INCIDENTS), 0)
    incident = Incident.from_bytes(told or b"")
    assert (incident.key_id, incident.severity) == ("keyfuse", "critical")
    assert f"{world.tp.topic}-0 stands at 0" in incident.headline
