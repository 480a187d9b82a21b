"""A stage whose broker goes away starts again by itself when the broker is back, however often the start fails."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from service.app_keeper import AppKeeper
from service.tansu import Tansu, free_port
from streams.acks import Arrived
from streams.faust_apps import StageApp
from streams.health import StageProgress
from streams.kafka import EMBEDDED
from tests.integration.faust_engine import create_topics
from tests.integration.world import until

TOPIC = "source"


class Stage:
    """Takes records; one that says `break` ends it, after the test has let it."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.may_break = asyncio.Event()

    async def handle(self, record: Arrived) -> None:
        self.taken.append(record.value)
        if record.value == b"break":
            await self.may_break.wait()
            raise OSError("the broker is away")
        record.ack()

    def forget(self) -> None:
        """It keeps no state."""


async def send(bootstrap: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as sender:
        await sender.send_and_wait(TOPIC, value, partition=0)


# The thread of an app that lost its broker ends with the error of its connection: that is Faust's way.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_stage_comes_back_with_the_broker(tmp_path: Path) -> None:
    stage, progress = Stage(), StageProgress("score", started_s=0)
    tansu = Tansu(log_path=tmp_path / "tansu.log", port=free_port())
    app = StageApp("group", [TOPIC], stage.handle, stage.forget)
    async with tansu, AsyncExitStack() as stack:
        await create_topics(tansu.bootstrap, {TOPIC: 1})
        keeper = AppKeeper(app, tansu.bootstrap, timing=EMBEDDED, progress=progress, now_s=time.monotonic)
        stack.push_async_callback(keeper.stop)
        await keeper.start()
        await send(tansu.bootstrap, b"break")
        await until(lambda: stage.taken == [b"break"], "the record has come")
        await tansu.stop()
        stage.may_break.set()
        await until(lambda: "bootstrap" in progress.failed, lambda: f"a start has failed: {progress.failed}")
        await tansu.start()
        await create_topics(tansu.bootstrap, {TOPIC: 1})
        await send(tansu.bootstrap, b"after")
        await until(lambda: b"after" in stage.taken, lambda: f"it reads again: {progress.failed}")
        await until(lambda: progress.failed == "", "its health is good again")
