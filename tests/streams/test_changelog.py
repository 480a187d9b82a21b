"""A changelog in memory is all of a partition or nothing of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.changelog import Changelog
from streams.errors import Overtaken


class Broker:
    """A producer whose answers come when they are let through."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.written: list[bytes] = []

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes, partition: int) -> None:
        await self.answers.wait()
        self.written.append(key)


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
