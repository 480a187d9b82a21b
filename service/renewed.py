"""A loop with a consumer of its own that gets a new consumer each time it has failed.

aiokafka's may be dead for good after an error in the middle of a rebalance, and say so on every call from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

_CLOSE_S: Final = 5.0


class Loop(Protocol):
    """Made with a consumer that is started."""

    async def run(self) -> None: ...

    def stop(self) -> None: ...

    async def close(self) -> None: ...


class Renewed:
    """Like the loop itself: `run` it again after it has failed, `stop` it, `close` it."""

    def __init__(self, first: Loop, make: Callable[[], Awaitable[Loop]]) -> None:
        """`make` builds another one like `first`."""
        self._loop, self._make = first, make
        self._stopping = self._used = False

    async def run(self) -> None:
        if self._used:
            with suppress(TimeoutError):  # what is broken may not even close; the group forgets it
                await asyncio.wait_for(self._loop.close(), _CLOSE_S)
            self._loop = await self._make()
        self._used = True
        if not self._stopping:
            await self._loop.run()

    def stop(self) -> None:
        self._stopping = True
        self._loop.stop()

    async def close(self) -> None:
        await self._loop.close()
