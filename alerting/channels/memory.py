"""A channel that remembers what it was told, for tests and demos; it passes the suite of the real ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import ChannelError
from schemas.records import Incident

KIND: Final = "memory"


class MemoryChannel:
    """Keeps every version in `delivered`. `failures` are raised first, one for each delivery."""

    kind = KIND

    def __init__(self, name: str, failures: Iterable[ChannelError] = ()) -> None:
        self.name = name
        self.delivered: list[Incident] = []
        self.tries = 0
        self.closed = False
        self._failures = list(failures)

    def __repr__(self) -> str:
        return f"MemoryChannel({self.name!r}, delivered={len(self.delivered)})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Remember it, or raise the next failure."""
        self.tries += 1
        if self._failures:
            raise self._failures.pop(0)
        self.delivered.append(incident)
        return shows(self, incident)

    async def close(self) -> None:
        """Remember that, too."""
        self.closed = True
