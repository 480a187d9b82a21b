"""With and without the broker."""

from __future__ import annotations

from gate.reach import BrokerReach
from schemas.config.wiring import GateConfig
from schemas.gate_report import GateReport
from schemas.records import KeyFacts

PROD, DEV = (KeyFacts(provider="openai", env=env) for env in ("prod", "dev"))


class World:
    """A gate's reach, and a clock by hand."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        settings = GateConfig(stale_after_s=30, local_ceiling_usd_per_min=2)
        self.reach = BrokerReach("a", 7, settings=lambda: settings, tick_ms=lambda: self.now_ms)

    def report(self, *, replica: str = "a", at_ms: int = 1, started_ms: int = 7, leaving: bool = False) -> GateReport:
        return GateReport(
            replica=replica, at_ms=at_ms, started_ms=started_ms, every_s=1, verdicts={}, leaving=leaving
        )  # fmt: skip

    def heard_at(self, now_ms: float, *, at_ms: int = 1) -> None:
        self.now_ms = now_ms
        self.reach.sent(self.report(at_ms=at_ms))
        self.reach.heard(self.report(at_ms=at_ms))


def test_the_broker_is_reached_while_its_own_reports_come_back() -> None:
    world = World()
    assert world.reach.away, "nothing was heard since the start"
    world.heard_at(1000)
    world.now_ms = 31_000
    assert not world.reach.away
    world.now_ms = 31_001
    assert world.reach.away


def test_news_is_as_old_as_the_sending_of_the_report_that_came_back() -> None:
    world = World()
    world.reach.sent(world.report())
    world.now_ms = 40_000
    world.reach.heard(world.report())
    assert world.reach.age_s() == 40
    world.reach.heard(world.report(started_ms=6, at_ms=2))  # of the start before
    assert world.reach.age_s() == 40


def test_two_gates_of_one_name_are_noticed_and_a_start_before_is_none() -> None:
    before, after = World(), World()
    before.reach.heard(before.report(started_ms=1, at_ms=6))
    before.reach.heard(before.report(started_ms=1, at_ms=20_000, leaving=True))
    before.reach.heard(before.report(replica="b", started_ms=1, at_ms=20_000))
    after.reach.heard(after.report(started_ms=1, at_ms=20_000))

    assert (before.reach.twin, after.reach.twin) == (False, True)


def test_each_environment_fails_as_it_said() -> None:
    world = World()
    world.heard_at(0)
    assert [world.reach.judge(facts).state for facts in (PROD, DEV)] == ["allow", "allow"]
    assert (world.reach.waives(PROD), world.reach.ceilings(PROD)) == (False, ())
    world.now_ms = 45_000
    assert world.reach.judge(PROD).state == "allow"
    assert world.reach.waives(PROD)
    [ceiling] = world.reach.ceilings(PROD)
    assert (ceiling.unit, ceiling.window_s, ceiling.limit) == ("nano_usd", 60, 2e9)
    refused = world.reach.judge(DEV)
    assert (refused.state, refused.rule) == ("deny", "gate.fail: dev")
    assert refused.reason == "Keyfuse's gate has had no news for 45 s, and dev fails closed then: try again later"


def test_other_gates_count_until_they_leave_or_are_silent() -> None:
    world = World()
    world.heard_at(0)
    for replica in "bc":
        world.reach.heard(world.report(replica=replica))
    assert world.reach.gates() == 3
    world.reach.heard(world.report(replica="b", leaving=True))
    assert world.reach.gates() == 2
    world.heard_at(5_001, at_ms=2)
    assert world.reach.gates() == 1


def test_without_news_nobody_counts_as_gone() -> None:
    world = World()
    world.heard_at(0)
    world.reach.heard(world.report(replica="b"))
    world.now_ms = 100_000
    assert world.reach.gates() == 2
