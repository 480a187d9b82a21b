"""Each theft is what it says: so much, from there, with that, and from its start on."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.containment import thieves
from benchmarks.containment.columns import DAY_MS, HOUR_MS, Uses
from benchmarks.containment.theft_case import SHORT_MS, Case, Cell, Theft
from benchmarks.containment.thefts import CELLS
from benchmarks.containment.traffic import END_MS, GROWN_WINDOWS, TEST_MS, World, make_world

START = TEST_MS + DAY_MS + 7000
BY_NAME = {cell.name: cell for cell in CELLS}


@cache
def world() -> World:
    return make_world(seed=3, keys=12, requests_scale=0.2)


def busiest(count: int = 1) -> tuple[int, ...]:
    """Keys that are used all week."""
    return tuple(np.argsort([-len(rhythm.active_ms) for rhythm in world().rhythms])[:count].tolist())


def case(*keys: int, start_ms: int = START, seed: int = 1) -> Case:
    return Case(world(), keys or busiest(), start_ms, np.random.default_rng(seed))


def built(name: str, *, seed: int = 1) -> Theft:
    cell = BY_NAME[name]
    if cell.family == "dormant_wakes":
        theft = cell.build(sleeping(seed))
    elif cell.family == "context_stuffing":
        theft = cell.build(case(shortest(), seed=seed))
    else:
        theft = cell.build(case(*busiest(cell.keys), seed=seed))
    assert theft is not None, name
    return theft


def sleeping(seed: int) -> Case:
    """A moment at which some key has been silent for more than two days."""
    for key, rhythm in enumerate(world().rhythms):
        ends = np.append(rhythm.active_ms, END_MS)
        long = np.flatnonzero((np.diff(ends) > 2 * DAY_MS + 2 * HOUR_MS) & (ends[:-1] > TEST_MS - 2 * DAY_MS))
        if len(long):
            return case(key, start_ms=int(ends[long[0]]) + 2 * DAY_MS + HOUR_MS, seed=seed)
    raise AssertionError("no key sleeps")


def shortest() -> int:
    """The key in daily use whose prompts are the shortest."""
    used = [key for key in range(12) if world().of_key(key).between(START, START + DAY_MS).rows >= 20]
    return min(used, key=lambda key: float(world().profiles[key].log_input[4]))


def foreign(theft: Theft) -> bool:
    """Whether any row comes from an address that the owners never use."""
    return any(str(world().ledger.texts.text(ip)).startswith("100.") for ip in np.unique(theft.rows.ip).tolist())


def usd_per_min(rows: Uses, from_ms: int, minutes: int) -> float:
    return rows.between(from_ms, from_ms + minutes * 60_000).usd / minutes


@pytest.mark.parametrize("name", [name for name in BY_NAME if not name.startswith("context_stuffing x50")])
def test_every_theft_is_in_order_on_its_keys_and_in_its_time(name: str) -> None:
    cell, theft = BY_NAME[name], built(name)
    assert (np.diff(theft.rows.ts_ms) >= 0).all()
    assert set(theft.rows.key.tolist()) <= set(theft.keys)
    assert theft.rows.requests.min() >= 1
    assert int(theft.rows.ts_ms[0]) >= theft.start_ms
    assert int(theft.rows.ts_ms[-1]) < theft.start_ms + cell.span_ms + HOUR_MS
    assert len(theft.planned_usd) == len(theft.keys)
    assert 0 < sum(theft.planned_usd) < float("inf")


@pytest.mark.parametrize("name", ["burst x10", "reseller x3", "agent_loop x30", "replacement same volume"])
def test_the_same_dice_give_the_same_theft(name: str) -> None:
    one, same, other = built(name), built(name), built(name, seed=2)
    assert all((a == b).all() for a, b in zip(one.rows, same.rows, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(one.rows, other.rows, strict=True))


@pytest.mark.parametrize(
    ("name", "away"),
    [
        ("burst x10", True), ("published 32 USD/min", True), ("runaway x10", False), ("agent_loop x10", False),
        ("model_swap owner's hosts", False), ("model_swap thief's hosts", True), ("off_hours owner's hosts", False),
        ("off_hours thief's hosts", True), ("replacement same volume", True), ("dormant_wakes x10", True),
        ("many_keys +50% each", True), ("context_stuffing x10", False),
    ],
)  # fmt: skip
def test_a_theft_comes_from_elsewhere_or_from_home_as_it_says(name: str, away: bool) -> None:
    assert foreign(built(name)) is away


@pytest.mark.parametrize(("name", "times"), [("burst x3", 3), ("burst x30", 30), ("runaway x10", 10)])
def test_a_multiple_is_of_the_keys_mean_pace(name: str, times: int) -> None:
    requests = int(built(name).rows.requests.sum())
    wanted = times * case().mean_rps * SHORT_MS / 1000
    assert requests == pytest.approx(wanted, abs=5 * wanted**0.5)


@pytest.mark.parametrize(
    ("name", "usd"), [("published 28.6 USD/min", 28.6), ("published 333 USD/min", 333), ("reseller 32 USD/min", 32)]
)
def test_money_a_minute_is_what_is_said(name: str, usd: float) -> None:
    theft = built(name)
    assert usd_per_min(theft.rows, START, 100) == pytest.approx(usd, rel=0.12)
    assert theft.planned_usd[0] == pytest.approx(usd * 1440, rel=0.12)


def test_a_probe_fails_first_and_then_ramps_up() -> None:
    rows = built("probe_then_abuse 32 USD/min").rows
    probes = rows.between(START, START + 180_000)
    assert set(probes.status.tolist()) <= {200, 400, 401, 403, 404}
    assert (probes.status >= 400).mean() > 0.4
    assert probes.usd == 0
    assert usd_per_min(rows, START + 180_000, 2) < 5 < 25 < usd_per_min(rows, START + 21 * 60_000, 60)


def test_a_reseller_has_hundreds_of_addresses_and_dozens_of_programs() -> None:
    rows = built("reseller 32 USD/min").rows
    assert len(np.unique(rows.ip)) > 100
    assert len(np.unique(rows.agent)) > 20


def test_a_swap_keeps_the_tokens_and_a_stuffing_the_requests() -> None:
    own = world().of_key(busiest()[0])
    swap = built("model_swap owner's hosts")
    day = own.between(START, START + DAY_MS)
    assert swap.replaces
    assert (swap.rows.input_tokens == day.input_tokens).all()
    assert swap.lost_usd(END_MS) == pytest.approx(swap.rows.usd - day.usd)
    stuffed = built("context_stuffing x10")
    day = world().of_key(shortest()).between(START, START + DAY_MS)
    assert stuffed.rows.rows == day.rows
    assert (stuffed.rows.input_tokens >= day.input_tokens).all()


def test_replaced_use_is_lost_in_full() -> None:
    theft = built("replacement same volume")
    day = world().of_key(busiest()[0]).between(START, START + DAY_MS)
    assert theft.rows.ts_ms.tolist() == day.ts_ms.tolist()
    assert theft.lost_usd(END_MS) == pytest.approx(day.usd)


def test_low_and_slow_grows_day_by_day() -> None:
    rows = built("low_and_slow +20% a day").rows
    days = np.bincount((rows.ts_ms - TEST_MS) // DAY_MS, minlength=7)
    assert days[:2].sum() < days[5:].sum()
    own = world().of_key(busiest()[0]).between(TEST_MS, END_MS).rows
    assert 0.3 * own < rows.rows < 1.5 * own


def test_an_agent_loop_repeats_one_call() -> None:
    rows = built("agent_loop x10").rows
    each = np.stack([rows.input_tokens, rows.output_tokens]) / rows.requests
    assert len(np.unique(each, axis=1).T) == 1
    gaps = np.diff(rows.between(START, START + 600_000).ts_ms)
    assert gaps.std() < 0.2 * gaps.mean()


def test_a_key_in_use_does_not_wake_and_a_young_one_has_no_off_hours() -> None:
    assert BY_NAME["dormant_wakes x1"].build(case()) is None
    young = [key for key, r in enumerate(world().rhythms) if 0 < r.windows_before(START) < GROWN_WINDOWS]
    assert all(BY_NAME["off_hours owner's hosts"].build(case(key)) is None for key in young)


@pytest.mark.parametrize(("rate", "spread"), [(0.02, 1), (3.0, 1), (3.0, 3), (40.0, 3)])
def test_arrivals_have_their_rate_and_few_rows(rate: float, spread: int) -> None:
    ts_ms, requests = thieves.arrivals(START, rate, np.random.default_rng(5), spread=spread)
    wanted = rate * SHORT_MS / 1000
    assert requests.sum() == pytest.approx(wanted, abs=5 * wanted**0.5)
    assert len(ts_ms) <= (600 + 660) * spread
    assert ts_ms.min() >= START
    assert ts_ms.max() < START + SHORT_MS


def test_names_are_unique_because_results_are_told_apart_by_them() -> None:
    names = [cell.name for cell in CELLS]
    assert len(set(names)) == len(names)
    assert all(isinstance(cell, Cell) for cell in CELLS)


def test_of_many_requests_at_once_as_few_fail_as_of_single_ones() -> None:
    key = busiest()[0]
    many = thieves.in_owners_manner(
        world(), key, np.full(400, START), np.full(400, 500), np.random.default_rng(1)
    )  # fmt: skip
    assert many.requests.sum() == 400 * 500
    failed = many.requests[many.status >= 400].sum() / many.requests.sum()
    assert failed == pytest.approx(world().profiles[key].error_rate, rel=0.2)
    assert many.where(many.status >= 400).usd == 0
