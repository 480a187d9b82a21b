"""Registered keys that nobody uses: asked of the archive, which remembers longer than any process. Blocking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controls.census import stale
from controls.registry import Registry
from schemas.records import Finding
from storage.owners import last_uses, registered_since
from storage.store import Store

EVERY_S: Final = 6 * 3600.0
_FIRST_S: Final = 120.0  # what the archive is behind with may hold a use


class StaleKeys:
    """After Unreachable the same call may be repeated."""

    def __init__(
        self, registry: Callable[[], Registry], stale_days: Callable[[], float], *, now_s: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:  # fmt: skip
        self._registry, self._stale_days = registry, stale_days
        self._now_s, self._now_ms = now_s, now_ms
        self._next_s = now_s() + _FIRST_S

    def due(self) -> bool:
        return self._now_s() >= self._next_s

    def find(self, store: Store) -> list[Finding]:
        """What is to be told; the same key is told once for as long as it rests."""
        entries = self._registry().entries()
        found = stale(
            entries, last_uses(store, list(entries)), registered_since(store), now_ms=self._now_ms(),
            stale_days=self._stale_days(),
        )  # fmt: skip
        self._next_s = self._now_s() + EVERY_S
        return found
