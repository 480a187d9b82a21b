"""How much the HTTP intake holds at once: a burst is answered 429, and what was accepted gets through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

RETRY_AFTER_S = 1


class Full(Exception):
    """There is no room now; the sender is asked to come back."""


class Room:
    """Bytes of bodies between their first byte and the broker's word. One body always finds room.

    >>> room = Room(100)
    >>> with room.taken(80):
    ...     room.held_bytes
    80
    >>> room.held_bytes
    0
    """

    def __init__(self, max_bytes: int, *, changed: Callable[[int], None] = lambda _: None) -> None:
        self._max_bytes = max_bytes
        self._changed = changed
        self.held_bytes = 0

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Room for a body of at most so many bytes, until the block ends. Raises Full."""
        if self.held_bytes and self.held_bytes + size > self._max_bytes:
            raise Full
        self._hold(size)
        try:
            yield
        finally:
            self._hold(-size)

    def _hold(self, size: int) -> None:
        self.held_bytes += size
        self._changed(self.held_bytes)
