"""What a thief does with a key, in rows: when, from where, with which models and lengths. Pure; every draw is seeded.

A thief may send many requests a second. Rows of one second of one key are added up before anything looks at them, so
such requests are written as a few rows of several `requests`; after the first ten minutes as a few in ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.containment.columns import HOUR_MS, Floats, Ints, Uses, uses
from benchmarks.containment.profiles import Profile
from benchmarks.containment.traffic import World, owners_rows
from sources.simulator.fitted import TOKEN_SHAPES
from sources.simulator.prices import PROVIDERS
from sources.simulator.sampling import draw_tokens
from sources.simulator.use import CACHEABLE

FINE_MS: Final = 600_000
COARSE_MS: Final = 10_000
SPREAD: Final = 5
HORIZON_MS: Final = 2 * HOUR_MS
_COUNTRIES: Final = ("BR", "CA", "FR", "ID", "IN", "JP", "KR", "MX", "PL", "SE", "SG", "TR", "VN", "ZA")
_PROGRAMS: Final = ("python-requests/2.32.5", "Go-http-client/2.0", "axios/1.12.2", "aiohttp/3.13.1", "curl/8.14.1")
_CHAT: Final = next(shape for shape in TOKEN_SHAPES if shape.name == "answer")
_LONGER_IN, _LONGER_OUT = 4.0, 6.0  # a thief's conversations are long
_DRAWS: Final = 8
_NEW_COUNTRY: Final = 0.8  # of thieves; the rest sits in the owner's country, or routes through it
_NEW_PROGRAM: Final = 0.8

Rate = Callable[[Floats], Floats]
"""Requests a second at so many seconds after the start."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a thief's requests come from: parallel lists of addresses, countries; programs apart."""

    ips: Ints
    countries: Ints
    agents: Ints

    def put(self, rows: Uses, rng: np.random.Generator) -> Uses:
        """The rows as sent from here."""
        at = rng.integers(len(self.ips), size=rows.rows)
        agent = self.agents[rng.integers(len(self.agents), size=rows.rows)]
        return rows.with_columns(ip=self.ips[at], country=self.countries[at], agent=agent)


def host(world: World, profile: Profile, rng: np.random.Generator, *, networks: int = 1, programs: int = 1) -> Place:
    """Some networks of 100.64.0.0/10, which no owner here uses; mostly abroad, mostly with another program."""
    texts = world.ledger.texts
    homes = sorted(set(profile.country_of.values()))
    abroad = rng.random() < _NEW_COUNTRY
    ips, countries = [], []
    for _ in range(networks):
        network = int(rng.integers(64 * 256))
        country = texts.code(str(rng.choice(_COUNTRIES))) if abroad or networks > 1 else homes[0]
        for last in rng.integers(1, 255, 1 if networks > 1 else 3).tolist():
            ips.append(texts.code(f"100.{64 + network // 256}.{network % 256}.{last}"))
            countries.append(country)
    if programs > 1:
        agents = [texts.code(f"{rng.choice(_PROGRAMS)} client/{version}") for version in range(programs)]
    elif rng.random() < _NEW_PROGRAM:
        agents = [texts.code(str(rng.choice(_PROGRAMS)))]
    else:
        agents = [profile.agents[0].code]
    return Place(np.array(ips, np.int64), np.array(countries, np.int64), np.array(agents, np.int64))


