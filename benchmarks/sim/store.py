"""The store as one process sees it. Its insert runs in a thread, and is a step like any other."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from benchmarks.sim.clickhouse import ClickHouse, Connection
from benchmarks.sim.loop import HistoryLoop
from benchmarks.sim.luck import Fate, Luck
from benchmarks.sim.process import Process
from storage.errors import Unreachable

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCKS: Final = 4  # more than a usual insert has, so that it is cut off anywhere or nowhere
_LATE_S: Final = 4.0


class StoreOf:
    """What is under way arrives, though whoever sent it may be dead, or the partition another's, by then."""

    def __init__(self, tables: ClickHouse, luck: Luck, process: Process) -> None:
        self.connection = Connection(tables)
        self._tables, self._luck, self._process = tables, luck, process

    def insert_usage(self, table: pa.Table, token: str) -> None:
        if not table.num_rows:
            return
        loop, process, rng = cast("HistoryLoop", asyncio.get_running_loop()), self._process, self._luck.rng
        fate = self._luck.fate(f"{process.name}: insert {token}", loop.time()) if process.alive else ""
        late_s = 0.0
        if fate == "is slow":
            late_s = rng.uniform(0.0, _LATE_S)
        elif fate == "moves":
            process.moved()
            late_s = rng.choice([0.0, _LATE_S / 2])  # the next owner may be faster
        elif fate == "sleeps":
            process.sleep()
        loop.hold_answer(max(late_s, process.asleep_s()), partial(self._arrives, table, token, fate))

    def _arrives(self, table: pa.Table, token: str, fate: Fate) -> None:
        """Raises Unreachable for whoever still waits."""
        if fate == "fails before":
            raise Unreachable("before")
        if fate == "dies before":
            self._process.die()
            return
        halfway = self._luck.rng.randrange(_BLOCKS) if fate in ("fails after", "dies after") else None
        self._tables.insert(table, token, fails_after=halfway)
        if fate == "comes twice":
            again_s = self._luck.rng.uniform(0.0, _LATE_S)
            asyncio.get_running_loop().call_later(again_s, lambda: self._tables.insert(table, token))
        elif fate == "dies after":
            self._process.die()
        elif fate == "fails after":
            raise Unreachable("halfway or after")
