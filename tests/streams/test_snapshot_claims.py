"""A state of several records under claims: what an owner before writes late takes nothing back and damages nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from streams.changelog import StateRecord
from streams.errors import Overtaken
from streams.snapshot import Snapshot
from tests.streams.owners import READS, Owner


class Died(Exception):
    """A process, in the middle of a write."""


async def _dies() -> None:
    raise Died


def state(number: int, by: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Two days, of which the second changes with each state; the first ends after the second state. No two owners come
    to the same: they look at different moments.
    """
    parts = {"day/1": b"one"} if number < 3 else {}
    parts["day/2"] = f"{number} by {by}".encode()
    return {"number": number, "by": by, "days": sorted(parts)}, parts


async def begun(owner: Owner) -> Snapshot:
    await owner.begin()
    return Snapshot(owner)


async def save(snapshot: Snapshot, number: int, by: str) -> None:
    head, parts = state(number, by)
    await snapshot.save(head, parts, keep=parts)


def read(snapshot: Snapshot) -> int:
    """Its number. ValueError when a part is damaged, and it must be that state as a whole."""
    head: dict[str, Any] | None = snapshot.head
    if head is None:
        return 0
    assert (head, {day: snapshot.part(day) for day in head["days"]}) == state(head["number"], head["by"])
    return int(head["number"])


class History:
    """A sleeper stands still before one of its writes, which comes in the middle of the work of the next owner; that
    one dies before one of its own; a third reads.
    """

    def __init__(self, *, sleeps_at: int, wakes_at: int, dies_at: int) -> None:
        self.log: list[StateRecord] = []
        self.saved = 0  # the newest state that was stored as far as its owner knows, so that records were acknowledged
        self._sleeps_at, self._wakes_at, self._dies_at = sleeps_at, wakes_at, dies_at
        self._asleep, self._wake = asyncio.Event(), asyncio.Event()

    async def play(self) -> int:
        """The number of the state that the third owner finds."""
        sleeping = asyncio.create_task(self._sleeper())
        async with asyncio.timeout(5):
            await self._asleep.wait()
            with contextlib.suppress(Died):
                await self._next_owner(sleeping)
            self._wake.set()
            await sleeping
            return read(await begun(Owner(self.log)))

    async def _sleeper(self) -> None:
        async def sleep() -> None:
            self._asleep.set()
            await self._wake.wait()

        snapshot = await begun(Owner(self.log, {self._sleeps_at: sleep}))
        with contextlib.suppress(Overtaken):
            for number in (1, 2, 3):
                await save(snapshot, number, "the sleeper")
                self.saved = max(self.saved, number)

    async def _next_owner(self, sleeping: asyncio.Task[None]) -> None:
        async def wake() -> None:
            self._wake.set()
            await sleeping

        owner, again = Owner(self.log, {self._wakes_at: wake, self._dies_at: _dies}), True
        while again:
            try:
                snapshot, again = await begun(owner), False
                for number in range(read(snapshot) + 1, 7):
                    await save(snapshot, number, "the next owner")
                    self.saved = number
            except Overtaken:
                again = True


@pytest.mark.parametrize("sleeps_at", range(10))
async def test_a_late_write_takes_nothing_back_that_was_acknowledged_and_damages_nothing(sleeps_at: int) -> None:
    for wakes_at in (READS, *range(10)):
        for dies_at in (each for each in range(16) if each != wakes_at):
            history = History(sleeps_at=sleeps_at, wakes_at=wakes_at, dies_at=dies_at)
            found = await history.play()
            assert found >= history.saved, (wakes_at, dies_at)
