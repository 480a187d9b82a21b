"""Slices of budgets for the gate that is measured, asked for and taken over as in service, without a broker between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gate.lease import Borrower
from schemas.lease import Lease, LenderTerm

_LOOK_EVERY_S: Final = 0.05  # as service/gate_lending.py
_LEASE_MS: Final = 30_000
_LEFT: Final = 10**15


class Bank:
    """Lends one gate what it wants."""

    def __init__(self, borrower: Borrower) -> None:
        self._borrower, self.leases = borrower, 0
        borrower.heard(LenderTerm(lender="bench", epoch=1, state="begins"))

    def look(self, tick_ms: float) -> None:
        """Answer the gate, if it asks now."""
        ask = self._borrower.ask(tick_ms)
        for line in ask.lines if ask else ():
            assert ask
            self.leases += 1
            lease = Lease(
                lender="bench", epoch=1, replica=ask.replica, boot=ask.boot, pot=line.pot, period="now",
                seq=self.leases, answers=ask.seq, cap=line.used + line.want, for_ms=_LEASE_MS, left=_LEFT,
            )  # fmt: skip
            self._borrower.heard(Lease.from_bytes(lease.to_bytes()))  # it comes by Kafka, and that is this gate's work

    async def lend(self, tick_ms: Callable[[], float]) -> None:
        while True:
            self.look(tick_ms())
            await asyncio.sleep(_LOOK_EVERY_S)
