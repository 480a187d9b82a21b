"""The owners of keys, kept in the store by the archive, for the sake of the view `costs`. Blocking: run in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from controls.registry import Registry
from storage.owners import write_owners
from storage.store import Store

EVERY_S: Final = 300.0
"""So often they are compared besides each new configuration: keys are issued and change hands meanwhile."""


class OwnerKeeper:
    """After Unreachable the same call may be repeated."""

    def __init__(
        self, registry: Callable[[], Registry], *, now_s: Callable[[], float], now_ms: Callable[[], int]
    ) -> None:
        self._registry, self._now_s, self._now_ms = registry, now_s, now_ms
        self._written: Registry | None = None
        self._next_s = now_s()

    def due(self) -> bool:
        return self._registry() is not self._written or self._now_s() >= self._next_s

    def keep(self, store: Store) -> None:
        registry = self._registry()
        write_owners(store, registry.entries(), now_ms=self._now_ms())
        self._written, self._next_s = registry, self._now_s() + EVERY_S
