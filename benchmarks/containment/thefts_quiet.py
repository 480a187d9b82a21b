"""Thefts that hide in what the owner does: his volume, his hours, his manner."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.containment import thieves
from benchmarks.containment.columns import DAY_MS, HOUR_MS, START_MS, Ints, Uses
from benchmarks.containment.theft_case import Case, Theft
from benchmarks.containment.traffic import END_MS, GROWN_WINDOWS, TEST_MS
from sources.simulator.fitted import WINDOW_S
from sources.simulator.prices import MAX_INPUT_TOKENS, PROVIDERS


def low_and_slow(growth: float, case: Case) -> Theft | None:
    """So much more each day than the day before, in the owner's hours and manner; half of the thieves sit elsewhere.

    A sample of the owner's own requests, each some minutes off: on day d the whole is (1 + growth)^d of the owner's.
    """
    world, rng = case.world, case.rng
    own = world.of_key(case.key).between(TEST_MS, END_MS)
    if len(np.unique(own.ts_ms // (WINDOW_S * 1000))) < GROWN_WINDOWS:
        return None
    share = (1 + growth) ** ((own.ts_ms - TEST_MS) / DAY_MS) - 1
    copies = rng.poisson(share)
    rows = own.where(np.repeat(np.arange(own.rows), copies))
    rows = rows.with_columns(ts_ms=rows.ts_ms + rng.integers(-600_000, 600_000, rows.rows)).in_order()
    rows = rows.between(TEST_MS, END_MS)
    if rng.random() < 0.5:
        rows = thieves.host(world, world.profiles[case.key], rng).put(rows, rng)
    return Theft(case.keys, TEST_MS, rows, (rows.usd,)) if rows.rows else None


def _taken_over(case: Case, change: Callable[[Uses], Uses]) -> Theft | None:
    """The owner's requests of the next day, changed; the loss is what they cost more than before."""
    own = case.world.of_key(case.key).between(case.start_ms, case.start_ms + DAY_MS)
    if own.rows < 5:
        return None
    rows = case.world.ledger.priced(change(own))
    return Theft(case.keys, int(rows.ts_ms[0]), rows, (max(0.0, rows.usd - own.usd),), True, own.cost_nano_usd)


def _swapped(case: Case, rows: Uses) -> Uses:
    known = PROVIDERS[case.world.profiles[case.key].owner.provider]
    return rows.with_columns(model=case.world.ledger.texts.code(known.dearest), cached_tokens=0)


def _elsewhere(case: Case, rows: Uses) -> Uses:
    return thieves.host(case.world, case.world.profiles[case.key], case.rng).put(rows, case.rng)


def model_swap(foreign: bool, case: Case) -> Theft | None:
    """As many requests and tokens as ever, but all with the dearest model."""
    return _taken_over(case, lambda rows: _elsewhere(case, _swapped(case, rows)) if foreign else _swapped(case, rows))


def context_stuffing(times: float, case: Case) -> Theft | None:
    """As many requests as ever from the owner's hosts, with `times` the input."""
    usual = float(np.exp(case.world.profiles[case.key].log_input[4]))
    if usual * times > MAX_INPUT_TOKENS:
        return None

    def stuffed(rows: Uses) -> Uses:
        longer = np.minimum(rows.input_tokens * times, MAX_INPUT_TOKENS).astype(np.int64)
        return rows.with_columns(input_tokens=longer, cached_tokens=0)

    return _taken_over(case, stuffed)


def replacement(case: Case) -> Theft | None:
    """The owner falls silent and a thief sends the same: volume, models and hours as ever, another host.

    The owner's day is no saving: he still pays, for somebody else.
    """
    theft = _taken_over(case, lambda rows: _elsewhere(case, rows))
    return None if theft is None else Theft(theft.keys, theft.start_ms, theft.rows, (theft.rows.usd,), True)


def off_hours(foreign: bool, case: Case) -> Theft | None:
    """The key's own busy level (95th percentile of its windows) for two hours, in the hours when it rests most."""
    rhythm = case.world.rhythms[case.key]
    seen = rhythm.windows_before(case.start_ms)
    if seen < GROWN_WINDOWS:
        return None
    start_ms = _next_rest(rhythm.active_ms[:seen], case.start_ms)
    ts_ms, requests = thieves.arrivals(start_ms, float(np.quantile(rhythm.active_rps[:seen], 0.95)), case.rng)
    rows = thieves.in_owners_manner(case.world, case.key, ts_ms, requests, case.rng)
    rows = _elsewhere(case, rows) if foreign else rows
    # It goes on each night only: two hours are the day's loss.
    return Theft(case.keys, int(rows.ts_ms[0]), rows, (rows.usd,)) if rows.rows else None


def _next_rest(active_ms: Ints, start_ms: int) -> int:
    """Start of the next two hours of the day in which the key has been used least."""
    hours = np.bincount((active_ms - START_MS) // HOUR_MS % 24, minlength=24)
    quietest = int(np.argmin(hours + np.roll(hours, -1)))
    day_ms = START_MS + (start_ms - START_MS) // DAY_MS * DAY_MS
    at_ms = day_ms + quietest * HOUR_MS
    return at_ms if at_ms >= start_ms else at_ms + DAY_MS
