"""Legal holds kept by the archive: at each new word, and from time to time. Blocking: run in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from schemas.records import AuditRow
from storage.holds import keep
from storage.store import Store
from streams.metrics import Metrics

EVERY_S: Final = 600.0
"""So often what people said is compared with what is held: incidents end, and somebody may have removed rows."""
log = structlog.get_logger()


class HoldKeeper:
    """After Unreachable the same call may be repeated."""

    def __init__(self, metrics: Metrics, *, now_s: Callable[[], float], now_ms: Callable[[], int]) -> None:
        self._metrics, self._now_s, self._now_ms = metrics, now_s, now_ms
        self._next_s = now_s()  # at once: a word may have come in just before a crash

    def due(self) -> bool:
        return self._now_s() >= self._next_s

    def keep(self, store: Store) -> list[AuditRow]:
        """What the audit has to be told."""
        rows, missing = keep(store, now_ms=self._now_ms())
        self._metrics.set("keyfuse_held_events_missing", missing)
        if missing:
            log.error(
                "hold_broken", missing=missing, words="held events are gone from the store: somebody removed them"
            )
        self._next_s = self._now_s() + EVERY_S
        return rows
