"""Rows of several raw partitions in the order of event time, so that a backlog is scored as it would have been live.

Partitions are read at different speeds. Without this, the one read first would push the clock, and the rows of the
others would be late. A row is let through when no partition that is still behind can hold an older one. Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.frame import FRAME_SCHEMA
from sources.routing import compact

MAX_HELD_ROWS: Final = 400_000  # beyond it order gives way to memory
_NEVER: Final = int(np.iinfo(np.int64).max)
Ints = npt.NDArray[np.int64]


@cache
def _no_rows() -> pa.RecordBatch:
    """Not made at import: pyarrow loads pandas for it."""
    return pa.RecordBatch.from_pylist([], schema=FRAME_SCHEMA)


class Aligned(NamedTuple):
    """What may go on: these rows of `among`, in this order. And from where each raw partition must be read again after
    a crash.
    """

    among: pa.RecordBatch
    order: Ints
    resume: dict[int, int]  # raw partition -> offset of its first row that is held back


class Alignment:
    """Holds rows back; keeps the order of rows within a raw partition whatever their times say.

    The order within a partition must stay, because a row is known to be a repeat by its coordinates. So a row's place
    is the newest time its partition has shown up to it.
    """

    def __init__(self, max_held_rows: int = MAX_HELD_ROWS) -> None:
        self._max_held_rows = max_held_rows
        self._held = _no_rows()
        self._times: Ints = np.zeros(0, np.int64)  # of the held rows
        self._newest: dict[int, int] = {}  # by raw partition, of all rows that came

    @property
    def held_rows(self) -> int:
        return len(self._times)

    def slowest(self, behind: Collection[int]) -> list[int]:
        """Those of `behind` that hold the others back."""
        oldest = min((self._newest.get(partition, 0) for partition in behind), default=0)
        return [partition for partition in behind if self._newest.get(partition, 0) <= oldest]

    def forget(self) -> None:
        """Partitions were taken away: their held rows are read again by whoever has them now."""
        self.__init__(self._max_held_rows)  # type: ignore[misc]  # a new one in every respect

    def add(self, rows: pa.RecordBatch, *, behind: Collection[int]) -> Aligned:
        """Take new rows; `behind` are the raw partitions that have more to read."""
        times = self._times_of(rows)
        if self._held.num_rows:
            rows = pa.Table.from_batches([self._held, rows]).unify_dictionaries().combine_chunks().to_batches()[0]
            times = np.concatenate((self._times, times))
        until = min((self._newest.get(partition, 0) for partition in behind), default=_NEVER)
        free = times <= until if len(times) <= self._max_held_rows else np.ones(len(times), np.bool_)
        if free.all():
            self._held, self._times = self._held.slice(0, 0), self._times[:0]
        else:
            kept = np.flatnonzero(~free)
            self._held, self._times = compact(rows.take(pa.array(kept))), times[kept]
        chosen = np.flatnonzero(free)
        return Aligned(rows, chosen[np.argsort(times[chosen], kind="stable")], self._resume())

    def _times_of(self, rows: pa.RecordBatch) -> Ints:
        times: Ints = rows["ts_ms"].to_numpy().copy()
        partitions = rows["raw_partition"].to_numpy()
        for partition in np.unique(partitions).tolist():
            mine = np.flatnonzero(partitions == partition)
            running = np.maximum.accumulate(np.append(self._newest.get(partition, 0), times[mine]))
            times[mine] = running[1:]
            self._newest[partition] = int(running[-1])
        return times

    def _resume(self) -> dict[int, int]:
        partitions, offsets = self._held["raw_partition"].to_numpy(), self._held["raw_offset"].to_numpy()
        return {p: int(offsets[partitions == p].min()) for p in np.unique(partitions).tolist()}
