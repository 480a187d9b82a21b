"""How much each key used of late under each ceiling: rings of time buckets, whole numbers, nothing but what is recent.

A window of W is covered by whole buckets of W / 10, eleven of them: no span of W ever holds more than the ceiling, and
what passed is free again after at most 1.1 W.

    W = 60 s    |--|--|--|--|--|--|--|--|--|--|--|      a bucket is 6 s
                 ^ leaves next                  ^ now
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable
from typing import Final, NamedTuple

from gate.ports import UNITS, Amount, Ceiling

PARTS: Final = 10
DAY_S: Final = 86_400
NEVER: Final = math.inf
_TOTAL, _RING = 1, 2  # of a ring's cells: the newest bucket's number, the sum over the ring, then the buckets
_EMPTY: Final = array("q", bytes(8 * (PARTS + 1)))
_MOST: Final = 300_000


class _Row(NamedTuple):
    """Where one ceiling's ring lies in the cells of an account, and how it turns."""

    ceiling: Ceiling
    unit: int  # of `Amount`
    limit: float  # this gate's part
    daily: bool  # by the calendar of UTC
    width_ms: int  # of a bucket
    parts: int
    at: int  # first cell


class Shape:
    """The rings of all keys with the same ceilings, of which each of so many gates has its part."""

    __slots__ = ("ceilings", "gates", "rows", "size", "usd_of_day")

    def __init__(self, ceilings: tuple[Ceiling, ...], gates: int = 1) -> None:
        self.ceilings, self.gates = ceilings, gates
        rows, at = list[_Row](), 0
        for ceiling in ceilings:
            daily = ceiling.window_s == DAY_S
            parts = 1 if daily else PARTS + 1
            width_ms = DAY_S * 1000 if daily else max(1, math.ceil(ceiling.window_s * 1000 / PARTS))
            rows.append(_Row(ceiling, UNITS.index(ceiling.unit), ceiling.limit / gates, daily, width_ms, parts, at))
            at += _RING + parts
        self.rows, self.size = tuple(rows), at
        of_day = (each for each in ceilings if each.window_s == DAY_S and each.unit == "nano_usd")
        self.usd_of_day = next(of_day, None)


class Over(NamedTuple):
    """A ceiling that has no room."""

    ceiling: Ceiling
    needed: int
    wait_s: float  # until there is room, if nothing else comes; NEVER: one call alone is too much


class Account:
    """What one key used. Times: `wall_ms` for ceilings of a day, `tick_ms`, which never jumps, for all others."""

    __slots__ = ("cells", "shape")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.cells = array("q", bytes(8 * shape.size))

    def over(self, amount: Amount, wall_ms: int, tick_ms: int) -> Over | None:
        """The first ceiling that the amount would pass. Time that goes back is taken as standing still."""
        cells = self.cells
        for ceiling, unit, limit, daily, width_ms, parts, at in self.shape.rows:
            now_ms = wall_ms if daily else tick_ms
            bucket = now_ms // width_ms
            if bucket > cells[at]:
                _advance(cells, at, parts, bucket)
            elif daily and bucket < cells[at] - 1:
                cells[at] = bucket  # the wall clock was far ahead: what was counted is today's, and ends with it
            needed = amount[unit]
            if cells[at + _TOTAL] + needed > limit:
                if not cells[at + _TOTAL] and needed <= ceiling.limit:
                    continue  # one call fits into any part
                row = _Row(ceiling, unit, limit, daily, width_ms, parts, at)
                return Over(ceiling, needed, _wait_s(cells, row, needed, now_ms))
        return None

    def add(self, amount: Amount) -> None:
        """Count it now: in the buckets that `over` came to."""
        cells = self.cells
        for _, unit, _, _, _, parts, at in self.shape.rows:
            added = amount[unit]
            cells[at + _RING + cells[at] % parts] += added
            cells[at + _TOTAL] += added

    def correct(self, shape: Shape, more: Amount, wall_ms: int, tick_ms: int) -> None:
        """What was added at that time, under that shape, turns out to be more or less. Nothing of what is forgotten."""
        cells, same = self.cells, shape is self.shape
        for row in shape.rows:
            mine = row if same else _same_window(self.shape.rows, row)
            if mine is None:
                continue
            bucket, head = (wall_ms if mine.daily else tick_ms) // mine.width_ms, cells[mine.at]
            if head - mine.parts < bucket <= head:
                at = mine.at + _RING + bucket % mine.parts
                difference = max(more[mine.unit], -cells[at])
                cells[at] += difference
                cells[mine.at + _TOTAL] += difference

    def reshape(self, shape: Shape) -> None:
        """Other ceilings from now on: what was counted for a unit and window stays. Calls under way settle with it."""
        cells = array("q", bytes(8 * shape.size))
        for row in shape.rows:
            mine = _same_window(self.shape.rows, row)
            if mine is not None:
                size = _RING + row.parts
                cells[row.at : row.at + size] = self.cells[mine.at : mine.at + size]
        self.shape, self.cells = shape, cells


