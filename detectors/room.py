"""How much of its limits each key may use before something certain can have to be said of it.

Windows lose old rows and gain none by themselves. So what a key had left when it was last looked at, less all that came
since, is never more than it has left: a frame costs two sums and one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Final

import numpy as np

from detectors import rows as r
from detectors.state import Array
from schemas.config.detectors import DetectorsConfig

MOST: Final = 100.0  # limits: more than anybody rests with
UNUSED: Final = 1 << 24  # a whole limit, in the units of the column
_MARGIN: Final = 1 + 1e-6  # more than 32-bit numbers lose


def units_of(caps: Sequence[float], settings: DetectorsConfig) -> tuple[float, float]:
    """What a nano-dollar and a request take from the room of a key with these `Close.caps`."""
    usd = [*(caps[:2] if settings.limits.enabled else ()), *(caps[3:] if settings.budget.enabled else ())]
    rate = caps[2] if settings.limits.enabled else float("inf")
    return UNUSED * _MARGIN / 1e9 / min(usd, default=float("inf")), UNUSED * _MARGIN / 10 / rate


class Room:
    """Of all keys of a core under one set of limits: `columns` has their `units` and `room`, which is 0 for unknown."""

    def __init__(self, columns: Callable[[], Mapping[str, Array]]) -> None:
        self._columns = columns
        self._resting: list[tuple[int, int]] = []  # until when, and the slot: a heap, in which some are over already
        self._until_s: dict[int, int] = {}  # what holds, by slot

    def take(self, rows: Array, at: Array, slots: Array) -> Array:
        """Take what rows use; `at` is each row's place in `slots`, which are -1 where there is no row.

        Returns the slots whose room is used up: they are to be looked at.
        """
        columns, n, at = self._columns(), len(slots), at.astype(np.intp)
        if self._resting:
            self._wake(columns["room"], int(rows[r.SECOND].max()))
        nano, requests = np.bincount(at, rows[r.COST], n), np.bincount(at, rows[r.REQUESTS], n)
        if slots.min() < 0:
            there = slots >= 0
            slots, nano, requests = slots[there], nano[there], requests[there]
        units = columns["units"].take(slots, axis=0)  # many times faster than by index
        nano *= units[:, 0]
        requests *= units[:, 1]
        used = np.ceil(np.maximum(nano, requests, out=nano), out=nano)
        left = np.subtract(columns["room"].take(slots), used, out=used)
        columns["room"][slots] = np.maximum(left, 0, out=left)
        full: Array = slots[left == 0]
        return full

    def leave(self, slots: Array, limits: Array) -> None:
        """So many times its nearest limit may each of these use."""
        self._columns()["room"][slots] = np.floor(np.clip(limits, 0, MOST) * UNUSED)

    def rest(self, slot: int, until_s: int) -> None:
        """What is left to it holds until a row of this second at most."""
        self._until_s[slot] = until_s
        heappush(self._resting, (until_s, slot))

    def _wake(self, room: Array, second: int) -> None:
        while self._resting and self._resting[0][0] <= second:
            until_s, slot = heappop(self._resting)
            if self._until_s.get(slot) == until_s:
                room[slot] = 0
                del self._until_s[slot]

    def limits_of(self, slot: int, usd: float) -> float:
        """How many times its nearest limit in USD this is."""
        return usd * float(self._columns()["units"][slot, 0]) * 1e9 / UNUSED
