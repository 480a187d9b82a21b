"""Owners of one partition of a state topic, one after the other, in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final

from streams.changelog import Changelog, StateRecord, claim_of

Hook = Callable[[], Awaitable[object]]
READS: Final = -2
"""Before it reads the topic, and has claimed it."""


class Owner(Changelog):
    """One worker's changelog on a topic that is a list. `before` its n-th write, not counting the first claim,
    something else happens.
    """

    def __init__(self, log: list[StateRecord], before: dict[int, Hook] | None = None) -> None:
        anything: Any = self
        super().__init__("nobody:1", "state", anything)
        self._log, self._before, self._writes = log, before or {}, -1

    async def send_and_wait(
        self, _topic: str, value: bytes, *, key: bytes, partition: int, headers: Sequence[tuple[str, bytes]] = ()
    ) -> SimpleNamespace:
        assert partition == 0
        hook = self._before.pop(self._writes, None)
        self._writes += 1
        if hook is not None:
            await hook()
        self._log.append(StateRecord(key, value, claim_of(headers)))
        return SimpleNamespace(offset=len(self._log) - 1)

    async def _records(self, partition: int) -> list[StateRecord]:
        hook = self._before.pop(READS, None)
        if hook is not None:
            await hook()
        return list(self._log)

    async def begin(self) -> None:
        """As the reader begins with a partition."""
        self.drop()
        await self.claim(0)
        await self.load(0)
