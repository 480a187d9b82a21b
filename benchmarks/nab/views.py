"""What a series looks like from several sides, one value at a time, in bounded memory.

Each view is a number per point; what has never been seen in one of them is what the detector calls novel.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import deque
from typing import Final

_HOURS: Final = 24
_KNOWN: Final = 3  # values before an hour of day has a mean worth comparing with
_SLOWEST: Final = 0.02  # weight of a new value in the mean of its hour, once there are many


class HourBand:
    """How far a value lies outside the usual means of its hour of day and the hours beside it; 0 inside.

    The hours beside it keep a rush hour that comes early from being news.
    """

    def __init__(self) -> None:
        self._mean = [0.0] * _HOURS
        self._seen = [0] * _HOURS

    def outside(self, time_s: float, value: float) -> float:
        """Signed distance to the band; then the value is learned."""
        hour = int(time_s // 3600) % _HOURS
        away = 0.0
        if self._seen[hour] >= _KNOWN:
            near = [self._mean[at] for at in (hour - 1, hour, (hour + 1) % _HOURS) if self._seen[at] >= _KNOWN]
            away = value - min(max(value, min(near)), max(near))
        self._seen[hour] += 1
        self._mean[hour] += max(_SLOWEST, 1.0 / self._seen[hour]) * (value - self._mean[hour])
        return away


class Trailing:
    """The last `size` values, also in order."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []

    def add(self, value: float) -> None:
        if len(self._recent) == self._size:
            del self._ordered[bisect_left(self._ordered, self._recent.popleft())]
        self._recent.append(value)
        insort(self._ordered, value)

    def median(self) -> float:
        middle = len(self._ordered) // 2
        if len(self._ordered) % 2:
            return self._ordered[middle]
        return (self._ordered[middle - 1] + self._ordered[middle]) / 2

    def spread(self) -> float:
        """Standard deviation, summed afresh each time: a running sum loses a small spread of large values."""
        mean = math.fsum(self._ordered) / len(self._ordered)
        return math.sqrt(sum([(value - mean) ** 2 for value in self._ordered]) / len(self._ordered))

    def rank(self, value: float) -> float:
        """Share of the values below, ties by half; 0.5 while there are none."""
        if not self._ordered:
            return 0.5
        return (bisect_left(self._ordered, value) + bisect_right(self._ordered, value)) / (2 * len(self._ordered))


class Share:
    """How often something was so, of the last `size` times."""

    def __init__(self, size: int) -> None:
        self._recent: deque[bool] = deque(maxlen=size)
        self._count = 0

    def add(self, *, so: bool) -> float:
        if len(self._recent) == self._recent.maxlen:
            self._count -= self._recent[0]
        self._recent.append(so)
        self._count += so
        return self._count / len(self._recent)


class Wobble:
    """Usual distance of a value from the usual value: both are means that forget slowly."""

    def __init__(self) -> None:
        self.usual = 0.0
        self._mean = 0.0
        self._seen = 0

    def add(self, value: float) -> None:
        self._seen += 1
        weight = max(1.0 / self._seen, 0.002)
        self._mean += weight * (value - self._mean)
        self.usual += weight * (abs(value - self._mean) - self.usual)
