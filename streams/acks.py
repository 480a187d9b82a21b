"""What may be committed of one partition when records end in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Arrived:
    """One record for a stage. `ack` may be called later, in any order; what is not acknowledged comes again."""

    topic: str
    partition: int
    offset: int
    value: bytes
    ack: Callable[[], object]


class Acks:
    """Offsets that have come and not ended; the commit is the lowest of them. Pure.

    >>> acks = Acks()
    >>> acks.came(5), acks.came(6), acks.came(7)
    (None, None, None)
    >>> acks.ended(6)  # 5 has not
    5
    >>> acks.ended(5)
    7
    >>> acks.ended(7)
    8
    """

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._next = 0

    def came(self, offset: int) -> None:
        self._open.add(offset)
        self._next = max(self._next, offset + 1)

    def ended(self, offset: int) -> int:
        """The offset to commit: everything before it has ended."""
        self._open.discard(offset)
        return min(self._open, default=self._next)
