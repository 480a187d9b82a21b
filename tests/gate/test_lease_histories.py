"""Gates that borrow: whatever gets lost, late or doubled, their sum never passes the ceiling, and it can be used up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.leases.faults import crash, stall
from benchmarks.leases.run import PLANS, Sum, one
from benchmarks.leases.world import Fault, Plan, World
from controls.lease_line import Line
from controls.leases import Lender
from gate.lease import Borrower
from schemas.lease import Lease, LenderTerm

SHORT = {name: replace(plan, trouble_ms=30_000, calm_ms=30_000) for name, plan in PLANS.items()}
BORROWED = SHORT["money, three gates"]


@pytest.mark.parametrize("plan", SHORT.values(), ids=SHORT)
def test_the_sum_never_passes_the_ceiling(plan: Plan) -> None:
    """252 histories; `make leases` plays 10,000 longer ones."""
    played = sum((one(plan, seed) for seed in range(28)), Sum())
    assert played.passed == ()
    assert played.faults > 150
    assert played.calls > 150


@pytest.mark.parametrize("seed", [145, 275, 512, 564, 791])
def test_a_gate_that_starts_when_nothing_is_left_begins_nothing_unasked(seed: int) -> None:
    """In these the ceiling was passed, by up to what one gate may begin with."""
    assert one(PLANS["tokens, begun unasked"], seed).passed == ()


@pytest.mark.parametrize("name", ["money, three gates", "money, every stop a new start", "requests, 60 in all"])
def test_the_budget_can_be_used_up_when_the_trouble_is_over(name: str) -> None:
    """What dead gates held has come back: while calls are refused, less is left than one call may take."""
    played = sum((one(PLANS[name], seed) for seed in range(8)), Sum())
    assert played.unused <= PLANS[name].largest


def test_without_faults_nothing_is_refused_while_there_is_plenty() -> None:
    world = World(replace(BORROWED, limit=10_000_000), 1, fault=None)
    truth = world.run()
    assert truth.calls > 1000
    assert truth.refused_last_ms < 500, "but for the first calls of each gate, before any lease"


def test_a_history_is_the_same_each_time() -> None:
    assert one(BORROWED, 7) == one(BORROWED, 7)


def crash_or_stall(world: World) -> None:
    world.random.choice((crash, crash, stall))(world)


def second_lender(world: World) -> None:
    """The one before never notices that it was replaced."""
    if not world.bank.down:
        world.bank.take_over(zombie=True)


def found(plan: Plan, fault: Fault) -> int:
    """Of 20 histories with this fault alone, those that pass the ceiling."""
    return sum(bool(one(plan, seed, fault).passed) for seed in range(20))


LATE = replace(BORROWED, calm_ms=5_000, seen_within_ms=15_000, wakes=False)
"""Usage comes late, and a gate that stops has forgotten all: so what a lender believes without knowing it shows."""


def test_the_histories_find_a_lender_that_takes_silence_for_nothing_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that ended is given to others though nobody knows yet what was used of it."""

    def over(line: Line, _: int, now_ms: int, **__: int) -> bool:
        return not any(now_ms < grant.until_ms for grant in line.grants)

    assert found(LATE, crash_or_stall) == 0
    monkeypatch.setattr(Line, "over", over)
    assert found(LATE, crash_or_stall) > 5


def test_the_histories_find_gates_that_heed_a_replaced_lender(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lends to some gates, the new one to others, and neither knows what the other lent."""
    kept = Borrower.heard

    def heard(gate: Borrower, record: Lease | LenderTerm) -> bool:
        if isinstance(record, Lease):
            record = record.model_copy(update={"lender": gate.lender, "epoch": gate.epoch})
        return kept(gate, record)

    counted = replace(LATE, settles=False)
    assert found(counted, second_lender) == 0
    monkeypatch.setattr(Borrower, "heard", heard)
    assert found(counted, second_lender) > 10


def test_the_histories_find_a_lender_that_forgets_at_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Lender.restore
    monkeypatch.setattr(Lender, "restore", lambda self, _, now_ms: kept(self, [], now_ms))
    assert any(one(BORROWED, seed).passed for seed in range(20))


def test_the_histories_find_one_that_goes_by_what_was_seen_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check, then count: what every gateway gets wrong whose calls are under way at once."""
    monkeypatch.setattr(Line, "unseen", property(lambda _: 0))
    assert any(one(BORROWED, seed).passed for seed in range(20))


def test_the_histories_find_one_that_lets_gates_begin_unasked_with_what_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unasked = replace(PLANS["tokens, begun unasked"], start=3000, calm_ms=5_000, wakes=False)
    assert found(unasked, crash) == 0
    monkeypatch.setattr(Lender, "_may_join", lambda *_: True)
    assert found(unasked, crash) > 10
