"""What cheaper models save: counted once for each call, by the price table, and told as sums that only grow."""

from __future__ import annotations

from gate.decide import Answer, Settled, Used
from gate.savings import Savings
from schemas.call import Call
from schemas.records import KeyFacts
from schemas.spend import DegradeSum

HOUR_MS = 3_600_000
PRICES = {"dear": (2000.0, 8000.0), "cheap": (400.0, 1600.0)}


class Inner:
    """Answers what it is told to, and settles each reservation once."""

    def __init__(self) -> None:
        self.answer, self.calls, self.open = Answer("allow", "k"), 0, set[str]()

    def authorize(self, call: Call, tick_ms: float) -> Answer:
        self.calls += 1
        reservation = f"r{self.calls}"
        self.open.add(reservation)
        return self.answer._replace(reservation=reservation)

    def settle(self, reservation: str, used: Used, at_ms: int) -> Settled:
        if reservation in self.open:
            self.open.discard(reservation)
            return Settled("settled")
        return Settled("already")


class World:
    """One gate."""

    def __init__(self) -> None:
        self.inner = Inner()
        self.savings = Savings(self.inner, self, lambda _, model, __: PRICES.get(model), gate="g1")

    def facts(self, key_id: str) -> KeyFacts:
        return KeyFacts(provider="openai", team="search", app="web", env="prod")

    def call(self, answer: Answer, *, hour: int = 10, model: str = "dear", requests: int = 1) -> str:
        self.inner.answer = answer
        call = Call("k", hour * HOUR_MS, model=model, requests=requests)
        return self.savings.authorize(call, 0).reservation

    def grown(self, hour: int = 10) -> list[DegradeSum]:
        return self.savings.take_grown(hour * HOUR_MS)


MOVED = Answer("degrade", "k", "tight", "budget search in production", None, "cheap")


def test_a_moved_call_saves_the_difference_of_the_prices_for_its_tokens() -> None:
    world = World()
    reservation = world.call(MOVED)
    for _ in range(2):  # said twice it counts once
        world.savings.settle(reservation, Used(1000, 100, cost_nano_usd=5), 10 * HOUR_MS)
    [one] = world.grown()
    assert (one.budget, one.team, one.app, one.model, one.instead) == (
        "search in production", "search", "web", "dear", "cheap",
    )  # fmt: skip
    assert (one.calls, one.settled, one.spent_nano_usd, one.saved_nano_usd) == (1, 1, 560_000, 2_240_000)


def test_other_answers_and_other_reasons_are_not_counted() -> None:
    world = World()
    for answer in (Answer("allow", "k"), Answer("deny", "k"), MOVED._replace(rule="verdict of incident inc_1")):
        world.savings.settle(world.call(answer), Used(1000, 100), 10 * HOUR_MS)
    assert world.grown() == []


def test_a_call_that_nobody_settles_or_without_a_price_was_moved_and_saved_nothing() -> None:
    world = World()
    world.call(MOVED, requests=3)
    world.savings.settle(world.call(MOVED, model="unheard of"), Used(1000, 100), 10 * HOUR_MS)
    assert [(one.model, one.calls, one.settled, one.saved_nano_usd) for one in world.grown()] == [
        ("dear", 3, 0, 0), ("unheard of", 1, 0, 0),
    ]  # fmt: skip


def test_sums_only_grow_and_what_could_not_be_told_comes_again() -> None:
    world = World()
    world.call(MOVED)
    first = world.grown()
    assert world.grown() == []
    world.savings.give_back(first)
    world.call(MOVED)
    assert [one.calls for one in world.grown()] == [2]
    world.call(MOVED, hour=13)
    assert [(one.hour, one.calls) for one in world.grown(hour=13)] == [(13, 1)]
    assert len({one.name for one in (*first, *world.grown())}) == 1
