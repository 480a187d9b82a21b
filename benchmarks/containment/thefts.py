"""The thefts and runaways of the benchmark: for a key and a start, the rows that somebody else (or a fault) adds.

`CELLS` is the whole list, one entry per family and size. A builder gives None where the key cannot have this theft.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from benchmarks.containment import thieves
from benchmarks.containment.columns import DAY_MS, Floats, Uses, merged, uses
from benchmarks.containment.theft_case import ACTOR_KEYS, LONG_MS, SHORT_MS, SLOW_MS, Build, Case, Cell, Theft
from benchmarks.containment.thefts_quiet import (
    context_stuffing,
    low_and_slow,
    model_swap,
    off_hours,
    replacement,
)
from sources.simulator.prices import PROVIDERS

__all__ = ["CELLS", "Build", "Case", "Cell", "Theft"]


def _spending(case: Case, rows: Uses, *, start_ms: int | None = None, settled_ms: int = 0) -> Theft | None:
    """A theft at a steady rate: the day's loss follows from what is played, after `settled_ms`."""
    if not rows.rows:
        return None
    start = case.start_ms if start_ms is None else start_ms
    steady = rows.between(start + settled_ms, start + SHORT_MS)
    planned = rows.usd + steady.usd / (SHORT_MS - settled_ms) * (DAY_MS - SHORT_MS)
    return Theft(case.keys, int(rows.ts_ms[0]), rows, (planned,))


def burst(times: float, case: Case) -> Theft | None:
    """`times` the key's mean rate on top, like the key's own use, from the thief's own host."""
    ts_ms, requests = thieves.arrivals(case.start_ms, times * case.mean_rps, case.rng)
    rows = thieves.in_owners_manner(case.world, case.key, ts_ms, requests, case.rng)
    place = thieves.host(case.world, case.world.profiles[case.key], case.rng)
    return _spending(case, place.put(rows, case.rng))


def runaway(times: float, case: Case) -> Theft | None:
    """The same from the owner's hosts: only the pace gives it away."""
    ts_ms, requests = thieves.arrivals(case.start_ms, times * case.mean_rps, case.rng)
    return _spending(case, thieves.in_owners_manner(case.world, case.key, ts_ms, requests, case.rng))


def published(usd_per_min: float, case: Case) -> Theft | None:
    """A theft as victims reported it: so much a minute with the dearest model, from one foreign host."""
    rps = usd_per_min / 60 / thieves.dearest_usd(case.world, case.key)
    ts_ms, requests = thieves.arrivals(case.start_ms, rps, case.rng)
    rows = thieves.with_dearest(case.world, case.key, ts_ms, requests, case.rng)
    place = thieves.host(case.world, case.world.profiles[case.key], case.rng)
    return _spending(case, place.put(rows, case.rng))


def _usd_per_min(case: Case, size: float | str) -> float:
    """A size is a multiple of the key's spend in its active minutes, or USD a minute in words."""
    if isinstance(size, str):
        return float(size)
    return size * case.mean_rps * 60 * _request_usd(case)


def _request_usd(case: Case) -> float:
    ts_ms = np.full(500, case.start_ms)
    rng = np.random.default_rng(case.key)
    return thieves.in_owners_manner(case.world, case.key, ts_ms, np.ones(500, np.int64), rng).usd / 500


def reseller(size: float | str, case: Case) -> Theft | None:
    """Sold on: hundreds of networks and dozens of programs, flat, the dearest model."""
    rps = _usd_per_min(case, size) / 60 / thieves.dearest_usd(case.world, case.key)
    ts_ms, requests = thieves.arrivals(case.start_ms, rps, case.rng)
    rows = thieves.with_dearest(case.world, case.key, ts_ms, requests, case.rng)
    place = thieves.host(case.world, case.world.profiles[case.key], case.rng, networks=400, programs=40)
    return _spending(case, place.put(rows, case.rng))


_PROBE_MS: Final = 180_000
_PROBES: Final = 20
_REFUSALS: Final = (400, 401, 403, 404)


def probe_then_abuse(size: float | str, case: Case) -> Theft | None:
    """Twenty refused calls and model listings in three minutes, then a ramp of 9 to 17 minutes to the full rate."""
    world, rng = case.world, case.rng
    full = _usd_per_min(case, size) / 60 / thieves.dearest_usd(world, case.key)
    if full <= 0:
        return None
    ramp_s = float(rng.uniform(9, 17)) * 60

    def rate(at_s: Floats) -> Floats:
        since = at_s - _PROBE_MS / 1000
        risen = np.clip(since / ramp_s, 0.0, 1.0)
        return np.where(since < 0, 0.0, full * 100 ** (risen - 1))

    ts_ms, requests = thieves.arrivals(case.start_ms, rate, rng)
    abuse = thieves.with_dearest(world, case.key, ts_ms, requests, rng)
    known, texts = PROVIDERS[world.profiles[case.key].owner.provider], world.ledger.texts
    refused = rng.random(_PROBES) < 0.75
    status = np.where(refused, rng.choice(_REFUSALS, _PROBES), 200)
    endpoint = np.where(refused, texts.code(known.endpoint), texts.code(known.models_endpoint))
    probes = uses(
        key=case.key, ts_ms=case.start_ms + np.sort(rng.integers(0, _PROBE_MS, _PROBES)), status=status,
        model=texts.code(known.dearest), endpoint=endpoint,
    )  # fmt: skip
    place = thieves.host(world, world.profiles[case.key], rng)
    rows = place.put(merged([probes, abuse]), rng)
    return _spending(case, rows, settled_ms=_PROBE_MS + int(ramp_s * 1000))


