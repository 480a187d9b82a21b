"""Frames and ticks of a stage, one at a time; what fails halfway drops the state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from streams.errors import Overtaken


class Turns:
    """`drop` forgets the state in memory, which is then read again from its last checkpoint; it calls `given_up`."""

    def __init__(self, drop: Callable[[], None]) -> None:
        self._drop = drop
        self._owned = 0  # counts how often the partitions were given up
        self._turn = asyncio.Lock()

    def given_up(self) -> None:
        """A rebalance: frames that wait for their turn are not ours any more."""
        self._owned += 1

    @asynccontextmanager
    async def frame(self) -> AsyncIterator[None]:
        """Raises `Overtaken` when the state was dropped meanwhile: without the frames before it, it must not count."""
        owned = self._owned
        async with self._turn:
            if owned != self._owned:
                raise Overtaken("the partition was given up meanwhile: the frame comes again")
            with self._or_dropped():
                yield

    @asynccontextmanager
    async def tick(self) -> AsyncIterator[None]:
        async with self._turn:
            with self._or_dropped():
                yield

    @contextmanager
    def _or_dropped(self) -> Iterator[None]:
        """What failed halfway is of no more use: the state may be past what nobody was told, and whoever waits for its
        turn must not write it.
        """
        owned = self._owned
        try:
            yield
        except Exception:  # whatever it was
            if owned == self._owned:
                self._drop()
            raise
