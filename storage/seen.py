"""Which uses of a key were archived lately: recognises a producer that sends the same event again."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Hashes: TypeAlias = npt.NDArray[np.uint64]
Times: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

RETRY_WINDOW_MS: Final = 15 * 60_000
STEP_MS: Final = 5 * 60_000  # as in the order of the store's table
KEPT_MS: Final = RETRY_WINDOW_MS + 2 * STEP_MS  # at least five minutes late is still answered from memory
MAX_HASHES: Final = 8_000_000  # 128 MB; beyond it, older rows are looked up in the store instead


class SeenEvents:
    """Hash and event time of each row, from `floor_ms` on, in a few sorted runs that are merged as they grow.

    Holds at least every row archived with a time at or after `floor_ms`; what is older must be asked of the store.
    """

    def __init__(self, *, floor_ms: int = 0, max_hashes: int = MAX_HASHES) -> None:
        self.floor_ms = floor_ms
        self._max = max_hashes
        self._runs: list[tuple[Hashes, Times]] = []

    def __len__(self) -> int:
        return sum(len(hashes) for hashes, _ in self._runs)

    def add(self, hashes: Hashes, ts_ms: Times) -> None:
        """Remember rows. Runs at least double in size, so a row is moved a logarithmic number of times."""
        if not len(hashes):
            return
        self._runs.append(_sorted(hashes, ts_ms))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            self._merge(2)

    def forget_before(self, floor_ms: int) -> None:
        """Rows older than this need not be held any more. Memory is returned as runs are merged."""
        self.floor_ms = max(self.floor_ms, floor_ms)
        if len(self) > self._max:
            self._merge(len(self._runs))
        if len(self) > self._max:
            times = self._runs[0][1]
            self.floor_ms = int(np.partition(times, len(times) // 2)[len(times) // 2]) + 1
            self._merge(1)

    def near(self, hashes: Hashes, ts_ms: Times) -> Mask:
        """True where the same hash was added with a time at most 15 minutes away."""
        found = np.zeros(len(hashes), np.bool_)
        for known, times in self._runs:
            first = np.searchsorted(known, hashes, "left")
            at = np.minimum(first, len(known) - 1)
            hit = known[at] == hashes
            found |= hit & (np.abs(times[at] - ts_ms) <= RETRY_WINDOW_MS)
            for row in np.flatnonzero(hit & ~found):  # the same id at several times: hardly ever
                last = np.searchsorted(known, hashes[row], "right")
                found[row] = bool((np.abs(times[first[row] : last] - ts_ms[row]) <= RETRY_WINDOW_MS).any())
        return found

    def _merge(self, count: int) -> None:
        hashes = np.concatenate([run[0] for run in self._runs[-count:]])
        ts_ms = np.concatenate([run[1] for run in self._runs[-count:]])
        kept = ts_ms >= self.floor_ms
        self._runs[-count:] = [_sorted(hashes[kept], ts_ms[kept])] if kept.any() else []


def in_steps(ts_ms: Times) -> Times:
    """Times rounded down to five minutes."""
    return ts_ms - ts_ms % STEP_MS


def repeats(hashes: Hashes, ts_ms: Times) -> Mask:
    """True where an earlier row of the same arrays has the same hash and a time at most 15 minutes away."""
    order = np.argsort(hashes, kind="stable")
    same = np.concatenate([[False], hashes[order][1:] == hashes[order][:-1]])[: len(order)]
    close = np.concatenate([[False], np.abs(np.diff(ts_ms[order])) <= RETRY_WINDOW_MS])[: len(order)]
    found = np.zeros(len(hashes), np.bool_)
    found[order] = same & close
    begins = np.flatnonzero(~same)
    for place in np.flatnonzero(same & ~close):  # far from the one before it, maybe near one before that
        group = ts_ms[order[begins[np.searchsorted(begins, place) - 1] : place]]
        found[order[place]] = bool((np.abs(group - ts_ms[order[place]]) <= RETRY_WINDOW_MS).any())
    return found


def _sorted(hashes: Hashes, ts_ms: Times) -> tuple[Hashes, Times]:
    order = np.argsort(hashes, kind="stable")
    return hashes[order], ts_ms[order]