def many_keys(times: float, case: Case) -> Theft | None:
    """One actor with many keys, each at a share of its own pace, all from the same host."""
    world, rng = case.world, case.rng
    place = thieves.host(world, world.profiles[case.key], rng)
    parts: list[Uses] = []
    planned: list[float] = []
    for key in case.keys:
        one = case._replace(keys=(key,))
        ts_ms, requests = thieves.arrivals(case.start_ms, times * one.mean_rps, rng)
        rows = place.put(thieves.in_owners_manner(world, key, ts_ms, requests, rng), rng)
        parts.append(rows)
        planned.append(rows.usd * DAY_MS / SHORT_MS)
    rows = merged(parts)
    return Theft(case.keys, int(rows.ts_ms[0]), rows, tuple(planned)) if rows.rows else None


def dormant_wakes(size: float | str, case: Case) -> Theft | None:
    """A key that nobody used for two days is used again, from elsewhere, at a multiple of its old pace or by USD."""
    own = case.world.rhythms[case.key].active_ms
    before = case.world.rhythms[case.key].windows_before(case.start_ms)
    if before == 0 or case.start_ms - int(own[before - 1]) < 2 * DAY_MS:
        return None
    return published(float(size), case) if isinstance(size, str) else burst(size, case)


def agent_loop(times: float, case: Case) -> Theft | None:
    """The owner's own program repeats one call at a steady beat."""
    world, rng, rps = case.world, case.rng, times * case.mean_rps
    if rps <= 0:
        return None
    beat_s = 1 / rps
    each = int(np.ceil(1 / beat_s)) if beat_s < 1 else 1
    steps = np.arange(0, SHORT_MS / 1000, beat_s * each)
    ts_ms = case.start_ms + (steps * 1000 + rng.normal(0, 20 * beat_s, len(steps))).clip(0).astype(np.int64)
    coarse = (steps >= 600) & (np.arange(len(steps)) % max(1, round(10 / (beat_s * each))) != 0)
    requests = np.where(steps >= 600, each * max(1, round(10 / (beat_s * each))), each)[~coarse]
    one = thieves.in_owners_manner(world, case.key, ts_ms[:1], np.ones(1, np.int64), rng)
    while one.status[0] >= 400:
        one = thieves.in_owners_manner(world, case.key, ts_ms[:1], np.ones(1, np.int64), rng)
    rows = one.where(np.zeros(len(requests), np.int64)).with_columns(ts_ms=np.sort(ts_ms[~coarse]), requests=requests)
    for name in ("input_tokens", "cached_tokens", "output_tokens", "cost_nano_usd"):
        rows = rows.with_columns(**{name: getattr(rows, name) * requests})
    return _spending(case, rows)


def _sized(family: str, build: Callable[[float, Case], Theft | None], *sizes: float) -> list[Cell]:
    return [Cell(family, f"x{size:g}", partial(build, size)) for size in sizes]


def _money(family: str, build: Callable[[float | str, Case], Theft | None], *sizes: float | str) -> list[Cell]:
    return [
        Cell(family, f"{size} USD/min" if isinstance(size, str) else f"x{size:g}", partial(build, size))
        for size in sizes
    ]


CELLS: Final[tuple[Cell, ...]] = (
    *_sized("burst", burst, 3, 10, 30, 450),
    *(Cell("published", f"{usd:g} USD/min", partial(published, usd)) for usd in (28.6, 32.0, 333.0)),
    *_sized("runaway", runaway, 3, 10, 30),
    *_sized("agent_loop", agent_loop, 3, 10, 30),
    *_money("reseller", reseller, 1.0, 3.0, 10.0, "32"),
    *_money("probe_then_abuse", probe_then_abuse, 10.0, "32"),
    *_money("dormant_wakes", dormant_wakes, 1.0, 10.0, "32"),
    *(Cell("many_keys", f"+{share:.0%} each", partial(many_keys, share), keys=ACTOR_KEYS) for share in (0.5, 1.0)),
    Cell("model_swap", "owner's hosts", partial(model_swap, False), LONG_MS),
    Cell("model_swap", "thief's hosts", partial(model_swap, True), LONG_MS),
    *(Cell("context_stuffing", f"x{x:g}", partial(context_stuffing, x), LONG_MS) for x in (10.0, 50.0)),
    Cell("off_hours", "owner's hosts", partial(off_hours, False), LONG_MS + SHORT_MS),
    Cell("off_hours", "thief's hosts", partial(off_hours, True), LONG_MS + SHORT_MS),
    Cell("replacement", "same volume", replacement, LONG_MS),
    *(Cell("low_and_slow", f"+{g:.0%} a day", partial(low_and_slow, g), SLOW_MS) for g in (0.05, 0.1, 0.2)),
)  # fmt: skip
