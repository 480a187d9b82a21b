"""Budgets that several gates share, as one of them answers."""

from __future__ import annotations

from gate.lease import Borrower
from gate.leased import LeasedSlices
from gate.ports import Amount, Rate
from gate.windows import Windows
from schemas.call import Ruling
from schemas.config.budgets import BudgetConfig
from schemas.lease import Lease, LenderTerm
from tests.gate.world import NOW_MS, USD, status

SHARED = BudgetConfig(name="search", usd=100, hard_stop=True, owner="ana")


class World:
    """One gate with a lease of so many USD."""

    def __init__(self, usd: float, *, left: float = 0, idle: float = 0) -> None:
        self.now_ms = 0.0
        self.borrower = Borrower("a", "1")
        self.slices = LeasedSlices(
            self.borrower, lambda name: status(name, spent=90, limit=100), tick_ms=lambda: self.now_ms
        )
        self.slices.watch([SHARED])
        ask = self.borrower.ask(0)
        assert ask is not None
        self.borrower.heard(LenderTerm(lender="l", epoch=1, state="begins"))
        lease = Lease(
            lender="l", epoch=1, replica="a", boot="1", pot="search/usd", period="2026-11", seq=1, answers=1,
            cap=round(usd * USD), for_ms=30_000, left=round(left * USD), idle=round(idle * USD),
        )  # fmt: skip
        self.borrower.heard(lease)

    def state(self, usd: float) -> str:
        return self.slices.ask(SHARED, Amount(1, 0, round(usd * USD)), NOW_MS).state

    def lends(self, usd: float, *, limit: float | None, left: float = 0, idle: float = 0) -> None:
        """The gate asks, and is answered."""
        self.now_ms += 10_000
        ask = self.borrower.ask(self.now_ms)
        assert ask is not None
        lease = Lease(
            lender="l", epoch=1, replica="a", boot="1", pot="search/usd", period="2026-11", seq=ask.seq,
            answers=ask.seq, cap=round(usd * USD), for_ms=30_000, left=round(left * USD), idle=round(idle * USD),
            limit=None if limit is None else round(limit * USD),
        )  # fmt: skip
        assert self.borrower.heard(lease)


def test_a_call_passes_within_what_was_lent() -> None:
    world = World(5)
    assert (world.state(5), world.state(5.1)) == ("allow", "deny")
    period = world.slices.take(SHARED, Amount(1, 0, 4 * USD), NOW_MS)
    assert world.state(2) != "allow"
    world.slices.settle("search", period, Amount(1, 0, 4 * USD), Amount(1, 0, USD))
    assert world.state(4) == "allow"


def test_while_other_gates_hold_room_a_call_is_to_come_again_and_then_it_is_over() -> None:
    assert World(1, left=0, idle=6).state(5) == "throttle"
    refusal = World(1, left=2, idle=2).slices.ask(SHARED, Amount(1, 0, 5 * USD), NOW_MS)
    assert (refusal.state, refusal.rule, refusal.retry_after_s) == ("deny", "budget search", 3600)
    assert refusal.reason == "budget search of 2026-11 has $4.00 left of $100.00: ask ana"


def test_a_raised_budget_refuses_nothing_for_good_before_its_lender_has_lent_of_it() -> None:
    world, raised = World(1), SHARED.model_copy(update={"usd": 150.0})

    def ruling(usd: float) -> Ruling:
        return world.slices.ask(raised, Amount(1, 0, round(usd * USD)), NOW_MS)

    world.lends(1, limit=100, left=0, idle=1)
    assert world.state(5) == "deny", "it is used up, and is not raised"
    refusal = ruling(5)
    assert (refusal.state, refusal.rule, refusal.retry_after_s) == ("throttle", "budget search", 1.0)
    assert refusal.reason == "budget search was raised just now, and this gate is asking for its part of it: try again"
    assert ruling(1.1).state == "throttle", "nothing passes but what was lent"
    assert ruling(1).state == "allow"

    world.lends(20, limit=150, left=31, idle=20)
    assert ruling(20).state == "allow"
    assert ruling(52).reason == "budget search of 2026-11 has $51.00 left of $150.00: ask ana"
    assert ruling(52).state == "deny", "there is no more, and it was lent of all there is"


