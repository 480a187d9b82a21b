"""Which frames may be acknowledged: those that every shard of the state has been written past."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class ShardStore(Protocol):
    """Where checkpoints go: a compacted changelog. `put` returns when the broker has it."""

    def get(self, key: bytes) -> bytes | None: ...

    async def put(self, partition: int, key: bytes, value: bytes) -> None: ...


class Checkpoint:
    """Bookkeeping of one partition. Pure: offsets in, offsets out.

    A shard is dirty from the first frame that changed it until it is written; frames before the oldest such
    frame are covered by what is stored.

    >>> checkpoint = Checkpoint()
    >>> checkpoint.folded(10, dirty=[1]); checkpoint.folded(11, dirty=[1, 2])
    >>> checkpoint.ackable()
    9
    >>> checkpoint.written(1); checkpoint.ackable()
    10
    >>> checkpoint.written(2); checkpoint.ackable()
    11
    """

    def __init__(self) -> None:
        self._first_dirty: dict[int, int] = {}
        self._last: int = -1

    def folded(self, offset: int, *, dirty: Iterable[int]) -> None:
        """The frame at `offset` is in the state; `dirty` are all shards not yet written."""
        self._last = max(self._last, offset)
        for shard in dirty:
            self._first_dirty.setdefault(shard, offset)

    def touched(self, *, dirty: Iterable[int]) -> None:
        """Time alone changed these shards: nothing before now need be read again for them."""
        for shard in dirty:
            self._first_dirty.setdefault(shard, self._last + 1)

    def written(self, shard: int) -> None:
        self._first_dirty.pop(shard, None)

    def ackable(self) -> int:
        """The highest offset that may be acknowledged; -1 when none."""
        return min(min(self._first_dirty.values(), default=self._last + 1) - 1, self._last)
