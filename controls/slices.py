"""A hundred thousand keys, a few thousand at a time: what the hour brings must not hold up a message. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, TypeVar

T = TypeVar("T")
TICK_MS: Final = 5_000
AT_ONCE: Final = 5_000


def slice_of(entries: Mapping[str, T], now_ms: int) -> Iterator[T]:
    """Those whose turn it is; one tick after another all of them come. Up to AT_ONCE of them always come.

    >>> entries = {str(number): number for number in range(12_000)}
    >>> [next(slice_of(entries, tick * TICK_MS)) for tick in range(4)]
    [0, 1, 2, 0]
    """
    stride = 1 + len(entries) // (AT_ONCE + 1)
    return islice(entries.values(), now_ms // TICK_MS % stride, None, stride)
