"""A loop with a consumer of its own that gets a new consumer each time it has failed.

aiokafka's may be dead for good after an error in the middle of a rebalance, and say so on every call from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final, Protocol

from aiokafka import TopicPartition

from streams.errors import StreamError

_CLOSE_S: Final = 5.0


class Loop(Protocol):
    """Made with a consumer that is started."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...

    async def close(self) -> None: ...

    def assigned(self) -> Collection[TopicPartition]: ...


class Renewed:
    """Like the loop itself: `run` it again after it has failed, `stop` it, `close` it."""

    def __init__(self, first: Loop, make: Callable[[], Awaitable[Loop]]) -> None:
        """`make` builds another one like `first`."""
        self._loop, self._make = first, make
        self._stopping = self._used = False
        self._running: asyncio.Future[None] | None = None
        self._stuck = ""

    async def run(self) -> None:
        if self._used:
            with suppress(TimeoutError):  # what is broken may not even close; the group forgets it
                await asyncio.wait_for(self._loop.close(), _CLOSE_S)
            self._loop = await self._make()
        self._used = True
        if not self._stopping:
            self._running = asyncio.ensure_future(self._loop.run())
            try:
                await self._running
            except asyncio.CancelledError:
                why, self._stuck = self._stuck, ""
                if not why:
                    raise
                raise StreamError(why) from None

    def restart(self, why: str) -> None:
        """It lives and does nothing: `run` raises, and is run again with another loop."""
        if self._running is not None and not self._stopping:
            self._stuck = why
            self._running.cancel()

    def assigned(self) -> Collection[TopicPartition]:
        return self._loop.assigned()

    def stop(self) -> None:
        self._stopping = True
        self._loop.stop()

    async def close(self) -> None:
        await self._loop.close()
