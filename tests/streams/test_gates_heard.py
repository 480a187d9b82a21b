"""How many gates hold to a verdict: each that reports is waited for, each that is silent is named."""

from __future__ import annotations

import asyncio

from schemas.gate_report import GateReport
from streams.gates_heard import PATIENCE_S, GatesHeard, Reached

NOW_MS = 1_795_428_000_000


class World:
    """Clocks by hand; real waiting is only for what is sure to come."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.gates = GatesHeard(now_ms=lambda: NOW_MS, tick_s=lambda: self.at_s)
        self.gates.caught_up()

    def report(self, replica: str, offset: int = 0, *, age_ms: int = 0, leaving: bool = False) -> None:
        report = GateReport(
            replica=replica, at_ms=NOW_MS - age_ms, started_ms=NOW_MS, every_s=1, verdicts={0: offset}, leaving=leaving
        )  # fmt: skip
        assert self.gates.take(None, report.to_bytes())


async def test_without_gates_there_is_nothing_to_say() -> None:
    assert await World().gates.hold({0: 7}) is None


async def test_a_verdict_that_all_have_is_held_by_all_at_once() -> None:
    world = World()
    for replica in ("a", "b", "c"):
        world.report(replica, 7)

    assert await world.gates.hold({0: 7}) == Reached(3, 3, (), 0.0)


async def test_it_waits_for_each_that_reports() -> None:
    world = World()
    for replica in ("a", "b"):
        world.report(replica, 6)

    waiting = asyncio.create_task(world.gates.hold({0: 7}))
    for replica in ("a", "b"):
        await asyncio.sleep(0)
        assert not waiting.done()
        world.at_s += 0.2
        world.report(replica, 7)

    assert await waiting == Reached(2, 2, (), 0.4)


async def test_one_that_is_silent_is_named_and_not_waited_for() -> None:
    world = World()
    world.report("a", 6)
    world.at_s = 60
    world.report("b", 7)

    reached = await world.gates.hold({0: 7})

    assert reached == Reached(1, 2, ("a",), 0.0)
    assert reached.words("refused").endswith("not known of a, which does not report")


async def test_one_that_does_not_take_it_is_waited_for_no_longer_than_is_bearable() -> None:
    world = World()
    world.report("a", 6)

    waiting = asyncio.create_task(world.gates.hold({0: 7}))
    await asyncio.sleep(0)
    world.at_s = PATIENCE_S
    world.report("a", 6)

    assert await waiting == Reached(0, 1, ("a",), PATIENCE_S)


async def test_one_that_leaves_or_was_gone_long_ago_does_not_count() -> None:
    world = World()
    world.report("gone", 0)
    world.at_s = 3600
    world.report("left", 0)
    world.report("a", 7)
    waiting = asyncio.create_task(world.gates.hold({0: 7}))
    await asyncio.sleep(0)
    world.report("left", 0, leaving=True)

    assert await waiting == Reached(1, 1, (), 0.0)


async def test_what_lay_in_the_topic_before_is_as_old_as_it_says() -> None:
    world = World()
    world.gates = GatesHeard(now_ms=lambda: NOW_MS, tick_s=lambda: world.at_s)

    world.report("long ago", 0, age_ms=3_600_000)
    world.report("silent", 0, age_ms=60_000)
    world.report("a", 0, age_ms=500)

    assert world.gates.members() == {"silent": False, "a": True}


def test_nonsense_counts_for_nothing() -> None:
    world = World()

    assert not world.gates.take(b"a", b"nonsense")
    assert not world.gates.take(b"a", None)
    assert world.gates.members() == {}
