"""A loop that has failed goes on with another consumer: the one it had may be dead for good."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from aiokafka import TopicPartition

from service.renewed import Renewed


@dataclass
class Dead:
    """Fails whenever it is run, like a consumer whose coordination has broken."""

    closes: bool = True
    closed: int = 0

    async def run(self) -> None:
        raise ConnectionError("dead for good")

    def stop(self) -> None: ...

    def assigned(self) -> list[TopicPartition]:
        return []

    async def close(self) -> None:
        self.closed += 1
        if not self.closes:
            await asyncio.Event().wait()


@dataclass
class Sound:
    runs: int = 0
    running: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def assigned(self) -> list[TopicPartition]:
        return []

    async def run(self) -> None:
        self.runs += 1
        self.running.set()
        await self.stopped.wait()

    def stop(self) -> None:
        self.stopped.set()

    async def close(self) -> None: ...


async def test_after_a_failure_the_old_one_is_closed_and_a_new_one_runs() -> None:
    dead, sound = Dead(), Sound()

    async def make() -> Sound:
        return sound

    loop = Renewed(dead, make)
    with pytest.raises(ConnectionError):
        await loop.run()
    assert (dead.closed, sound.runs) == (0, 0)
    running = asyncio.create_task(loop.run())
    await asyncio.wait_for(sound.running.wait(), 10)
    loop.stop()
    await running
    assert (dead.closed, sound.runs) == (1, 1)


async def test_one_that_was_stopped_while_it_was_made_anew_does_not_run() -> None:
    sound = Sound()

    async def make() -> Sound:
        loop.stop()
        return sound

    loop = Renewed(Dead(), make)
    with pytest.raises(ConnectionError):
        await loop.run()
    await loop.run()
    assert sound.runs == 0
