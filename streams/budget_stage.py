"""`keyfuse.spend` → `keyfuse.budgets`, and findings of budgets: one reader, who sums over all partitions.

What is to be told is first stored with its own time, then told: after a crash it is told again as the same finding, and
the decide stage drops what it has seen.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from controls.budget_desk import BudgetDesk, FactsOf
from controls.budgets import Budgets
from schemas.exception import PolicyException
from schemas.records import DeadLetter, DeadReason, Finding
from schemas.spend import BudgetStatus, SpendSums
from streams.acks import Arrived
from streams.checkpoint import ShardStore
from streams.errors import Overtaken
from streams.health import StageProgress
from streams.metrics import Metrics
from streams.outbox import Outbox
from streams.snapshot import Snapshot
from streams.topics import Topic, Topics


class BudgetStage:
    """Works where the one partition is; elsewhere it waits. `settings`: budgets and owners as they are now."""

    def __init__(
        self, *, settings: Callable[[], tuple[Budgets, FactsOf]],
        exceptions: Callable[[], Sequence[PolicyException]] = tuple, store: ShardStore, outbox: Outbox, topics: Topics,
        metrics: Metrics, progress: StageProgress, save_every_s: float,
    ) -> None:  # fmt: skip
        self._exceptions = exceptions
        self._settings, self._store, self._outbox = settings, store, outbox
        self._topics, self._metrics, self._progress = topics, metrics, progress
        self._save_every_s = save_every_s
        self._desk: BudgetDesk | None = None
        self._snapshot: Snapshot | None = None
        self._pending: list[Finding] = []  # stored, and perhaps not told yet
        self._unacked: deque[Arrived] = deque()
        self._told: dict[str, BudgetStatus] = {}
        self._saved_s: float | None = None
        self._stale = False
        self._owned = 0  # counts how often the state was given up; it may be somebody else's since
        self._turn = asyncio.Lock()

    @property
    def desk(self) -> BudgetDesk | None:
        """None where the partition is somebody else's."""
        return self._desk

    def drop(self) -> None:
        """A rebalance: another may have gone on with the state."""
        self._owned += 1
        if self._snapshot is not None:
            self._snapshot.given_up = True
        self._desk, self._snapshot, self._saved_s = None, None, None
        self._pending.clear()
        self._unacked.clear()
        self._told.clear()

    def restored(self, partition: int, _values: Mapping[bytes, bytes]) -> None:
        """The state is read: go on from there."""
        desk, snapshot = BudgetDesk(*self._settings()), Snapshot(self._store, partition)
        if snapshot.head is not None:
            desk.restore(snapshot.head["desk"], snapshot.part)
            self._pending = [Finding.model_validate(finding) for finding in snapshot.head["pending"]]
        self._desk, self._snapshot = desk, snapshot

    def changed(self) -> None:
        """Budgets, quotas or owners are others now: they count from the next look on."""
        self._stale = True

    async def on_record(self, arrived: Arrived, *, now_ms: int) -> None:
        """Hear it; it is acknowledged when the state that has it is stored."""
        owned = self._owned
        async with self._turn:
            desk = self._desk
            if owned != self._owned or desk is None:
                raise Overtaken("the partition was given up meanwhile: the record comes again")
            try:
                desk.hear(SpendSums.from_bytes(arrived.value))
            except ValueError as error:
                await self._bury(arrived, str(error), now_ms)
            self._unacked.append(arrived)
            self._progress.lag_records = len(self._unacked)

    async def tick(self, *, now_s: float, now_ms: int) -> None:
        """Once a second: look at all budgets, tell what is to be told, store."""
        async with self._turn:
            desk, snapshot = self._desk, self._snapshot
            if desk is None or snapshot is None:
                return
            if self._stale:
                self._stale = False
                desk.reconfigure(*self._settings())
            stand = desk.stand(now_ms, self._exceptions())
            await self._tell_statuses(stand.statuses)  # first: when usage is acknowledged, they have it
            if self._desk is not desk:
                return  # a rebalance meanwhile: what was heard since is not in this state
            if desk.too_late:
                self._metrics.inc("keyfuse_spend_too_late_total", desk.too_late)
                desk.too_late = 0
            self._pending += stand.findings
            due = self._saved_s is None or now_s - self._saved_s >= self._save_every_s
            if stand.findings or due:
                await self._save(desk, snapshot, now_s)
            await self._tell_findings()

    async def _save(self, desk: BudgetDesk, snapshot: Snapshot, now_s: float) -> None:
        covered = list(self._unacked)
        head, parts = desk.export()
        keep = [f"day/{day}" for day in head["days"]]
        pending = [finding.model_dump() for finding in self._pending]
        written = await snapshot.save({"desk": head, "pending": pending}, parts, keep)
        self._metrics.inc("keyfuse_checkpoint_bytes_total", written)
        if snapshot.given_up:
            raise Overtaken("the partition was given up while its state was stored")
        self._saved_s = now_s
        for arrived in covered:
            arrived.ack()
        for _ in covered[: len(self._unacked)]:
            self._unacked.popleft()
        self._progress.lag_records = len(self._unacked)
        self._progress.committed(now_s)

    async def _tell_statuses(self, statuses: tuple[BudgetStatus, ...]) -> None:
        news = [status for status in statuses if _differs(self._told.get(status.budget), status)]
        await self._outbox.send(Topic.BUDGETS, [(status.budget, status) for status in news])
        self._told |= {status.budget: status for status in news}
        for status in news:
            used = _share(status)
            self._metrics.set("keyfuse_budget_used_ratio", used, budget=status.budget)

    async def _tell_findings(self) -> None:
        pending, self._pending = self._pending, []
        await self._outbox.send(Topic.FINDINGS, [(finding.key_id, finding) for finding in pending])
        for finding in pending:
            self._metrics.inc("keyfuse_findings_total", family=finding.family, severity=finding.severity)

    async def _bury(self, arrived: Arrived, detail: str, now_ms: int) -> None:
        dead = DeadLetter(
            topic=self._topics.name(Topic.SPEND), partition=arrived.partition, offset=arrived.offset, index=-1,
            reason=DeadReason.BAD_RECORD, detail=detail[:200], bytes=len(arrived.value), at_ms=now_ms,
        )  # fmt: skip
        await self._outbox.send(Topic.DEAD, [(str(arrived.partition), dead)])
        self._metrics.inc("keyfuse_dead_letters_total", reason=dead.reason.value)


_TIMES: Final = frozenset({"at_ms", "period_from_ms", "period_until_ms"})


def _differs(told: BudgetStatus | None, now: BudgetStatus) -> bool:
    """Time alone is no news, but a new period is."""
    if told is None or told.period != now.period:
        return True
    before: dict[str, Any] = told.model_dump(exclude=set(_TIMES))
    return before != now.model_dump(exclude=set(_TIMES))


def _share(status: BudgetStatus) -> float:
    money = status.spent_nano_usd / status.limit_nano_usd if status.limit_nano_usd else 0.0
    return max(money, status.spent_tokens / status.limit_tokens if status.limit_tokens else 0.0)
