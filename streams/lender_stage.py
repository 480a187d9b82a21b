"""`keyfuse.lease-asks` → `keyfuse.leases`: the one lender, wherever the one partition of asks is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from pydantic import ValidationError

from controls.budgets import Budgets, as_told, period_of
from controls.lease_pots import PARTS, pots_of
from controls.leases import Lender, Pot
from controls.steady import SteadyClock
from schemas.config.budgets import BudgetConfig
from schemas.lease import MEMBERS, LeaseAsk, LenderTerm
from schemas.spend import BudgetStatus
from streams.acks import Arrived
from streams.health import StageProgress
from streams.lease_log import LeaseLog
from streams.metrics import Metrics

log = structlog.get_logger()


@dataclass(frozen=True)
class Terms:
    """How it lends."""

    lease_ms: int
    reservation_ms: int
    seen_within_ms: int


class LenderStage:
    """Times: `mono_ms` never jumps. `new_name` gives a name that no lender had before."""

    def __init__(
        self, *, budgets: Callable[[], Budgets], terms: Callable[[], Terms], topic: LeaseLog,
        new_name: Callable[[], str], metrics: Metrics, progress: StageProgress,
    ) -> None:  # fmt: skip
        self._budgets, self._terms, self._topic, self._new_name = budgets, terms, topic, new_name
        self._metrics, self._progress = metrics, progress
        self._clock = SteadyClock()
        self._statuses: dict[str, BudgetStatus] = {}
        self._news: set[str] = set()  # budgets of which the lender was not told yet
        self._known: Budgets | None = None  # as the lender was told
        self._lent: dict[str, tuple[str, ...]] = {}  # budget -> its pots
        self._periods: dict[str, str] = {}
        self._caught_up_ms: int | None = None
        self._lender: Lender | None = None
        self._turn = asyncio.Lock()

    def drop(self) -> None:
        """A rebalance: another may lend by now."""
        self._lender = None

    def stands(self, status: BudgetStatus) -> None:
        """The budget desk says where a budget stands."""
        self._statuses[status.budget] = status
        self._news.add(status.budget)

    def changed(self) -> None:
        """Budgets or quotas are others now."""
        self._known = None

    def caught_up(self, at_ms: int) -> None:
        """All usage that had come in by then is in what the desk says."""
        self._caught_up_ms = at_ms

    async def on_ask(self, arrived: Arrived, *, wall_ms: int, mono_ms: int) -> None:
        """Answer it; what was answered is in the topic before the ask is acknowledged."""
        async with self._turn:
            try:
                ask = LeaseAsk.from_bytes(arrived.value)
            except ValidationError:
                log.warning("not an ask for a lease; it is left", bytes=len(arrived.value))
                arrived.ack()
                return
            if self._lender is None:
                self._lender = await self._take_over(wall_ms, mono_ms)
            await self._topic.write(self._lender.ask(ask, mono_ms))
            self._metrics.inc("keyfuse_lease_asks_total")
            arrived.ack()

    async def tick(self, *, wall_ms: int, mono_ms: int) -> None:
        """Once a second: where the ceilings stand, and what is free again."""
        async with self._turn:
            now_ms = self._clock.now(wall_ms, mono_ms)
            if self._lender is None:
                return
            self._tell(self._lender, now_ms)
            if self._caught_up_ms is not None:
                self._lender.caught_up(self._caught_up_ms)
                self._metrics.set("keyfuse_usage_behind_seconds", (mono_ms - self._caught_up_ms) / 1000)
            await self._topic.write(self._lender.tick(mono_ms))
            self._metrics.set("keyfuse_lease_gates", self._lender.live(mono_ms))
            self._progress.committed(mono_ms / 1000)

    async def _take_over(self, wall_ms: int, mono_ms: int) -> Lender:
        """Write the term until it is the first of its epoch; then go on with all that stands before it."""
        while True:
            known = [record for _, record in await self._topic.read()]
            term = LenderTerm(
                lender=self._new_name(), epoch=max((each.epoch for each in known), default=0) + 1, state="begins"
            )
            await self._topic.write([(term.name, term)])
            known = [record for _, record in await self._topic.read()]
            before = known[: known.index(term)]
            if not any(isinstance(each, LenderTerm) and each.epoch >= term.epoch for each in before):
                break
        terms = self._terms()
        lender = Lender(
            term.lender, term.epoch, lease_ms=terms.lease_ms, reservation_ms=terms.reservation_ms,
            seen_within_ms=terms.seen_within_ms,
        )  # fmt: skip
        await self._topic.write(lender.restore(before, mono_ms))
        self._known = None
        self._tell(lender, self._clock.now(wall_ms, mono_ms))
        log.info("lends slices of budgets", lender=term.lender, epoch=term.epoch)
        return lender

    def _tell(self, lender: Lender, now_ms: int) -> None:
        """Where the ceilings stand, of those that changed."""
        lender.stands(Pot(MEMBERS, period_of("day", now_ms).name, PARTS))
        if self._known is None:
            self._known, self._news = self._budgets(), set(self._statuses) | set(self._lent)
        budgets = self._known
        for name in list(self._news):
            budget, status = budgets.named(name), self._statuses.get(name)
            if budget is not None and status is not None and not self._is_its_time(budget, status, now_ms):
                continue
            self._news.discard(name)
            pots = () if budget is None or status is None else tuple(pots_of(as_told(budget, status), status))
            for pot in pots:
                lender.stands(pot)
            names = tuple(pot.name for pot in pots)
            for gone in set(self._lent.pop(name, ())) - set(names):
                lender.drop(gone)
            if names:
                self._lent[name] = names

    def _is_its_time(self, budget: BudgetConfig, status: BudgetStatus, now_ms: int) -> bool:
        """A period that it cannot be by the steady clock does not begin: the one before goes on."""
        had = self._periods.get(status.budget)
        if had not in (None, status.period) and period_of(budget.period, now_ms).name != status.period:
            return False
        self._periods[status.budget] = status.period
        return True
