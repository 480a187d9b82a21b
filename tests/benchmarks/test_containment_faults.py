"""Orders to contain under injected faults: each ends as promised. KEYFUSE_FAULT_ORDERS=10000 plays as many."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from benchmarks.containment_faults.__main__ import PER_HISTORY
from benchmarks.containment_faults.figures import Figures, told_of
from benchmarks.containment_faults.history import History, play
from benchmarks.containment_faults.provider import Change, State
from benchmarks.containment_faults.verdicts import end_of, wrong_in
from benchmarks.containment_faults.virtual import Stuck, VirtualLoop
from schemas.records import Outcome, StepState

ORDERS = int(os.environ.get("KEYFUSE_FAULT_ORDERS", "1000"))


@pytest.fixture(scope="module")
def one() -> History:
    """A history with everything in it."""
    return play(4)


@pytest.mark.parametrize("seed", range(ORDERS // PER_HISTORY))
def test_every_order_ends_as_promised(seed: int) -> None:
    found = wrong_in(play(seed))
    assert not found, f"{found}; see `python -m benchmarks.containment_faults --seed {seed}`"


def test_the_same_seed_tells_the_same_history(one: History) -> None:
    again = play(4)
    assert list(told_of(again)) == list(told_of(one))
    assert again.provider.changes == one.provider.changes
    assert (again.lives, again.rereads) == (one.lives, one.rereads) != (1, 0)


def test_the_weather_is_hard_enough_to_matter() -> None:
    figures = Figures()
    for seed in range(6):
        figures.add(play(seed))
    assert figures.orders == 600
    assert {"confirmed", "irrevocable", "refused"} == figures.ends.keys()
    assert figures.effects.keys() == {0, 1}
    assert min(figures.deaths, figures.rereads, figures.forged, figures.happened) > 5
    assert {
        "late effect",
        "lie",
        "stale read",
        "429 before the effect",
        "no answer after the effect",
    } <= figures.faults.keys()
    assert figures.table().count("\n") > 20


def confirmed_cut(history: History) -> str:
    return next(
        change.order for change in history.provider.changes
        if history.placed[change.order].command.automatic and end_of(history, change.order).state is StepState.CONFIRMED  # type: ignore[union-attr]  # it has ended
    )  # fmt: skip


def test_what_is_wrong_is_seen(one: History) -> None:
    """Each promise broken by hand, in a history that keeps them."""
    order = confirmed_cut(one)
    told, changes = one.told[order], one.provider.changes
    [change] = [each for each in changes if each.order == order]
    end = told[-1][1]

    def with_end(outcome: Outcome | None) -> list[str]:
        one.told[order] = [(0.0, outcome)] if outcome else []
        found = wrong_in(one)
        one.told[order] = told
        return found

    def with_changes(*more: Change) -> list[str]:
        changes.extend(more)
        found = wrong_in(one)
        del changes[len(changes) - len(more) :]
        return found

    assert wrong_in(one) == []
    assert "nobody was told" in with_end(None)[0]
    assert "ended dry_run" in with_end(end.model_copy(update={"state": StepState.DRY_RUN}))[0]
    refused = end.model_copy(update={"state": StepState.REFUSED})
    assert "refused by no rule" in with_end(refused)[0]
    assert "was refused by freeze, and changed" in with_end(refused.model_copy(update={"rule": "freeze"}))[0]
    assert (
        "changed the level of its key 2 times"
        in with_changes(change._replace(before=State(), after=State("disable")))[0]
    )
    crowd = [
        change._replace(ref=f"key-{n:02d}", before=State("disable"), after=State("revoke"), at_s=change.at_s + n)
        for n in range(30)
    ]
    assert any("keys were changed within 10 min" in words for words in with_changes(*crowd))


def test_hours_pass_in_no_time_and_a_standstill_is_noticed() -> None:
    async def wait() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    async def stand_still() -> None:
        await asyncio.Event().wait()

    began_s = time.monotonic()
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(wait()) == pytest.approx(86_400)
    assert time.monotonic() - began_s < 60
    loop = VirtualLoop()
    with pytest.raises(Stuck):
        loop.run_until_complete(stand_still())
    loop.close()
