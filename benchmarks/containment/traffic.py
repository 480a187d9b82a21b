"""The healthy fortnight: every key's requests, in columns. Week 1 is for learning, week 2 for testing.

Arrivals are the published ones, thinned: each key keeps so many requests that the whole is small enough to play on
one core. Models, machines, programs, errors and healthy change come from the key's profile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from zlib import crc32

import numpy as np

from benchmarks.containment.arrivals import DAYS, Arrivals, arrivals
from benchmarks.containment.columns import (
    DAY_MS,
    START_MS,
    WEEK_MS,
    Floats,
    Ints,
    Ledger,
    Uses,
    merged,
    uses,
)
from benchmarks.containment.profiles import Profile, countries, draw, make_profile
from sources.simulator.arrivals import Gaps
from sources.simulator.fitted import WINDOW_S
from sources.simulator.prices import MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS
from sources.simulator.sampling import draw_tokens
from sources.simulator.use import CACHEABLE

TEST_MS: Final = START_MS + WEEK_MS
END_MS: Final = START_MS + 2 * WEEK_MS
GROWN_WINDOWS: Final = 36  # active windows in which a key has shown itself; fewer is cold
BUSIEST_MINUTE_USD: Final = 8.0
DENSE_WINDOW: Final = 150  # requests in ten minutes
_LEAST_REQUESTS: Final = 3000
_REQUESTS_PER_WINDOW: Final = 1.5
_MOST_PER_WINDOW: Final = 60
_MIX_STEADINESS: Final = 60.0
_OUTAGES_PER_WEEK: Final = 2.0
_STREAM: Final = 12


@dataclass(frozen=True, eq=False)
class Rhythm:
    """How a key comes and goes, after thinning."""

    active_ms: Ints  # starts of its active 10-minute windows
    active_rps: Floats  # and the requests a second of each
    gaps: Gaps

    @property
    def mean_rps(self) -> float:
        """In active windows."""
        return float(self.active_rps.mean()) if len(self.active_rps) else 0.0

    @property
    def dense(self) -> bool:
        """Whether it crowds some window so that a week of it is slow to play: week-long copies go without such keys."""
        return bool(len(self.active_rps) and self.active_rps.max() * WINDOW_S > DENSE_WINDOW)

    def windows_before(self, ts_ms: int) -> int:
        return int(np.searchsorted(self.active_ms, ts_ms))


@dataclass(frozen=True, eq=False)
class World:
    """A company's keys and their healthy fortnight."""

    ledger: Ledger
    profiles: tuple[Profile, ...]
    rhythms: tuple[Rhythm, ...]
    clean: Uses  # in time order
    source: str
    thinning: Floats  # of each key: it keeps one request in so many
    seed: int

    @property
    def halves(self) -> Ints:
        """0 or 1 for each key, by a hash of its name: thresholds chosen on one half are reported on the other."""
        return np.array([crc32(b"half:" + owner.key_id.encode()) & 1 for owner in self.ledger.owners], np.int64)

    def of_key(self, key: int) -> Uses:
        """The clean uses of one key, in time order."""
        return self.clean.where(self.clean.key == key)


def make_world(*, seed: int, keys: int | None = None, requests_scale: float = 1.0) -> World:
    """The same for the same arguments. `keys` takes the first so many clients in a seeded order; None takes all.

    Each key keeps 3,000 requests and 1.5 for each active window, but no more than 60 for each, times `requests_scale`.
    """
    published = arrivals(seed)
    rng = np.random.default_rng((_STREAM, seed))
    order = rng.permutation(len(published.names))[:keys]
    ledger = Ledger([])
    outages = _outages(rng)
    made = [
        _make_key(ledger, published, int(client), rng=np.random.default_rng((_STREAM, seed, int(client))),
                  requests_scale=requests_scale, outages=outages)
        for client in order.tolist()
    ]  # fmt: skip
    rows = merged([rows.with_columns(key=at) for at, (_, _, rows, _) in enumerate(made)])
    return World(
        ledger=ledger,
        profiles=tuple(profile for profile, *_ in made),
        rhythms=tuple(rhythm for _, rhythm, *_ in made),
        clean=ledger.priced(rows),
        source=published.source,
        thinning=np.array([thin for *_, thin in made]),
        seed=seed,
    )


def _usual(tables: Floats) -> Floats:
    """Median quantiles; some for a key that is never used."""
    return np.asarray(np.median(tables, axis=0) if len(tables) else np.log(np.arange(1, 11) * 100.0), np.float64)


Outages = dict[str, list[tuple[int, int, float]]]


def _outages(rng: np.random.Generator) -> Outages:
    """For each provider: from, until, share of requests that fail."""
    return {
        provider: [
            (start, start + int(rng.uniform(5, 40)) * 60_000, float(rng.uniform(0.2, 0.8)))
            for start in (START_MS + rng.integers(0, DAYS * DAY_MS, rng.poisson(2 * _OUTAGES_PER_WEEK))).tolist()
        ]
        for provider in ("openai", "anthropic", "google")
    }