def arrivals(
    start_ms: int, rate: float | Rate, rng: np.random.Generator, *, length_ms: int = HORIZON_MS, spread: int = SPREAD
) -> tuple[Ints, Ints]:
    """Moments in time order and the requests of each: Poisson, in cells of a second, later of ten.

    The requests of one cell are written as up to `spread` rows, each with its own model and place.
    """
    fine = np.arange(0, min(FINE_MS, length_ms), 1000)
    coarse = np.arange(len(fine) * 1000, length_ms, COARSE_MS)
    cell_ms, width_ms = np.concatenate((fine, coarse)), np.repeat((1000, COARSE_MS), (len(fine), len(coarse)))
    per_s = rate(cell_ms / 1000) if callable(rate) else np.full(len(cell_ms), rate)
    counts = rng.poisson(per_s * width_ms / 1000)
    parts = np.minimum(counts, spread)
    cell = np.repeat(np.arange(len(counts)), parts)
    nth = np.arange(len(cell)) - np.repeat(np.cumsum(parts) - parts, parts)
    requests = counts[cell] // parts[cell] + (nth < counts[cell] % parts[cell])
    # A crowded long cell is always filled at the same place: a window of its length never sees two of them or none.
    place = np.where(counts > 2, rng.random(), rng.random(len(counts)))
    into = np.where(width_ms[cell] > 1000, place[cell], rng.random(len(cell)))
    ts_ms = start_ms + cell_ms[cell] + (into * width_ms[cell]).astype(np.int64)
    order = np.argsort(ts_ms, kind="stable")
    return ts_ms[order], requests[order]


def in_owners_manner(world: World, key: int, ts_ms: Ints, requests: Ints, rng: np.random.Generator) -> Uses:
    """Rows like the owner's own, machines and programs included; a row of many requests has their lengths together.

    As many fail as ever: of a row of many requests those that fail become a row of their own.
    """
    profile = world.profiles[key]
    failed = rng.binomial(requests, profile.error_rate) * (requests > 1)
    ts_ms = np.concatenate((ts_ms[failed < requests], ts_ms[failed > 0]))
    counts = np.concatenate((requests[failed < requests] - failed[failed < requests], failed[failed > 0]))
    many = np.concatenate((requests[failed < requests] > 1, np.ones(int((failed > 0).sum()), bool)))
    lost = np.arange(len(ts_ms)) >= int((failed < requests).sum())
    rows = owners_rows(profile, ts_ms, rng).with_columns(key=key, requests=counts)
    status = np.where(many, np.where(lost, rng.choice((429, 500), len(ts_ms)), 200), rows.status)
    worked = status < 400
    lengths = {
        name: np.where(many, _together(table, counts, rng), getattr(rows, name)) * worked
        for name, table in (("input_tokens", profile.log_input), ("output_tokens", profile.log_output))
    }
    share = (CACHEABLE * profile.cached_share * lengths["input_tokens"]).astype(np.int64)
    rows = rows.with_columns(status=status, cached_tokens=np.where(many, share, rows.cached_tokens), **lengths)
    return world.ledger.priced(rows).in_order()


def with_dearest(world: World, key: int, ts_ms: Ints, requests: Ints, rng: np.random.Generator) -> Uses:
    """Long conversations with the dearest model the provider has."""
    known = PROVIDERS[world.profiles[key].owner.provider]
    texts = world.ledger.texts
    asked, answered = (
        _together(np.log(np.array(quantiles) * longer), requests, rng)
        for quantiles, longer in ((_CHAT.input_tokens, _LONGER_IN), (_CHAT.output_tokens, _LONGER_OUT))
    )
    rows = uses(
        key=key, ts_ms=ts_ms, requests=requests, model=texts.code(known.dearest), endpoint=texts.code(known.endpoint),
        input_tokens=asked, output_tokens=answered,
    )  # fmt: skip
    return world.ledger.priced(rows)


def dearest_usd(world: World, key: int) -> float:
    """Mean cost of one request of `with_dearest`."""
    rng = np.random.default_rng(0)
    return with_dearest(world, key, np.zeros(2000, np.int64), np.ones(2000, np.int64), rng).usd / 2000


def _together(log_table: Floats, requests: Ints, rng: np.random.Generator) -> Ints:
    """Tokens of so many requests together: their number times the mean of a few draws."""
    drawn = [draw_tokens(log_table[None], np.zeros(len(requests), np.int64), rng) for _ in range(_DRAWS)]
    mean = np.where(requests > 1, np.mean(drawn, axis=0), drawn[0])
    return np.rint(mean * requests).astype(np.int64)
