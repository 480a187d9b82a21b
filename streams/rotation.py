"""State in shards, written in rotation: the oldest changed one first, at a bounded rate; of what was read keep places.

What may be acknowledged is what every shard covers. See docs/adr/0004-delivery.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from schemas.config.wiring import StateConfig
from streams.acks import Arrived
from streams.checkpoint import Checkpoint


class Sharded(Protocol):
    """A core whose state is shards."""

    clock_s: int

    def dirty_shards(self) -> list[int]: ...

    def export_shard(self, shard: int) -> bytes: ...

    def import_shard(self, shard: int, data: bytes) -> None: ...


class _Unacked(NamedTuple):
    offset: int
    clock_s: int  # of the core after it
    ack: Callable[[], object]


class Rotation:
    """One partition's shards. `get` and `put` speak with a compacted topic, by name."""

    def __init__(
        self, core: Sharded, settings: StateConfig, *, get: Callable[[str], bytes | None],
        put: Callable[[str, bytes], Awaitable[None]], now_s: float,
    ) -> None:  # fmt: skip
        self._core, self._settings, self._put = core, settings, put
        self._checkpoint = Checkpoint()
        self._unacked: deque[_Unacked] = deque()
        self._last_step_s = now_s
        clock = get("clock")
        for shard in range(settings.shards):
            if (data := get(str(shard))) is not None:
                core.import_shard(shard, data)
        core.clock_s = int(clock) if clock is not None else 0  # at the acknowledged record: all before it is covered

    @property
    def waiting(self) -> int:
        """Records that are not acknowledged yet."""
        return len(self._unacked)

    def folded(self, arrived: Arrived) -> None:
        """The record is in the state; it waits for its shards."""
        self._checkpoint.folded(arrived.offset, dirty=self._core.dirty_shards())
        self._unacked.append(_Unacked(arrived.offset, self._core.clock_s, arrived.ack))

    async def step(self, now_s: float) -> bool:
        """Write the shard that has waited longest, then acknowledge what all cover. True when that was something."""
        if now_s - self._last_step_s < self._settings.rotation_s / self._settings.shards:
            return False
        self._last_step_s = now_s
        self._checkpoint.touched(dirty=self._core.dirty_shards())
        if dirty := self._core.dirty_shards():
            await self._put(str(dirty[0]), self._core.export_shard(dirty[0]))
            self._checkpoint.written(dirty[0])
        ackable = self._checkpoint.ackable()
        covered = [self._unacked.popleft() for _ in range(sum(each.offset <= ackable for each in self._unacked))]
        if not covered:
            return False
        await self._put("clock", str(covered[-1].clock_s).encode())
        for each in covered:
            each.ack()
        return True
