"""One process of the contain worker, which may die between any two things that it does."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import NoReturn

from schemas.records import Record
from streams.outbox import Outbox
from streams.topics import Topic


class Life:
    """All that the process touches goes through `edge`: that is where it dies, before or after it was done.

    Args:
        rng: Decides when.
        share: Of the edges, those where it dies.
    """

    def __init__(self, rng: random.Random, share: float) -> None:
        self.rng = rng
        self.alive = True
        self.died = asyncio.Event()
        self._share = share

    async def edge(self) -> None:
        if self.alive and self.rng.random() < self._share:
            self.end()
        if not self.alive:
            await _for_ever()

    def end(self) -> None:
        self.alive = False
        self.died.set()


async def _for_ever() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


class Shards:
    """The changelog, which outlives every process. `trouble`: share of the writes that fail; `most_s`: the longest."""

    def __init__(self, life: Life, values: dict[bytes, bytes], trouble: float, most_s: float) -> None:
        self._life, self._values, self._trouble, self._most_s = life, values, trouble, most_s

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    async def put(self, partition: int, key: bytes, value: bytes) -> None:
        life = self._life
        await life.edge()
        await asyncio.sleep(life.rng.uniform(0.001, self._most_s))
        if life.rng.random() < self._trouble:
            raise ConnectionError("the broker is away")
        await life.edge()
        self._values[key] = value
        await life.edge()


class Told(Outbox):
    """What the process says, when the broker has it."""

    def __init__(self, life: Life, hear: Callable[[Topic, Record], None]) -> None:
        self._life, self._hear = life, hear

    async def send(self, topic: Topic, records: Iterable[tuple[str, Record]]) -> dict[int, int]:
        await self._life.edge()
        await asyncio.sleep(self._life.rng.uniform(0.001, 0.02))
        await self._life.edge()
        for _, record in records:
            self._hear(topic, record)
        await self._life.edge()
        return {}
