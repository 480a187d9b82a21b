"""What befalls a simulated insert does to the store and to its worker what its name says."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from benchmarks.sim.clickhouse import ClickHouse
from benchmarks.sim.loop import HistoryLoop
from benchmarks.sim.luck import Fate, Luck
from benchmarks.sim.process import Process
from benchmarks.sim.store import StoreOf
from storage.errors import Unreachable
from storage.rows import usage_columns
from tests.storage.frames import Use, frame

ROWS = usage_columns(
    pa.Table.from_batches([frame([Use("e0", 0), Use("e1", 1)])]),
    partition=0, log_start=1, positions=np.arange(2, dtype=np.uint64), retry=np.zeros(2, np.bool_),
)  # fmt: skip
LONG_S = 20.0


@dataclass
class Doomed(Luck):
    """The next step meets `doom`, and no other meets anything."""

    doom: Fate = ""

    def fate(self, step: str, at_s: float) -> Fate:
        met, self.doom = self.doom, ""
        return met


class Insert:
    """One insert of two rows, in a thread of one process."""

    def __init__(self, doom: Fate, seed: int = 0) -> None:
        self.tables, self.inserts = ClickHouse(), 0
        kept = self.tables.insert

        def insert(*given: Any, **more: Any) -> bool:
            self.inserts += 1
            return kept(*given, **more)

        self.tables.insert = insert  # type: ignore[method-assign]
        luck = Doomed(random.Random(seed), "everything", 1, 1.0, doom=doom)
        self.process = Process("archive", luck)
        self.process.moved = lambda: self.moved_at.append(len(self.tables.rows))
        self.moved_at: list[int] = []  # rows at each rebalance
        self.store = StoreOf(self.tables, luck, self.process)
        self.answer = self.process.spawn(asyncio.to_thread(self.store.insert_usage, ROWS, "token"))

    @property
    def rows(self) -> int:
        return len(self.tables.rows)


def play(history: Callable[[], Coroutine[Any, Any, None]]) -> None:
    loop = HistoryLoop()
    try:
        loop.run_until_complete(history())
    finally:
        loop.close()


@pytest.mark.parametrize(("doom", "rows"), [("", 2), ("dies before", 0), ("fails before", 0), ("comes twice", 2)])
def test_what_is_in_the_store_in_the_end(doom: Fate, rows: int) -> None:
    async def history() -> None:
        insert = Insert(doom)
        await asyncio.sleep(LONG_S)
        assert insert.rows == rows
        assert insert.inserts == {"": 1, "comes twice": 2}.get(doom, 0)

    play(history)


@pytest.mark.parametrize("doom", ["dies before", "dies after"])
def test_who_dies_at_it_hears_no_answer(doom: Fate) -> None:
    async def history() -> None:
        insert = Insert(doom)
        await asyncio.sleep(LONG_S)
        assert insert.answer.cancelled()
        assert not insert.process.alive

    play(history)


@pytest.mark.parametrize("doom", ["fails before", "fails after"])
def test_who_is_refused_is_told(doom: Fate) -> None:
    async def history() -> None:
        with pytest.raises(Unreachable):
            await Insert(doom).answer

    play(history)


@pytest.mark.parametrize("doom", ["fails after", "dies after"])
def test_what_was_cut_off_is_in_the_store_or_not(doom: Fate) -> None:
    async def history() -> None:
        inserts = [Insert(doom, seed) for seed in range(20)]
        await asyncio.wait([insert.answer for insert in inserts])
        assert {insert.rows for insert in inserts} == {0, 2}
        assert {insert.tables.hours.total() for insert in inserts} == {0, 2}
        for insert in inserts:
            insert.answer.cancelled() or insert.answer.exception()

    play(history)


def test_who_sleeps_inserts_when_it_wakes_up() -> None:
    async def history() -> None:
        insert = Insert("sleeps")
        await asyncio.sleep(0.01)
        await asyncio.sleep(insert.process.asleep_s() - 0.1)
        assert (insert.rows, insert.answer.done()) == (0, False)
        await insert.answer
        assert insert.rows == 2

    play(history)


def test_a_partition_that_moves_does_so_before_the_insert_arrives() -> None:
    async def history() -> None:
        insert = Insert("moves")
        await insert.answer
        assert (insert.moved_at, insert.rows) == ([0], 2)

    play(history)


def test_a_slow_one_arrives_though_its_worker_has_died() -> None:
    async def history() -> None:
        insert = Insert("is slow")
        await asyncio.sleep(0.01)
        assert insert.rows == 0
        insert.process.die()
        await asyncio.sleep(LONG_S)
        assert insert.rows == 2
        assert insert.answer.cancelled()

    play(history)
