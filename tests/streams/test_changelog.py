"""A changelog in memory is all of a partition or nothing of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from service.warm_up import State
from streams.changelog import Changelog, StateRecord, claim_of
from streams.errors import Overtaken
from streams.warm_state import write_state


class Broker:
    """A producer whose answers come when they are let through."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.written: list[bytes] = []
        self.log: list[StateRecord] = []

    async def send_and_wait(
        self, topic: str, value: bytes, *, key: bytes, partition: int, headers: Sequence[tuple[str, bytes]] = ()
    ) -> SimpleNamespace:
        await self.answers.wait()
        self.written.append(key)
        self.log.append(StateRecord(key, value, claim_of(headers)))
        return SimpleNamespace(offset=len(self.log) - 1)


class Kept(Changelog):
    """Read back from the same broker."""

    def __init__(self, broker: Broker) -> None:
        anything: Any = broker
        super().__init__("nobody:1", "state", anything)
        self.log = broker.log

    async def _records(self, partition: int) -> list[StateRecord]:
        return list(self.log)


def changelog(broker: Any) -> Changelog:
    made = Changelog("nobody:1", "state", broker)
    made._values[0] = {b"old": b"1"}  # loaded
    return made


async def test_what_is_written_is_read() -> None:
    broker = Broker()
    broker.answers.set()
    state = changelog(broker)
    await state.put(0, b"new", b"2")
    assert (state.get(b"old"), state.get(b"new")) == (b"1", b"2")


async def test_a_write_that_ends_after_a_rebalance_does_not_pass_for_the_whole_state() -> None:
    broker = Broker()
    state = changelog(broker)
    writing = asyncio.create_task(state.put(0, b"new", b"2"))
    await asyncio.sleep(0)
    state.drop()
    broker.answers.set()
    await writing
    assert broker.written == [b"new"]
    assert not state.loaded(0)


async def test_nothing_is_written_to_a_partition_that_was_given_up() -> None:
    broker = Broker()
    broker.answers.set()
    state = changelog(broker)
    state.drop()
    with pytest.raises(Overtaken):
        await state.put(0, b"new", b"2")
    assert broker.written == []


async def owner(broker: Broker) -> Kept:
    broker.answers.set()
    made = Kept(broker)
    await made.claim(0)
    await made.load(0)
    return made


async def test_what_an_owner_of_before_still_writes_counts_for_nothing() -> None:
    broker = Broker()
    before = await owner(broker)
    await before.put(0, b"a", b"of before")
    await before.put(0, b"b", b"of before")
    now = await owner(broker)
    await now.put(0, b"a", b"of now")
    with pytest.raises(Overtaken):
        await before.put(0, b"a", b"late")
    after = await owner(broker)
    assert after.items(0) == {b"a": b"of now", b"b": b"of before"}


async def test_an_owner_notices_that_somebody_else_has_written() -> None:
    broker = Broker()
    mine = await owner(broker)
    await owner(broker)  # of a worker that had slept, and claimed what was not its own any more
    with pytest.raises(Overtaken):
        await mine.put(0, b"a", b"1")


async def test_what_a_warm_up_writes_counts_for_more_than_what_workers_had_learned() -> None:
    broker = Broker()
    before = await owner(broker)
    await before.put(0, b"0:clock", b"of a worker")
    written = await write_state(Kept(broker), [State(0, "clock", b"warm")])
    after = await owner(broker)
    assert (after.items(0), written) == ({b"0:clock": b"warm"}, 4)
