"""A producer's own retry, the same event twice, is counted once: two generations of hashes per shard of keys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from detectors.state import Array

CAP: Final = 16_384  # hashes of a generation; at higher rates a generation is shorter than its time
HASH_BITS: Final = 48  # two of 32,768 remembered hashes meet a new one by chance once in 10**10 events
_MASK: Final = np.uint64(2**HASH_BITS - 1)


class RetryFilter:
    """The hashes of one shard. What it remembers depends on the shard's own rows and their seconds alone.

    A generation ends with its `dedup_s` of event time, or at the first second in which it is full. An event is thus
    recognised for one to two generations.

    >>> retries = RetryFilter(900)
    >>> retries.repeated(np.array([7, 8, 7], "u8"), np.array([100, 100, 101]))
    [2]
    >>> retries.repeated(np.array([8], "u8"), np.array([950])), retries.repeated(np.array([7], "u8"), np.array([1900]))
    ([0], [])
    """

    def __init__(self, dedup_s: int, cap: int = CAP) -> None:
        self.dedup_s, self._cap = dedup_s, cap
        self._generation, self._second = 0, 0
        self._now: set[int] = set()
        self._before: set[int] = set()

    def repeated(self, hashes: Array, seconds: Array) -> list[int]:
        """Positions of the events seen before; the others are remembered. Seconds never fall."""
        values = (hashes & _MASK).tolist()
        last = int(seconds[-1])
        within_one_second = last == self._second
        roomy = within_one_second or len(self._now) + len(values) < self._cap
        if roomy and last // self.dedup_s == self._generation:
            self._second = last
            return self._look(values, 0)
        found: list[int] = []
        cuts = [0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist(), len(values)]
        for start, end in pairwise(cuts):
            self._turn(int(seconds[start]))
            found += self._look(values[start:end], start)
        return found

    def _look(self, values: list[int], offset: int) -> list[int]:
        distinct = set(values)
        if len(distinct) == len(values) and self._now.isdisjoint(distinct) and self._before.isdisjoint(distinct):
            self._now |= distinct
            return []
        found = []
        for at, value in enumerate(values):
            if value in self._now or value in self._before:
                found.append(offset + at)
            else:
                self._now.add(value)
        return found

    def _turn(self, second: int) -> None:
        generation = second // self.dedup_s
        if generation != self._generation:
            self._before = self._now if generation == self._generation + 1 else set()
            self._now, self._generation = set(), generation
        elif second > self._second and len(self._now) >= self._cap:
            self._before, self._now = self._now, set()
        self._second = second

    def export(self) -> tuple[list[int], Array, Array]:
        """Generation and second, and both sets, sorted and as differences: small numbers compress."""
        return [self._generation, self._second], _differences(self._now), _differences(self._before)

    def restore(self, marks: list[int], now: Array, before: Array) -> None:
        self._generation, self._second = marks
        self._now, self._before = set(np.cumsum(now).tolist()), set(np.cumsum(before).tolist())


def drop_repeated(filters: Sequence[RetryFilter], hashes: Array, kept: Array, shard: Array, seconds: Array) -> int:
    """Take from `kept` the rows whose event the filter of their shard knows; returns how many."""
    rows = np.flatnonzero(kept)
    if len(rows) == 0:
        return 0
    rows = rows[np.argsort(shard[rows].astype(np.int16), kind="stable")]
    numbers, starts = np.unique(shard[rows], return_index=True)
    dropped = 0
    for number, part in zip(numbers.tolist(), np.split(rows, starts[1:]), strict=True):
        repeated = filters[number].repeated(hashes[part], seconds[part])
        kept[part[repeated]] = False
        dropped += len(repeated)
    return dropped


def _differences(hashes: set[int]) -> Array:
    return np.diff(np.sort(np.fromiter(hashes, np.int64, len(hashes))), prepend=0)
