"""A stage hears of its state once for each assignment, whoever loaded it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from streams.changelog import Changelog, StateRecord
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
        super().__init__("nobody:1", "state", producer=None)
        self.reads = 0
        self.reading: Callable[[], Awaitable[None]] | None = None  # comes once, while it is read

    async def _records(self, partition: int) -> list[StateRecord]:
        self.reads += 1
        reading, self.reading = self.reading, None
        if reading is not None:
            await reading()
        return [StateRecord(b"key", b"%d" % partition)]


class World:
    """One reader and what its stage was told."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.changelog = Kept()
        app: Any = Engine()
        stage = StageApp(
            "notify", ["incidents"], self.handle, self.told.clear, changelog=self.changelog, restored=self.restored
        )
        self.reader = _Reader(stage, app, "", broke=lambda why: None)

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


async def test_what_was_read_before_a_rebalance_is_read_again_after_it() -> None:
    """Another owner may have written since: a stage that went on from the old state would write over the new one."""
    world = World()
    await world.assign(0)

    async def rebalance() -> None:
        await world.reader.on_revoked(None, set())
        await world.assign(0)

    world.changelog.reading = rebalance
    await world.reader.tick()
    await world.reader.tick()
    assert world.changelog.reads == 2
    assert world.told == [0]


async def test_a_partition_that_was_taken_away_while_it_was_read_is_nobodys_here() -> None:
    world = World()
    await world.assign(0)

    async def taken() -> None:
        await world.reader.on_revoked(None, set())

    world.changelog.reading = taken
    await world.reader.tick()
    assert world.told == []