class Windows:
    """The accounts of one gate. Of more keys than `most` those that were not used lately are forgotten.

    >>> from gate.ports import Rate
    >>> account = Windows().account("k1", (Rate("slow", "requests", 60, 2),))
    >>> account.over(Amount(2), 0, 0), account.add(Amount(2))
    (None, None)
    >>> account.over(Amount(1), 0, 6_000).wait_s, account.over(Amount(1), 0, 66_000)
    (60.0, None)
    >>> account.over(Amount(3), 0, 66_000).wait_s
    inf
    """

    def __init__(self, *, most: int = _MOST) -> None:
        self._most = most
        self._shapes: dict[tuple[Ceiling, ...], Shape] = {}
        self.gates = 1  # that live and share every ceiling
        self._young: dict[str, Account] = {}
        self._old: dict[str, Account] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def account(self, key_id: str, ceilings: tuple[Ceiling, ...]) -> Account:
        found = self._young.get(key_id)
        if found is None:
            if len(self._young) >= self._most:
                self._young, self._old = {}, self._young
            found = self._old.pop(key_id, None) or Account(self._shape(ceilings))
            self._young[key_id] = found
        if found.shape.ceilings is not ceilings or found.shape.gates != self.gates:
            shape = self._shape(ceilings)
            if found.shape is not shape:
                found.reshape(shape)
        return found

    def _shape(self, ceilings: tuple[Ceiling, ...]) -> Shape:
        shape = self._shapes.get(ceilings)
        if shape is None or shape.gates != self.gates:
            if len(self._shapes) >= self._most:
                self._shapes.clear()
            shape = self._shapes[ceilings] = Shape(ceilings, self.gates)
        return shape


def _advance(cells: array[int], at: int, parts: int, bucket: int) -> None:
    """Up to the bucket; what leaves the ring is free again."""
    head, total, ring = cells[at], cells[at + _TOTAL], at + _RING
    cells[at] = bucket
    if bucket - head >= parts:
        cells[ring : ring + parts] = _EMPTY[:parts]
        total = 0
    elif total:  # else no bucket holds anything
        for number in range(head + 1, bucket + 1):
            cell = ring + number % parts
            total -= cells[cell]
            cells[cell] = 0
    cells[at + _TOTAL] = total


def _wait_s(cells: array[int], row: _Row, needed: int, now_ms: int) -> float:
    if needed > row.ceiling.limit:
        return NEVER
    over, head = cells[row.at + _TOTAL] + needed - max(row.limit, needed), cells[row.at]
    for oldest in range(head - row.parts + 1, head + 1):
        over -= cells[row.at + _RING + oldest % row.parts]
        if over <= 0:
            return ((oldest + row.parts) * row.width_ms - now_ms) / 1000
    return NEVER  # cannot be: the buckets are all there is


def _same_window(rows: Iterable[_Row], row: _Row) -> _Row | None:
    return next(
        (each for each in rows if each.unit == row.unit and each.ceiling.window_s == row.ceiling.window_s), None
    )
