"""ClickHouse as far as the archive relies on it: what an insert leaves in the table and its rollups.

The rules, as `tests/benchmarks/test_sim_clickhouse.py` holds them against the real engine:

1. An insert becomes one block for each partition of the table that its rows fall into: events and minutes have one for
   each day, hours for each month. A table remembers the last `window` blocks by token and partition; a block that it
   remembers is dropped, whatever rows are in it.
2. Each rollup does the same for itself, under the token of the insert: so an insert that failed halfway is made whole
   when it comes again, and one that went through changes nothing.
3. An insert that fails has written some of its blocks, in the order events, minutes, hours.
4. Reads with FINAL give the row with the highest position of those with the same key, five minutes and event id;
   rollups count what was written, retries left out.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pyarrow as pa
import xxhash

from storage.archiving import ARCHIVED, NEW_LOG

DAY_MS: Final = 86_400_000
_STEP_MS: Final = 300_000
_WINDOW: Final = 10_000


class Row(NamedTuple):
    """Of usage_events."""

    key_id: str
    event_id: str
    event_hash: int
    ts_ms: int
    cost_nano_usd: int
    requests: int
    retry: int
    frame_partition: int
    position: int
    raw_partition: int
    raw_coord: int

    @property
    def place(self) -> tuple[str, int, str]:
        """In the order of the table: of rows with the same, the last one stays."""
        return self.key_id, self.ts_ms // _STEP_MS, self.event_id


class Sums(NamedTuple):
    """Of a rollup."""

    events: int
    cost_nano_usd: int


@dataclass
class Remembered:
    """A table's deduplication window."""

    window: int
    blocks: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def new(self, block: str) -> bool:
        if block in self.blocks:
            return False
        self.blocks[block] = None
        while len(self.blocks) > self.window:
            self.blocks.popitem(last=False)
        return True


class ClickHouse:
    """The tables. `rows_of` lists what was written, whether it counts or not."""

    def __init__(self, window: int = _WINDOW) -> None:
        self.rows: list[Row] = []
        self.minutes: Counter[tuple[str, int]] = Counter()
        self.minute_nano_usd: Counter[tuple[str, int]] = Counter()
        self.hours: Counter[tuple[str, int]] = Counter()
        self._events, self._minutes, self._hours = (Remembered(window) for _ in range(3))

    def insert(self, table: pa.Table, token: str, *, fails_after: int | None = None) -> bool:
        """Whether all of it was written; `fails_after` so many blocks it ends."""
        steps = list(self._steps(rows_of(table), token))
        for step in steps[:fails_after]:
            step()
        return fails_after is None or fails_after >= len(steps)

    def final(self) -> dict[tuple[str, int, str], Row]:
        newest: dict[tuple[str, int, str], Row] = {}
        for row in self.rows:
            if row.place not in newest or row.position >= newest[row.place].position:
                newest[row.place] = row
        return newest

    def totals(self) -> Sums:
        return Sums(self.minutes.total(), self.minute_nano_usd.total())

    def _steps(self, rows: list[Row], token: str) -> Iterable[Callable[[], None]]:
        counted = [row for row in rows if not row.retry]
        for remembered, write, taken, partition_of in (
            (self._events, self.rows.extend, rows, _day), (self._minutes, self._count_minutes, counted, _day),
            (self._hours, self._count_hours, counted, _month),
        ):  # fmt: skip
            blocks: dict[str, list[Row]] = {}
            for row in taken:
                blocks.setdefault(f"{token}:{partition_of(row)}", []).append(row)
            for name, block in blocks.items():
                yield lambda r=remembered, w=write, b=block, n=name: w(b) if r.new(n) else None  # type: ignore[misc]

    def _count_minutes(self, rows: list[Row]) -> None:
        for row in rows:
            at = (row.key_id, row.ts_ms // 60_000)
            self.minutes[at] += 1
            self.minute_nano_usd[at] += row.cost_nano_usd

    def _count_hours(self, rows: list[Row]) -> None:
        self.hours.update((row.key_id, row.ts_ms // 3_600_000) for row in rows)


def rows_of(table: pa.Table) -> list[Row]:
    """Rows of `usage_columns`."""
    if not table.num_rows:
        return []
    columns = [table.column(name).to_pylist() for name in Row._fields if name != "ts_ms"]
    times = table.column("ts").cast(pa.int64()).to_pylist()
    return [Row._make((*values[:3], ts_ms, *values[3:])) for *values, ts_ms in zip(*columns, times, strict=True)]


def _day(row: Row) -> int:
    return row.ts_ms // DAY_MS


def _month(row: Row) -> str:
    return f"{datetime.fromtimestamp(row.ts_ms / 1000, UTC):%Y%m}"


class Connection:
    """Answers the three questions that the archive asks of its store."""

    def __init__(self, tables: ClickHouse) -> None:
        self._tables = tables

    def rows(self, statement: str, parameters: dict[str, Any]) -> list[tuple[int, int, int]]:
        if statement != NEW_LOG:
            raise NotImplementedError(statement)
        mine = [row for row in self._tables.rows if row.frame_partition == parameters["p"]]
        newest, last = max((row.ts_ms for row in mine), default=0), max((row.position for row in mine), default=0)
        return [(len(mine), last, newest)]

    def arrow(self, statement: str, parameters: dict[str, Any]) -> pa.Table:
        """What was archived before a position. Other bounds only spare work, and are left out."""
        if not statement.startswith(ARCHIVED):
            raise NotImplementedError(statement)
        rows = [
            row for row in self._tables.rows
            if (row.frame_partition, row.position < parameters["before"]) == (parameters["p"], True)
            and row.ts_ms >= parameters.get("floor", 0)
        ]  # fmt: skip
        identities = [row.event_hash ^ xxhash.xxh64_intdigest(row.key_id.encode()) for row in rows]
        steps = [row.ts_ms - row.ts_ms % _STEP_MS for row in rows]
        return pa.table({"identity": pa.array(identities, pa.uint64()), "step_ms": pa.array(steps, pa.int64())})
