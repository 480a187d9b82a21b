"""Novelty against the decayed extremes of blocks.

As in Keyfuse's velocity family, what counts is how far a number passes what was there before, and a block of points
teaches its extreme once. Here both sides count, and one odd block excuses nothing: the second highest is the limit.
"""

from __future__ import annotations

from typing import Final

_DECAY: Final = 0.001  # of the range, per block
_FLOOR: Final = 0.1  # of the unit, added to the range: a range of almost nothing makes no news
_MOST: Final = 1.0  # one view cannot say more than that its range has doubled
_HELD: Final = 9  # points for which a novelty stands, so that views that lag meet those that lead


class Records:
    """Distance beyond the second highest or second lowest block, in ranges seen so far.

    `settling` points are skipped first, until a window is full.
    """

    def __init__(self, settling: int, block: int) -> None:
        self._wait, self._block = settling, block
        self._tops: list[float] = []
        self._bottoms: list[float] = []
        self._high, self._low = -float("inf"), float("inf")
        self._points = 0
        self._held, self._age = 0.0, 0

    def novelty(self, value: float, unit: float) -> float:
        """From 0, nothing new within the last points, to 1; then the value is learned.

        `unit` is a usual distance between values, against which a range can be next to nothing.

        >>> records = Records(settling=0, block=2)
        >>> [round(records.novelty(value, unit=0.0), 2) for value in (0.0, 4.0, 4.0, 0.0, 6.0)]
        [0.0, 0.0, 0.0, 0.0, 0.5]
        """
        if self._wait:
            self._wait -= 1
            return 0.0
        fresh = self._beyond(value, unit) if len(self._tops) == 2 else 0.0
        self._learn(value)
        self._age += 1
        if fresh >= self._held or self._age > _HELD:
            self._held, self._age = fresh, 0
        return self._held

    def _beyond(self, value: float, unit: float) -> float:
        past = max(value - self._tops[1], self._bottoms[1] - value)
        if past <= 0.0:
            return 0.0
        scale = self._tops[0] - self._bottoms[0] + _FLOOR * unit
        return min(past / scale, _MOST) if scale > 0.0 else _MOST

    def _learn(self, value: float) -> None:
        self._high, self._low = max(self._high, value), min(self._low, value)
        self._points += 1
        if self._points < self._block:
            return
        faded = _DECAY * (self._tops[0] - self._bottoms[0]) if len(self._tops) == 2 else 0.0
        self._tops = sorted([*(top - faded for top in self._tops), self._high], reverse=True)[:2]
        self._bottoms = sorted([*(bottom + faded for bottom in self._bottoms), self._low])[:2]
        self._high, self._low, self._points = -float("inf"), float("inf"), 0
