"""A stage that was given a record and never ends it is begun anew, by what the broker says of its group."""

from __future__ import annotations

import asyncio
import time

from aiokafka import AIOKafkaProducer, TopicPartition

from service.app_keeper import AppKeeper
from service.watchdog import Watchdog, Watched
from streams.acks import Arrived
from streams.faust_apps import StageApp
from streams.health import StageProgress
from streams.kafka import EMBEDDED, Timing
from streams.metrics import Metrics
from streams.standstill import Place, places_of
from tests.brokers import Broker
from tests.integration.faust_engine import create_topics
from tests.integration.world import until


class Forgetful:
    """Takes its first record and forgets it; a new app gives it another chance."""

    def __init__(self) -> None:
        self.taken = 0

    async def handle(self, record: Arrived) -> None:
        self.taken += 1
        if self.taken > 1:
            record.ack()

    def forget(self) -> None:
        """It keeps nothing."""


async def test_a_stage_that_no_longer_commits_is_begun_anew(broker: Broker, prefix: str) -> None:
    topic, group = f"{prefix}source", f"{prefix}group"
    tp = TopicPartition(topic, 0)
    await create_topics(broker.bootstrap, {topic: 1})
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as sender:
        await sender.send_and_wait(topic, b"1", partition=0)
    stage, progress = Forgetful(), StageProgress("score", started_s=0)
    timing = EMBEDDED if broker.name == "tansu" else Timing(2.0, 100)
    keeper = AppKeeper(
        StageApp(group, [topic], stage.handle, stage.forget), broker.bootstrap, timing=timing, progress=progress,
        now_s=time.monotonic,
    )  # fmt: skip
    watched = Watched("score", group, [tp], keeper.assigned, keeper.restart, progress)
    dog = Watchdog(broker.bootstrap, [watched], after_s=1.0, metrics=Metrics(), give_up=None)
    await keeper.start()
    watching = asyncio.create_task(dog.run(time.monotonic))
    try:
        await until(lambda: stage.taken > 1, "the record has come again")

        async def committed() -> bool:
            return await places_of(broker.bootstrap, group, [tp]) == {tp: Place(1, 1)}

        await until(committed, "it is committed", every_s=0.2)
    finally:
        watching.cancel()
        await keeper.stop()
