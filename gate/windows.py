"""How much each key used of late under each ceiling: rings of time buckets, whole numbers, nothing but what is recent.

A window of W is covered by whole buckets of W / 10, eleven of them: no span of W ever holds more than the ceiling, and
what passed is free again after at most 1.1 W.

    W = 60 s    |--|--|--|--|--|--|--|--|--|--|--|      a bucket is 6 s
                 ^ leaves next                  ^ now
"""

from __future__ import annotations

import math
from array import array
from typing import Final

from gate.ports import Ceiling

PARTS: Final = 10
DAY_S: Final = 86_400
_HEAD, _TOTAL, _RING = 0, 1, 2  # newest bucket's number, sum over the ring, then the ring
NEVER: Final = math.inf
Window = tuple[str, float]
"""Unit and seconds: what a key used is one number, whichever rule limits it."""


class _Rings:
    """The rings of one window: those touched lately, and those touched in the span before, dropped together if idle."""

    __slots__ = ("old", "parts", "turn_at", "width_ms", "young")

    def __init__(self, window_s: float) -> None:
        self.parts = 1 if window_s == DAY_S else PARTS + 1
        self.width_ms = max(1.0, window_s * 1000 / (1 if window_s == DAY_S else PARTS))
        self.young: dict[str, array[int]] = {}
        self.old: dict[str, array[int]] = {}
        self.turn_at = 0

    def bucket(self, at_ms: float) -> int:
        return int(at_ms // self.width_ms)

    def ring(self, key_id: str, bucket: int) -> array[int]:
        """The key's ring, up to the bucket. Time that goes back is taken as standing still."""
        if bucket >= self.turn_at:
            self.turn_at, self.old, self.young = bucket + self.parts, self.young if self.turn_at else {}, {}
        ring = self.young.get(key_id)
        if ring is None:
            ring = self.old.pop(key_id, None)
            if ring is None:
                ring = array("q", [bucket, 0] + [0] * self.parts)
            self.young[key_id] = ring
        if bucket > ring[_HEAD]:
            self._advance(ring, bucket)
        return ring

    def _advance(self, ring: array[int], bucket: int) -> None:
        for number in range(max(ring[_HEAD] + 1, bucket - self.parts + 1), bucket + 1):
            at = _RING + number % self.parts
            ring[_TOTAL] -= ring[at]
            ring[at] = 0
        ring[_HEAD] = bucket


class Windows:
    """All keys and windows of one gate.

    Times: a clock that never jumps, but for ceilings of a day, which go by the calendar of UTC.

    >>> from gate.ports import Rate
    >>> windows, rate = Windows(), Rate("slow", "requests", 60, 2)
    >>> windows.wait_s(rate, "k1", 1, 0), windows.add(rate, "k1", 2, 0), windows.wait_s(rate, "k1", 1, 6_000)
    (0.0, 0, 60.0)
    >>> windows.wait_s(rate, "k1", 1, 66_000), windows.wait_s(rate, "k1", 3, 66_000)
    (0.0, inf)
    """

    def __init__(self) -> None:
        self._rules: dict[Window, _Rings] = {}

    def wait_s(self, ceiling: Ceiling, key_id: str, amount: int, at_ms: float) -> float:
        """0 when the amount fits now, else in how many seconds, if nothing else comes; `NEVER`: it is too much."""
        if amount > ceiling.limit:
            return NEVER
        rule = self._rule(ceiling)
        bucket = rule.bucket(at_ms)
        ring = rule.ring(key_id, bucket)
        over = ring[_TOTAL] + amount - ceiling.limit
        if over <= 0:
            return 0.0
        head = ring[_HEAD]
        for oldest in range(head - rule.parts + 1, head + 1):
            over -= ring[_RING + oldest % rule.parts]
            if over <= 0:
                return ((oldest + rule.parts) * rule.width_ms - at_ms) / 1000
        return NEVER  # corrections took the ring below what was added: it cannot be

    def add(self, ceiling: Ceiling, key_id: str, amount: int, at_ms: float) -> int:
        """Count it; returns the bucket it went to."""
        rule = self._rule(ceiling)
        ring = rule.ring(key_id, rule.bucket(at_ms))
        head = ring[_HEAD]
        ring[_RING + head % rule.parts] += amount
        ring[_TOTAL] += amount
        return head

    def correct(self, window: Window, key_id: str, bucket: int, difference: int) -> None:
        """What was added to a bucket turns out to be more or less. Nothing, if it is past and forgotten."""
        rule = self._rules.get(window)
        ring = rule and (rule.young.get(key_id) or rule.old.get(key_id))
        if rule and ring and ring[_HEAD] - rule.parts < bucket <= ring[_HEAD]:
            at = _RING + bucket % rule.parts
            difference = max(difference, -ring[at])
            ring[at] += difference
            ring[_TOTAL] += difference

    def __len__(self) -> int:
        """Rings that are kept."""
        return sum(len(rule.young) + len(rule.old) for rule in self._rules.values())

    def _rule(self, ceiling: Ceiling) -> _Rings:
        window = (ceiling.unit, ceiling.window_s)
        found = self._rules.get(window)
        if found is None:
            found = self._rules[window] = _Rings(ceiling.window_s)
        return found