def _make_key(
    ledger: Ledger, published: Arrivals, client: int, *, rng: np.random.Generator, requests_scale: float,
    outages: Outages,
) -> tuple[Profile, Rhythm, Uses, float]:  # fmt: skip
    mine = np.flatnonzero(published.client == client)
    wanted = requests_scale * min(_LEAST_REQUESTS + _REQUESTS_PER_WINDOW * len(mine), _MOST_PER_WINDOW * len(mine))
    total = float(published.totals[client])
    thin = max(1.0, total / max(wanted, 1.0))
    counts = rng.binomial(np.rint(published.rate_rps[mine] * WINDOW_S).astype(np.int64), 1 / thin)
    row, offset_s = published.offsets_s(mine, counts, rng)
    ts_ms = START_MS + published.t_s[mine][row] * 1000 + (offset_s * 1000).astype(np.int64)
    lengths = published.lengths[mine]
    usual = [_usual(table[np.unique(lengths)]) for table in (published.log_input, published.log_output)]
    profile = make_profile(
        ledger, f"fp1:{crc32(published.names[client].encode()):08x}{client:04x}", rng,
        log_input=usual[0], log_output=usual[1], requests_per_month=total / thin * 30 / DAYS,
    )  # fmt: skip
    used = np.flatnonzero(counts)
    shape = float(np.median(published.shape[mine])) if len(mine) else 1.0
    family = "weibull" if len(mine) and published.weibull[mine].mean() > 0.5 else "gamma"
    active_ms = START_MS + published.t_s[mine][used] * 1000
    rhythm = Rhythm(active_ms, counts[used] / WINDOW_S, Gaps("weibull" if family == "weibull" else "gamma", shape))
    tables = (published.log_input, published.log_output)
    rows = owners_rows(
        profile, ts_ms, rng, lengths=lengths[row], tables=tables, outages=outages[profile.owner.provider]
    )
    profile, rows = _modest(ledger, profile, rows)
    return profile, rhythm, rows, thin


def owners_rows(
    profile: Profile, ts_ms: Ints, rng: np.random.Generator, *, lengths: Ints | None = None,
    tables: tuple[Floats, Floats] | None = None, outages: Sequence[tuple[int, int, float]] = (),
) -> Uses:  # fmt: skip
    """What the owner sends at these times, not priced yet and of key 0: models, lengths, machines, programs, errors.

    `lengths` are rows of `tables` (of published lengths); without them the key's usual lengths are drawn from.
    """
    n = len(ts_ms)
    if lengths is None or tables is None:
        lengths, tables, factor = np.zeros(n, np.int64), (profile.log_input[None], profile.log_output[None]), 1.0
    else:
        factor = profile.length
    asked, answered = (
        np.minimum(np.rint(draw_tokens(table, lengths, rng) * factor), cap).astype(np.int64)
        for table, cap in zip(tables, (MAX_INPUT_TOKENS, MAX_OUTPUT_TOKENS), strict=True)
    )
    ip = draw(profile.ips, ts_ms, rng)
    status = _statuses(profile, ts_ms, rng, outages)
    worked = status < 400
    hit = (rng.random(n) < profile.cached_share) & worked
    return uses(
        key=0, ts_ms=ts_ms, model=draw(profile.models, ts_ms, rng, steadiness=_MIX_STEADINESS),
        endpoint=profile.endpoint, input_tokens=asked * worked,
        cached_tokens=(CACHEABLE * asked * hit).astype(np.int64), output_tokens=answered * worked,
        status=status, ip=ip, country=countries(profile, ip),
        agent=draw(profile.agents, ts_ms, rng),
    )  # fmt: skip


def _statuses(
    profile: Profile, ts_ms: Ints, rng: np.random.Generator, outages: Sequence[tuple[int, int, float]]
) -> Ints:
    rate = np.full(len(ts_ms), profile.error_rate)
    for from_ms, until_ms, share in outages:
        rate[(ts_ms >= from_ms) & (ts_ms < until_ms)] = share
    failed = rng.random(len(ts_ms)) < rate
    in_outage = rate > profile.error_rate
    usual = rng.choice((429, 400, 500), len(ts_ms), p=(0.5, 0.25, 0.25))
    broken = rng.choice((500, 503, 429), len(ts_ms), p=(0.4, 0.4, 0.2))
    statuses: Ints = np.where(failed, np.where(in_outage, broken, usual), 200)
    return statuses


def _modest(ledger: Ledger, profile: Profile, rows: Uses) -> tuple[Profile, Uses]:
    """Shorter where the busiest minute would break the default limit of 20 USD a minute: whoever owns such a key
    raises its limit, so that limits never fire on healthy traffic here.
    """
    if not rows.rows:
        return profile, rows
    cost = ledger.priced(rows.with_columns(key=len(ledger.owners) - 1)).cost_nano_usd
    busiest = float(np.bincount((rows.ts_ms - START_MS) // 60_000, cost).max()) / 1e9
    if busiest <= BUSIEST_MINUTE_USD:
        return profile, rows
    part = BUSIEST_MINUTE_USD / busiest
    shorter = {
        name: np.ceil(getattr(rows, name) * part).astype(np.int64)
        for name in ("input_tokens", "cached_tokens", "output_tokens")
    }
    usual = replace(
        profile, length=profile.length * part, log_input=profile.log_input + math.log(part),
        log_output=profile.log_output + math.log(part),
    )  # fmt: skip
    return usual, rows.with_columns(**shorter)
