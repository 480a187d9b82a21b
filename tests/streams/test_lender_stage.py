"""The lender's stage: one after another, each goes on with what the topic holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from controls.budgets import Budgets
from schemas.config.budgets import BudgetConfig, BudgetsConfig
from schemas.lease import Lease, LeaseAsk, LeaseLine, LenderRecord, LenderTerm
from schemas.spend import BudgetStatus
from streams.acks import Arrived
from streams.health import StageProgress
from streams.lender_stage import LenderStage, Terms
from streams.metrics import Metrics

POT = "search/usd"
CONFIG = BudgetsConfig(budgets=(BudgetConfig(name="search", usd=100, period="day", hard_stop=True, teams=("search",)),))
NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
HOUR_MS = 3_600_000


class FakeLog:
    """A compacted topic; `also` is written by somebody else just before a term."""

    def __init__(self) -> None:
        self.newest: dict[str, LenderRecord] = {}
        self.also: list[LenderRecord] = []

    async def read(self) -> list[tuple[str, LenderRecord]]:
        return list(self.newest.items())

    async def write(self, out: Sequence[tuple[str, LenderRecord | None]]) -> None:
        if self.also and isinstance(out[0][1], LenderTerm):
            faster = self.also.pop()
            self.newest[faster.name] = faster
        for key, record in out:
            self.newest.pop(key, None)
            if record is not None:
                self.newest[key] = record

    def leases(self) -> list[Lease]:
        return [record for record in self.newest.values() if isinstance(record, Lease) and record.pot == POT]


def status(spent_usd: float, *, day: int = 23) -> BudgetStatus:
    return BudgetStatus(
        budget="search", scope="team=search", at_ms=NOON_MS, period=f"2026-11-{day}", period_from_ms=0,
        period_until_ms=0, level="ok", spent_nano_usd=round(spent_usd * 1e9), spent_tokens=0,
        limit_nano_usd=10**11, limit_tokens=None,
    )  # fmt: skip


NAMES = count()


def stage_on(log: FakeLog) -> LenderStage:
    stage = LenderStage(
        budgets=lambda: Budgets(CONFIG), terms=lambda: Terms(30_000, 600_000, 900_000), topic=log,
        new_name=lambda: f"lender{next(NAMES)}", metrics=Metrics(), progress=StageProgress("lender", 0.0),
    )  # fmt: skip
    stage.stands(status(40))
    return stage


async def tell(stage: LenderStage, seq: int, *, replica: str = "a", mono_ms: int = 0) -> list[bool]:
    acked: list[bool] = []
    line = LeaseLine(pot=POT, period="", want=10**12)
    ask = LeaseAsk(replica=replica, boot="1", seq=seq, lines=(line,))
    arrived = Arrived("asks", 0, seq, ask.to_bytes(), lambda: acked.append(True))
    await stage.on_ask(arrived, wall_ms=NOON_MS + mono_ms, mono_ms=mono_ms)
    return acked


async def test_an_ask_is_answered_before_it_is_acknowledged() -> None:
    log = FakeLog()
    assert await tell(stage_on(log), 1) == [True]
    (lease,) = log.leases()
    assert (lease.cap, lease.left) == (30 * 10**9, 30 * 10**9), "half of what is left of 100 after 40 were spent"


async def test_the_next_lender_keeps_what_the_one_before_lent() -> None:
    log = FakeLog()
    await tell(stage_on(log), 1)
    await tell(stage_on(log), 1, replica="b")
    (old, new) = sorted(log.leases(), key=lambda each: each.replica)
    assert (old.epoch, new.epoch) == (2, 2), "all of it stands under the new lender's epoch"
    assert old.claim + new.claim <= 60 * 10**9


async def test_a_lender_whose_term_came_second_takes_another_epoch() -> None:
    log = FakeLog()
    log.also = [LenderTerm(lender="faster", epoch=1, state="begins")]
    await tell(stage_on(log), 1)
    assert {lease.epoch for lease in log.leases()} == {2}


async def test_after_a_rebalance_it_reads_again() -> None:
    log = FakeLog()
    stage = stage_on(log)
    await tell(stage, 1)
    stage.drop()
    await tell(stage, 2)
    assert {lease.epoch for lease in log.leases()} == {2}


async def test_a_wall_clock_that_jumps_begins_no_new_period() -> None:
    log = FakeLog()
    stage = stage_on(log)
    await tell(stage, 1)
    stage.stands(status(0, day=24))  # the desk's clock jumped too
    await stage.tick(wall_ms=NOON_MS + 20 * HOUR_MS, mono_ms=1000)
    await tell(stage, 2, mono_ms=2000)
    assert {lease.period for lease in log.leases()} == {"2026-11-23"}


async def test_the_next_day_begins_when_it_is_time() -> None:
    log = FakeLog()
    stage = stage_on(log)
    await tell(stage, 1)
    stage.stands(status(0, day=24))
    for hour in range(14):
        await stage.tick(wall_ms=NOON_MS + hour * HOUR_MS, mono_ms=hour * HOUR_MS)
    await tell(stage, 2, mono_ms=14 * HOUR_MS)
    assert "2026-11-24" in {lease.period for lease in log.leases()}


async def test_what_is_no_ask_is_left() -> None:
    acked: list[bool] = []
    arrived = Arrived("asks", 0, 0, b"{", lambda: acked.append(True))
    await stage_on(FakeLog()).on_ask(arrived, wall_ms=NOON_MS, mono_ms=0)
    assert acked == [True]