def test_a_budget_that_is_not_raised_any_more_refuses_by_what_was_lent() -> None:
    world = World(1)
    world.lends(1, limit=150, left=0, idle=1)
    assert world.state(5) == "deny"


def test_one_unit_that_is_used_up_refuses_though_the_other_was_raised() -> None:
    world, both = World(1), SHARED.model_copy(update={"usd": 150.0, "tokens": 1000})
    world.slices.watch([both])
    ask = world.borrower.ask(10_000)
    assert ask is not None
    for pot, limit in (("search/usd", 100 * USD), ("search/tokens", 1000)):
        world.borrower.heard(
            Lease(
                lender="l", epoch=1, replica="a", boot="1", pot=pot, period="2026-11", seq=9, answers=ask.seq, cap=0,
                for_ms=30_000, left=0, limit=limit,
            )
        )  # fmt: skip
    assert world.slices.ask(both, Amount(1, 0, USD), NOW_MS).state == "throttle"
    assert world.slices.ask(both, Amount(1, 10, USD), NOW_MS).state == "deny"


def test_without_a_lease_a_call_is_to_come_again() -> None:
    world = World(50)
    world.now_ms = 30_000
    refusal = world.slices.ask(SHARED, Amount(1, 0, USD), NOW_MS)
    assert (refusal.state, refusal.retry_after_s) == ("throttle", 1.0)


def test_a_call_settles_with_what_it_took_of_though_one_pot_hears_of_the_new_period_first() -> None:
    both = SHARED.model_copy(update={"tokens": 1000})
    world = World(5)
    world.slices.watch([both])
    world.borrower.ask(60_000)
    for seq, (pot, period) in enumerate([("search/tokens", "2026-11"), ("search/tokens", "2026-12")], start=1):
        world.borrower.heard(
            Lease(
                lender="l", epoch=1, replica="a", boot="1", pot=pot, period=period, seq=seq, answers=1, cap=500,
                for_ms=30_000, left=0,
            )
        )  # fmt: skip
    reserved = Amount(1, 100, USD)
    period = world.slices.take(both, reserved, NOW_MS)
    world.slices.settle("search", period, reserved, Amount(1, 40, USD // 2))

    purses = world.borrower.purses
    told = {pot: (purse.now.period, purse.now.open, purse.now.settled) for pot, purse in purses.items() if pot != "*"}
    assert told == {"search/usd": ("2026-11", 0, USD // 2), "search/tokens": ("2026-12", 0, 40)}


def test_a_limit_that_was_written_while_a_call_was_under_way_gets_nothing_back_from_it() -> None:
    world = World(5)
    reserved = Amount(1, 100, USD)
    period = world.slices.take(SHARED, reserved, NOW_MS)
    world.slices.watch([SHARED.model_copy(update={"tokens": 1000})])
    world.borrower.purses["search/tokens"].now.period = "2026-11"
    world.slices.settle("search", period, reserved, Amount(1, 40, USD))

    assert world.borrower.purses["search/tokens"].now.used == 0


def test_live_gates_share_every_ceiling_and_one_call_fits_into_any_part() -> None:
    windows, ceilings = Windows(), (Rate("slow", "requests", 60, 6),)

    def passes(key_id: str) -> bool:
        account = windows.account(key_id, ceilings)
        if account.over(Amount(1), 0, 0) is not None:
            return False
        account.add(Amount(1))
        return True

    assert [passes("k1") for _ in range(2)] == [True, True]
    windows.gates = 3
    assert not passes("k1"), "two of six, and each of three gates has two"
    windows.gates = 100
    assert [passes("k2") for _ in range(2)] == [True, False]
    windows.gates = 1
    assert [passes("k1") for _ in range(5)] == [True, True, True, True, False]
