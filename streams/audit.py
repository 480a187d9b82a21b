"""The audit's rows into their chain, and from time to time a head over it. Blocking: run in a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from schemas.signing import Signer
from storage.audit import append, seal
from storage.errors import StoreError
from storage.store import Store

log = structlog.get_logger()
CHAIN: Final = "chain"
"""In a row on its way to the store: the topic partition it came from, which is the chain it belongs to."""


def chain_of(topic: str, partition: int) -> str:
    return f"{topic}:{partition}"


@dataclass(frozen=True)
class Sealing:
    """How often a head is written, and by whom; without a signer heads are unsigned."""

    signer: Signer | None = None
    every_s: float = 300.0


class AuditKeeper:
    """Appends, and seals when it is time. After Unreachable the same call may be repeated."""

    def __init__(self, sealing: Sealing, *, now_s: Callable[[], float], now_ms: Callable[[], int]) -> None:
        self._sealing, self._now_s, self._now_ms = sealing, now_s, now_ms
        self._next_s = now_s()  # at once: what was written before a restart may have no head yet

    def append(self, store: Store, rows: Sequence[dict[str, Any]]) -> None:
        """Rows of `record_row` with their CHAIN, in the order of the topic."""
        for chain in dict.fromkeys(row[CHAIN] for row in rows):
            append(store, chain, [row for row in rows if row[CHAIN] == chain])

    def due(self) -> bool:
        return self._now_s() >= self._next_s

    def seal(self, store: Store) -> None:
        """A head for each chain that has grown. A chain that is broken gets none, and the log says where."""
        for problem in seal(store, self._sealing.signer, now_ms=self._now_ms()):
            log.error("audit_broken", chain=problem.chain, row=problem.seq, words=problem.words)
        self._next_s = self._now_s() + self._sealing.every_s

    def seal_last(self, store: Callable[[], Store]) -> None:
        """Before the end, once: when the store is away the next start does it."""
        try:
            self.seal(store())
        except StoreError as error:
            log.warning("audit_not_sealed", words=str(error))
