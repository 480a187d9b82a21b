"""A process that may die, fall asleep, or be refused, at each thing that it does to the world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from aiokafka.errors import KafkaTimeoutError

from benchmarks.sim.luck import Luck

T = TypeVar("T")
SESSION_S: Final = 2.0  # who is not heard of for so long is no member of its group any more


class Process:
    """One life of one worker. `died`, `slept` and `moved` are told to the world."""

    def __init__(self, name: str, luck: Luck) -> None:
        self.name = name
        self.alive = True
        self.ended = asyncio.Event()
        self.expelled: Callable[[], None] = lambda: None
        self.rejoin: Callable[[], None] = lambda: None
        self.moved: Callable[[], None] = lambda: None
        self._luck = luck
        self._loop = asyncio.get_running_loop()
        self._asleep_until_s = 0.0
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task that ends with this life."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def die(self) -> None:
        """Nothing that it does from now on reaches anybody."""
        self.alive = False
        self.ended.set()
        self._loop.call_soon(self.end)
        self._loop.call_later(SESSION_S, self.expelled)

    def end(self) -> None:
        """Its tasks go."""
        self.alive = False
        for task in list(self._tasks):
            task.cancel()

    async def do(self, step: str, effect: Callable[[], T], *, reads: bool = False) -> T:
        """One step, with what befalls it. A slow one that is under way comes to pass also when its process has died."""
        fate = self._luck.fate(f"{self.name}: {step}", self._loop.time())
        await self._pause("waits" if reads and fate == "is slow" else fate)
        while asleep_s := self.asleep_s():  # noqa: ASYNC110 - it may fall asleep again meanwhile
            await asyncio.sleep(asleep_s)
        if not self.alive:
            await self._nothing_more()
        if fate == "dies before":
            self.die()
            await self._nothing_more()
        if fate == "fails before":
            raise KafkaTimeoutError
        result = await self._under_way(effect) if fate == "is slow" and not reads else effect()
        if fate == "comes twice" and not reads:
            result = effect()
        if fate == "fails after":
            raise KafkaTimeoutError
        if fate == "dies after":
            self.die()
            await self._nothing_more()
        return result

    async def _pause(self, fate: str) -> None:
        if fate == "moves":
            self.moved()
            await asyncio.sleep(0)
        elif fate == "waits":
            await asyncio.sleep(self._luck.rng.uniform(0.0, 4.0))
        elif fate == "sleeps":
            self.sleep()
        else:
            await asyncio.sleep(0)

    async def _under_way(self, effect: Callable[[], T]) -> T:
        arrived: asyncio.Future[T] = self._loop.create_future()

        def arrive() -> None:
            try:
                result = effect()
            except Exception as error:  # the answer, for who still waits
                if not arrived.done():
                    arrived.set_exception(error)
            else:
                if not arrived.done():
                    arrived.set_result(result)

        self._loop.call_later(self._luck.rng.uniform(0.0, 4.0), arrive)
        return await arrived

    def asleep_s(self) -> float:
        """For how long it stands still yet."""
        return max(0.0, self._asleep_until_s - self._loop.time())

    def sleep(self) -> None:
        """All of it stands still, as a machine does that is moved. Its group goes on, and it learns that later."""
        for_s = self._luck.rng.choice([1.0, 3.0, 3.0, 8.0])
        self._asleep_until_s = self._loop.time() + for_s
        if for_s > SESSION_S:
            self._loop.call_later(SESSION_S, self.expelled)
            self._loop.call_later(for_s + self._luck.rng.choice([0.2, 1.5]), self.rejoin)

    async def _nothing_more(self) -> None:
        await asyncio.Event().wait()
