"""A stage hears of its state once for each assignment, whoever loaded it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from streams.changelog import Changelog
from streams.faust_apps import StageApp, _Reader


class Place(NamedTuple):
    """A topic's partition."""

    topic: str
    partition: int


class Engine:
    """What the reader asks of Faust here."""

    abandoned = False


class Kept(Changelog):
    """A changelog whose broker is a dictionary."""

    def __init__(self) -> None:
        self._values: dict[int, dict[bytes, bytes]] = {}

    async def load(self, partition: int) -> None:
        self._values.setdefault(partition, {b"key": b"%d" % partition})


class World:
    """One reader and what its stage was told."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.changelog = Kept()
        app: Any = Engine()
        stage = StageApp(
            "notify", ["incidents"], self.handle, self.told.clear, changelog=self.changelog, restored=self.restored
        )
        self.reader = _Reader(stage, app, broke=lambda why: None)

    async def handle(self, record: object) -> None:
        raise AssertionError("no record comes")

    def restored(self, partition: int, values: Mapping[bytes, bytes]) -> None:
        assert values == {b"key": b"%d" % partition}
        self.told.append(partition)

    async def assign(self, *partitions: int) -> None:
        await self.reader.on_assigned(None, {Place("incidents", each) for each in partitions})


async def test_each_partition_once() -> None:
    world = World()
    await world.assign(0, 1)
    for _ in range(3):
        await world.reader.tick()
    assert world.told == [0, 1]


async def test_also_when_the_stage_s_own_work_loaded_it_first() -> None:
    world = World()
    await world.assign(0)
    await world.changelog.load(0)
    await world.reader.tick()
    assert world.told == [0]


async def test_again_after_a_rebalance_and_only_what_is_assigned() -> None:
    world = World()
    await world.assign(0, 1)
    await world.reader.tick()
    await world.assign(1)
    await world.changelog.load(0)  # a message of before is still under way
    await world.reader.tick()
    assert world.told == [1]
