"""The desk's stage: statuses go out, findings once, and a kill anywhere changes neither sums nor what is told."""

from __future__ import annotations

import pytest

from alerting.case import KeyCase
from controls.budgets import Budgets
from schemas.config.budgets import BudgetConfig, BudgetsConfig
from schemas.records import DeadLetter, Finding
from schemas.spend import BudgetStatus, SpendSums
from streams.acks import Arrived
from streams.budget_stage import BudgetStage
from streams.changelog import StateRecord
from streams.checkpoint import ShardStore
from streams.errors import Overtaken
from streams.health import StageProgress
from streams.metrics import Metrics
from streams.topics import Topic, Topics
from tests.alerting.world import found
from tests.controls.test_budget_desk import sums
from tests.streams.owners import Owner
from tests.streams.world import T0, MemoryOutbox, MemoryShards

CONFIG = BudgetsConfig(budgets=(BudgetConfig(name="all", usd=100, period="day", projected=False, burn_rate=False),))
LOG = [sums((number // 5, number // 5, "k", 1 + number % 5, 4.0 * (1 + number % 5))) for number in range(25)]
"""Five parts of five records each: $20 in each, $100 in all."""


class Worker:
    """One process's life: its memory goes when it is killed, the store and the acknowledged offset stay."""

    def __init__(self, store: ShardStore, outbox: MemoryOutbox, config: BudgetsConfig = CONFIG) -> None:
        self.acked, self.config, self.metrics = -1, config, Metrics()
        self.stage = BudgetStage(
            settings=lambda: (Budgets(self.config), lambda _: None), store=store, outbox=outbox, topics=Topics(),
            metrics=self.metrics, progress=StageProgress("budget", 0), save_every_s=3,
        )  # fmt: skip
        self.stage.restored(0, {})

    def _ack(self, offset: int) -> None:
        self.acked = max(self.acked, offset)

    async def take(self, offset: int, value: bytes) -> None:
        arrived = Arrived("spend", 0, offset, value, lambda: self._ack(offset))
        await self.stage.on_record(arrived, now_ms=T0)

    async def live(self, log: list[SpendSums], *, start: int = 0, until: int) -> None:
        for offset in range(start, until):
            await self.take(offset, log[offset].to_bytes())
            await self.stage.tick(now_s=offset, now_ms=T0 + offset * 1000)


def newest(outbox: MemoryOutbox) -> BudgetStatus:
    statuses = [record for record in outbox.of(Topic.BUDGETS) if isinstance(record, BudgetStatus)]
    return statuses[-1]


def told(outbox: MemoryOutbox) -> list[str]:
    """What the decide stage takes for new."""
    case: KeyCase | None = None
    names = []
    for record in outbox.of(Topic.FINDINGS):
        assert isinstance(record, Finding)
        change = found(case, record)
        case = change.case
        names += [record.detector] * bool(change.incidents)
    return names


async def test_statuses_are_told_when_something_changed() -> None:
    outbox = MemoryOutbox()
    worker = Worker(MemoryShards(), outbox)
    await worker.live(LOG, until=3)
    for second in range(4, 9):
        await worker.stage.tick(now_s=second, now_ms=T0 + second * 1000)
    statuses = [record for record in outbox.of(Topic.BUDGETS) if isinstance(record, BudgetStatus)]
    assert [status.spent_nano_usd // 10**9 for status in statuses] == [4, 8, 12]
    assert b'keyfuse_budget_used_ratio{budget="all"} 0.12' in worker.metrics.render()
    assert worker.acked == 2


@pytest.mark.parametrize("killed_at", range(1, 25, 4))
@pytest.mark.parametrize("crash_after", [None, 1, 2])
async def test_a_kill_changes_no_sum_and_nothing_is_told_twice(killed_at: int, crash_after: int | None) -> None:
    """Killed between two records, or in the middle of storing its state."""
    store, outbox = MemoryShards(), MemoryOutbox()
    first = Worker(store, outbox)
    await first.live(LOG, until=killed_at)
    if crash_after is not None:
        store.crash_after = crash_after
        with pytest.raises(ConnectionError):
            await first.live(LOG, start=killed_at, until=25)
        store.crash_after = None
    second = Worker(store, outbox)
    await second.live(LOG, start=first.acked + 1, until=25)
    assert newest(outbox).spent_nano_usd == 100 * 10**9
    assert told(outbox) == ["soft_50", "soft_80", "soft_95", "used_up"]


async def test_a_finding_that_was_stored_and_not_told_is_told_by_the_next_process() -> None:
    class Broken(MemoryOutbox):
        async def send(self, topic: Topic, records: object) -> dict[int, int]:
            if topic is Topic.FINDINGS:
                raise ConnectionError("gone")
            return {}

    store, outbox = MemoryShards(), MemoryOutbox()
    first = Worker(store, Broken())
    await first.take(0, sums((0, 0, "k", 1, 60.0)).to_bytes())
    with pytest.raises(ConnectionError):
        await first.stage.tick(now_s=0, now_ms=T0)
    second = Worker(store, outbox)
    await second.stage.tick(now_s=9, now_ms=T0 + 9000)
    await second.stage.tick(now_s=19, now_ms=T0 + 19_000)
    findings = [record for record in outbox.of(Topic.FINDINGS) if isinstance(record, Finding)]
    assert [(finding.detector, finding.at_ms) for finding in findings] == [("soft_50", T0)]


async def test_other_budgets_hold_from_the_next_look_on() -> None:
    outbox = MemoryOutbox()
    worker = Worker(MemoryShards(), outbox)
    await worker.live(LOG, until=5)
    worker.config = BudgetsConfig(budgets=(BudgetConfig(name="tight", usd=20, period="day", hard_stop=True),))
    worker.stage.changed()
    await worker.stage.tick(now_s=9, now_ms=T0 + 9000)
    assert (newest(outbox).budget, newest(outbox).level) == ("tight", "stopped")


async def test_a_record_that_is_none_is_buried_and_passed() -> None:
    outbox = MemoryOutbox()
    worker = Worker(MemoryShards(), outbox)
    await worker.take(0, b"{}")
    await worker.take(1, LOG[0].to_bytes())
    await worker.stage.tick(now_s=0, now_ms=T0)
    [dead] = [record for record in outbox.of(Topic.DEAD) if isinstance(record, DeadLetter)]
    assert (dead.offset, dead.reason.value, worker.acked) == (0, "bad_record", 1)


async def test_where_the_partition_is_not_nothing_happens() -> None:
    outbox = MemoryOutbox()
    worker = Worker(MemoryShards(), outbox)
    worker.stage.drop()
    await worker.stage.tick(now_s=0, now_ms=T0)
    assert outbox.of(Topic.BUDGETS) == []
    assert worker.stage.desk is None


async def test_a_rebalance_while_statuses_are_told_leaves_the_state_to_its_new_owner() -> None:
    store, outbox = MemoryShards(), MemoryOutbox()
    first = Worker(store, outbox)
    await first.live(LOG, until=10)
    stored, acked = dict(store.values), first.acked
    outbox.meanwhile[Topic.BUDGETS] = first.stage.drop
    await first.take(10, LOG[10].to_bytes())
    await first.stage.tick(now_s=100, now_ms=T0 + 100_000)
    assert (store.values, first.acked) == (stored, acked)
    with pytest.raises(Overtaken):
        await first.take(11, LOG[11].to_bytes())
    second = Worker(store, outbox)
    await second.live(LOG, start=acked + 1, until=25)
    assert newest(outbox).spent_nano_usd == 100 * 10**9


async def test_an_owner_that_slept_through_a_rebalance_takes_no_spend_back() -> None:
    log, outbox = list[StateRecord](), MemoryOutbox()

    async def owner() -> Worker:
        changelog = Owner(log)
        await changelog.begin()
        return Worker(changelog, outbox)

    sleeper = await owner()
    await sleeper.live(LOG, until=10)
    second = await owner()
    await second.live(LOG, start=sleeper.acked + 1, until=20)
    with pytest.raises(Overtaken):
        await sleeper.live(LOG, start=10, until=14)
    third = await owner()
    await third.live(LOG, start=second.acked + 1, until=25)
    assert newest(outbox).spent_nano_usd == 100 * 10**9
