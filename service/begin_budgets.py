"""The embedded broker forgets everything at a restart; what a month has spent must not be forgotten with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from controls.budget_desk import BudgetDesk
from controls.budgets import Budgets
from controls.ledger import FINE_DAYS, KEPT_DAYS
from service.install import Install
from storage.errors import StoreError
from storage.spend import spend_since
from storage.store import Store
from streams.checkpoint import ShardStore
from streams.snapshot import Snapshot

_DAY_MS = 86_400_000
log = structlog.get_logger()


class Begun(ShardStore, Protocol):
    """Where the desk's state is kept."""

    async def load(self, partition: int) -> None: ...


async def begin_budgets(install: Install, store: Callable[[], Store], changelog: Begun, *, now_ms: int) -> int:
    """Where no desk has stored anything, begin with what the store has; how many sums.

    Only with the embedded broker: any other still has the frames of the last days, and they would count twice.
    """
    if install.folder.wiring.kafka.bootstrap != "embedded":
        return 0
    await changelog.load(0)
    snapshot = Snapshot(changelog)
    if snapshot.head is not None:
        return 0
    since_ms, fine_ms = ((now_ms // _DAY_MS - days + 1) * _DAY_MS for days in (KEPT_DAYS, FINE_DAYS))
    try:
        sums = await asyncio.to_thread(lambda: spend_since(store(), since_ms, fine_ms=fine_ms))
    except StoreError as error:
        log.warning("the store is away: budgets do not know what was spent before this start", why=str(error))
        return 0
    desk = BudgetDesk(Budgets(install.folder.budgets, install.registry.entries().values()), install.facts_of)
    desk.begin(sums)
    head, parts = desk.export()
    await snapshot.save({"desk": head, "pending": []}, parts, parts)
    if sums:
        log.info("budgets began with what the store has", sums=len(sums))
    return len(sums)
