"""The limits as the contain stage asks them: one ledger, stored with each verdict, changed by one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Final

from containment.limits import Census, Ledger, Verdict, failed, freeze, judge, unfreeze
from schemas.config import ResponsesConfig
from schemas.records import Command, PartitionStats, Request
from streams.checkpoint import ShardStore
from streams.contain_words import INSTALL, freeze_row, page
from streams.errors import Overtaken
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.topics import Topic

_LEDGER: Final = b"ledger"


class LedgerKeeper:
    """Caps, freeze and cool-downs of one install.

    Args:
        freeze_file: While it exists nothing runs by itself.
        registered: key_ids of keys.yaml.
    """

    def __init__(
        self, *, store: ShardStore, outbox: Outbox, metrics: Metrics, now_ms: Callable[[], int],
        responses: Callable[[], ResponsesConfig], freeze_file: Path, registered: Callable[[], Collection[str]],
    ) -> None:  # fmt: skip
        self._store, self._outbox, self._metrics, self._now_ms = store, outbox, metrics, now_ms
        self._responses, self._freeze_file, self._registered = responses, freeze_file, registered
        self._stats: dict[int, PartitionStats] = {}
        self._turn = asyncio.Lock()  # a verdict that is being stored must not be lost to a cool-down
        self._owned = 0  # counts how often the state was given up; it may be somebody else's since

    def on_stats(self, stats: PartitionStats) -> None:
        self._stats[stats.partition] = stats

    def forget(self) -> None:
        """The state is somebody else's now: what is not loaded must not be taken for an empty ledger and stored."""
        self._owned += 1

    def frozen(self) -> bool:
        return self._freeze_file.exists() or self._ledger().frozen is not None

    async def judge(self, command: Command) -> Verdict:
        """May it run? Stored, and told to people where it freezes, before it is answered."""
        now_ms = self._now_ms()
        async with self._alone():
            verdict = judge(
                self._ledger(), command, now_ms=now_ms, frozen_file=self._freeze_file.exists(),
                config=self._responses(), **self._census(command.key_id)._asdict(),
            )  # fmt: skip
            if verdict.page:  # before the freeze is stored: a crash in between calls people twice, and never not at all
                await self._outbox.send(Topic.INCIDENTS, [(INSTALL, page(verdict.page, now_ms=now_ms))])
            await self._store.put(0, _LEDGER, verdict.ledger.to_bytes())
        self._metrics.set("keyfuse_frozen", int(self.frozen()))
        return verdict

    async def failed(self, key_id: str) -> None:
        """A step failed for good: the key is left alone for a while."""
        now_ms, config = self._now_ms(), self._responses()
        await self._amend(lambda ledger: failed(ledger, key_id, now_ms=now_ms, config=config))

    async def hear(self, request: Request) -> None:
        """A freeze or its end, once for each request: a copy of an old unfreeze lifts nothing."""
        if self.has_heard(request):
            return
        now_ms = self._now_ms()
        if request.action == "freeze":
            await self._amend(lambda ledger: freeze(ledger, request.reason, by=request.by, now_ms=now_ms))
        else:
            await self._amend(unfreeze)
        self._metrics.set("keyfuse_frozen", int(self.frozen()))
        await self._outbox.send(Topic.AUDIT, [("", freeze_row(request, now_ms=now_ms))])
        await self._store.put(0, _said_key(request), str(now_ms).encode())

    def has_heard(self, request: Request) -> bool:
        return self._store.get(_said_key(request)) is not None

    async def _amend(self, change: Callable[[Ledger], Ledger]) -> None:
        async with self._alone():
            await self._store.put(0, _LEDGER, change(self._ledger()).to_bytes())

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        owned = self._owned
        async with self._turn:
            if owned != self._owned:
                raise Overtaken("the partition has gone to another owner meanwhile: the order comes again")
            yield

    def _ledger(self) -> Ledger:
        stored = self._store.get(_LEDGER)
        return Ledger.from_bytes(stored) if stored else Ledger()

    def _census(self, key_id: str) -> Census:
        """What the limits are shares of. Whoever can make up events can make up keys, but not register them."""
        registered, stats = self._registered(), self._stats.values()
        if not registered:
            return Census(sum(one.known_keys for one in stats), sum(one.active_keys for one in stats), stranger=False)
        told = [one.active_registered_keys for one in stats if one.active_registered_keys is not None]
        active = sum(told) if told else len(registered)  # just started: score tells every two seconds
        return Census(len(registered), active, stranger=key_id not in registered)


def _said_key(request: Request) -> bytes:
    return f"said:{request.request_id}".encode()
