"""A producer's own retry, the same event twice, is counted once: two generations of hashes per shard of keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from detectors.state import Array

CAP: Final = 16_384  # hashes of a generation; at higher rates a generation is shorter than its time
HASH_BITS: Final = 48  # two of 32,768 remembered hashes meet a new one by chance once in 10**10 events
_MASK: Final = np.uint64(2**HASH_BITS - 1)
_NONE: Final = np.zeros(0, np.int64)
_MERGE: Final = 2_048  # hashes in a set; more go into an array, where one takes 8 bytes and not 100


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
        self._new: set[int] = set()  # of this generation, the newest
        self._now = _NONE  # of this generation, the others, sorted
        self._before = _NONE  # of the one before, sorted

    def repeated(self, hashes: Array, seconds: Array) -> list[int]:
        """Positions of the events seen before; the others are remembered. Seconds never fall."""
        values = (hashes & _MASK).astype(np.int64)
        last = int(seconds[-1])
        within_one_second = last == self._second
        roomy = within_one_second or self._held() + len(values) < self._cap
        if roomy and last // self.dedup_s == self._generation:
            self._second = last
            return self._look(values, 0)
        found: list[int] = []
        cuts = [0, *(np.flatnonzero(np.diff(seconds)) + 1).tolist(), len(values)]
        for start, end in pairwise(cuts):
            self._turn(int(seconds[start]))
            found += self._look(values[start:end], start)
        return found

    def _held(self) -> int:
        return len(self._now) + len(self._new)

    def _look(self, values: Array, offset: int) -> list[int]:
        """Remember what is new in one step when all of it is, as nearly always; else value by value."""
        ordered = np.sort(values)  # sought in their order: half the time
        some = ordered.tolist()
        old = (ordered[1:] == ordered[:-1]).any() or any(_among(ordered, each).any() for each in self._sorted())
        if not old and self._new.isdisjoint(some):
            self._new.update(some)
            found = []
        else:
            found = [offset + at for at in self._repeated(values)]
        if len(self._new) >= _MERGE:
            self._now, self._new = self._whole(), set()
        return found

    def _sorted(self) -> Iterator[Array]:
        return (each for each in (self._now, self._before) if len(each))

    def _repeated(self, values: Array) -> Iterator[int]:
        old = np.zeros(len(values), bool)
        for each in self._sorted():
            old |= _among(values, each)
        for at, (value, known) in enumerate(zip(values.tolist(), old.tolist(), strict=True)):
            if known or value in self._new:
                yield at
            else:
                self._new.add(value)

    def _whole(self) -> Array:
        """The generation as one sorted array."""
        new = np.fromiter(self._new, np.int64, len(self._new))
        return np.sort(np.concatenate((self._now, new)))

    def _turn(self, second: int) -> None:
        generation = second // self.dedup_s
        if generation != self._generation:
            self._before = self._whole() if generation == self._generation + 1 else _NONE
            self._now, self._new, self._generation = _NONE, set(), generation
        elif second > self._second and self._held() >= self._cap:
            self._before, self._now, self._new = self._whole(), _NONE, set()
        self._second = second

    def export(self) -> tuple[list[int], Array, Array]:
        """Generation and second, and both generations, sorted and as differences: small numbers compress."""
        now, before = (np.diff(each, prepend=0) for each in (self._whole(), self._before))
        return [self._generation, self._second], now, before

    def restore(self, marks: list[int], now: Array, before: Array) -> None:
        self._generation, self._second = marks
        self._now, self._before, self._new = np.cumsum(now), np.cumsum(before), set()


def _among(values: Array, known: Array) -> Array:
    """Which values are among the known ones, which are sorted and not none."""
    among: Array = known.take(known.searchsorted(values), mode="clip") == values
    return among


def drop_repeated(filters: Sequence[RetryFilter], hashes: Array, kept: Array, shard: Array, seconds: Array) -> int:
    """Take from `kept` the rows whose event the filter of their shard knows; returns how many."""
    rows = np.flatnonzero(kept)
    if len(rows) == 0:
        return 0
    rows = rows[np.argsort(shard[rows].astype(np.int16), kind="stable")]
    lengths = np.bincount(shard[rows])
    dropped = 0
    for number, part in enumerate(np.split(rows, np.cumsum(lengths)[:-1])):
        if len(part):
            repeated = filters[number].repeated(hashes[part], seconds[part])
            kept[part[repeated]] = False
            dropped += len(repeated)
    return dropped
