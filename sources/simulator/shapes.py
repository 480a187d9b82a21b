"""The shapes of thefts that victims reported, each a pure function from what is taken to waves of requests.

Sizes default to published losses: 82,314 USD in 48 hours (28.6 USD a minute, against 180 USD a month before),
46,000 USD a day (31.9), 14,000 USD a day and region (9.7). First use came 67 s to 17 minutes after a leak.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from sources.simulator.fitted import TOKEN_SHAPES
from sources.simulator.keys import SimKey
from sources.simulator.prices import PROVIDERS
from sources.simulator.use import Fruitless, Origin, Use, expected_request_usd
from sources.simulator.waves import Wave

GEMINI_CASE_USD_PER_MIN: Final = 28.6
RESELLER_USD_PER_MIN: Final = 31.9
REGION_USD_PER_MIN: Final = 9.7
REGIONS: Final = 4
RESELLER_IPS: Final = 400
PROBE_S: Final = 180.0
PROBES: Final = 20
RAMP_S: Final = (9 * 60.0, 17 * 60.0)
GROWTH_PER_DAY: Final = 1.2
QUIET_SHARE: Final = 0.3  # of the key's own requests: stays within the bursts of real clients
STUFFING: Final = 50.0  # times the key's usual input tokens
STAGGER_S: Final = 60

_COUNTRIES: Final = ("BR", "CA", "FR", "ID", "IN", "JP", "KR", "MX", "PL", "SE", "SG", "TR", "VN", "ZA")
_AGENTS: Final = ("python-requests/2.32.5", "Go-http-client/2.0", "axios/1.12.2", "aiohttp/3.13.1", "curl/8.14.1")
_CHAT: Final = next(shape for shape in TOKEN_SHAPES if shape.name == "answer")
_SHORT: Final = next(shape for shape in TOKEN_SHAPES if shape.name == "short_answer")


@dataclass(frozen=True)
class Taken:
    """What a thief has in hand, from when to when, and what is spent with it (None: the shape's own size)."""

    keys: tuple[SimKey, ...]
    start_ms: int
    duration_s: float
    usd_per_min: float | None

    @property
    def end_ms(self) -> int:
        """First millisecond after the theft."""
        return self.start_ms + int(self.duration_s * 1000)

    def usd_per_min_or(self, own: float) -> float:
        """The size asked for, else the shape's own."""
        return own if self.usd_per_min is None else self.usd_per_min


Build = Callable[[Taken, np.random.Generator], tuple[Wave, ...]]


@dataclass(frozen=True)
class Shape:
    """A way of abusing a key."""

    name: str
    told: str  # one sentence for people
    build: Build
    least_keys: int = 1


_SHAPES: Final[dict[str, Shape]] = {}
SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(_SHAPES)


def _shape(name: str, told: str, *, least_keys: int = 1) -> Callable[[Build], Build]:
    def register(build: Build) -> Build:
        _SHAPES[name] = Shape(name, told, build, least_keys)
        return build

    return register


def _wave(taken: Taken, key: SimKey, use: Use, *, usd_per_min: float) -> Wave:
    rps = usd_per_min / 60 / expected_request_usd(use)
    return Wave(key, use, taken.start_ms, taken.duration_s, rps)


def _origins(rng: np.random.Generator, *, country: str, hosts: int) -> tuple[Origin, ...]:
    """One network of the shared range 100.64.0.0/10, which no key of ours uses."""
    network = int(rng.integers(64 * 256))
    asn = 4_200_001_000 + int(rng.integers(1000))
    last = rng.choice(np.arange(1, 255), hosts, replace=False).tolist()
    return tuple(Origin(f"100.{64 + network // 256}.{network % 256}.{host}", country, asn) for host in last)


def _abroad(rng: np.random.Generator, count: int) -> list[str]:
    return [_COUNTRIES[place] for place in rng.choice(len(_COUNTRIES), count, replace=False)]


def _stranger(key: SimKey, rng: np.random.Generator) -> Use:
    """Somebody from elsewhere, with a program of his own, who takes the dearest model there is."""
    known = PROVIDERS[key.provider]
    return Use(
        provider=key.provider,
        endpoint=known.endpoint,
        models=((known.dearest, 1.0),),
        tokens=_CHAT,
        output_factor=3.0,
        origins=_origins(rng, country=_abroad(rng, 1)[0], hosts=3),
        user_agents=(_AGENTS[rng.integers(len(_AGENTS))],),
        user_ids=(None,),
    )


@_shape("burst", "Full spend from the first minute, day and night, from a place never seen before.")
def _burst(taken: Taken, rng: np.random.Generator) -> tuple[Wave, ...]:
    key = taken.keys[0]
    usd = taken.usd_per_min_or(GEMINI_CASE_USD_PER_MIN)
    return (_wave(taken, key, _stranger(key, rng), usd_per_min=usd),)


@_shape("reseller", "The key is sold on: hundreds of addresses and programs, short prompts, mostly the dearest model.")
def _reseller(taken: Taken, rng: np.random.Generator) -> tuple[Wave, ...]:
    key = taken.keys[0]
    known = PROVIDERS[key.provider]
    places = [origin for country in _abroad(rng, 10) for origin in _scattered(rng, country, RESELLER_IPS // 10)]
    use = replace(
        _stranger(key, rng),
        models=((known.dearest, 0.6), (known.large, 0.3), (known.middle, 0.1)),
        tokens=_SHORT,
        output_factor=6.0,
        origins=tuple(places),
        user_agents=tuple(f"{agent} client/{version}" for agent in _AGENTS for version in range(1, 9)),
    )
    return (_wave(taken, key, use, usd_per_min=taken.usd_per_min_or(RESELLER_USD_PER_MIN)),)


def _scattered(rng: np.random.Generator, country: str, count: int) -> Iterator[Origin]:
    for _ in range(count):
        yield from _origins(rng, country=country, hosts=1)


@_shape("probe_then_abuse", "A few tiny and failing calls and model listings, then a ramp of 9 to 17 minutes.")
def _probe_then_abuse(taken: Taken, rng: np.random.Generator) -> tuple[Wave, ...]:
    key = taken.keys[0]
    abuse = _stranger(key, rng)
    listing = Fruitless(200, None, 0.2, PROVIDERS[key.provider].models_endpoint)
    refused = tuple(
        Fruitless(status, error, 0.15)
        for status, error in ((400, "invalid_request_error"), (403, "permission_denied"), (404, "model_not_found"))
    )
    probe = replace(abuse, fruitless=(listing, *refused), input_factor=0.01, output_factor=0.005)
    full = _wave(taken, key, abuse, usd_per_min=taken.usd_per_min_or(GEMINI_CASE_USD_PER_MIN))
    ramp_s = float(rng.uniform(*RAMP_S))
    ramp_ms = taken.start_ms + int(PROBE_S * 1000)
    full_ms = ramp_ms + int(ramp_s * 1000)
    waves = [
        Wave(key, probe, taken.start_ms, PROBE_S, PROBES / PROBE_S),
        replace(full, start_ms=ramp_ms, duration_s=ramp_s, rps=full.rps / 100, rps_at_end=full.rps),
    ]
    if taken.end_ms > full_ms:
        waves.append(replace(full, start_ms=full_ms, duration_s=(taken.end_ms - full_ms) / 1000))
    return tuple(waves)


@_shape("low_and_slow", "A fifth of the key's own spend at first, a fifth more each day, in its own hours and country.")
def _low_and_slow(taken: Taken, rng: np.random.Generator) -> tuple[Wave, ...]:
    key = taken.keys[0]
    use = replace(key.use, origins=_origins(rng, country=key.use.origins[0].country, hosts=2), fruitless=())
    first = _wave(taken, key, use, usd_per_min=taken.usd_per_min_or(0.2 * key.normal_usd_per_min))
    grown = GROWTH_PER_DAY ** (taken.duration_s / 86_400)
    return (replace(first, rps_at_end=first.rps * grown, day_shape=key.rhythm.day_shape, gaps=key.rhythm.gaps),)


@_shape("fan_out", "Several regions at once, each with its own network and country and its own small share.")
def _fan_out(taken: Taken, rng: np.random.Generator) -> tuple[Wave, ...]:
    key = taken.keys[0]
    each = taken.usd_per_min_or(REGION_USD_PER_MIN * REGIONS) / REGIONS
    stranger = _stranger(key, rng)
    regions = [_origins(rng, country=country, hosts=2) for country in _abroad(rng, REGIONS)]
    return tuple(_wave(taken, key, replace(stranger, origins=origins), usd_per_min=each) for origins in regions)


@_shape("model_swap", "From the key's own hosts and as long as usual, but with the dearest model.")
def _model_swap(taken: Taken, _: np.random.Generator) -> tuple[Wave, ...]:
    key = taken.keys[0]
    use = replace(key.use, models=((PROVIDERS[key.provider].dearest, 1.0),), cached_share=0.0)
    return (_in_own_manner(taken, key, use),)


@_shape("context_stuffing", "From the key's own hosts and with its own models, but with fifty times the input.")
def _context_stuffing(taken: Taken, _: np.random.Generator) -> tuple[Wave, ...]:
    key = taken.keys[0]
    use = replace(key.use, input_factor=key.use.input_factor * STUFFING, cached_share=0.0)
    return (_in_own_manner(taken, key, use),)


def _in_own_manner(taken: Taken, key: SimKey, use: Use) -> Wave:
    """So few requests more that their number gives nothing away, unless a size is asked for."""
    quiet_usd = QUIET_SHARE * key.rhythm.long_run_rps * 60 * expected_request_usd(use)
    wave = _wave(taken, key, use, usd_per_min=taken.usd_per_min_or(quiet_usd))
    return replace(wave, gaps=key.rhythm.gaps, day_shape=key.rhythm.day_shape)


@_shape("dormant_wakes", "A key nobody uses any more is used again, from elsewhere.")
def _dormant_wakes(taken: Taken, rng: np.random.Generator) -> tuple[Wave, ...]:
    key = taken.keys[0]
    return (_wave(taken, key, _stranger(key, rng), usd_per_min=taken.usd_per_min_or(REGION_USD_PER_MIN)),)


@_shape("many_keys", "One actor, one network and one program, with one key after another.", least_keys=2)
def _many_keys(taken: Taken, rng: np.random.Generator) -> tuple[Wave, ...]:
    each = taken.usd_per_min_or(GEMINI_CASE_USD_PER_MIN) / len(taken.keys)
    actor = _stranger(taken.keys[0], rng)
    waves = []
    for place, key in enumerate(taken.keys):
        known = PROVIDERS[key.provider]
        use = replace(actor, provider=key.provider, endpoint=known.endpoint, models=((known.dearest, 1.0),))
        late_s = min(place * STAGGER_S, taken.duration_s / 2)
        wave = _wave(taken, key, use, usd_per_min=each)
        waves.append(replace(wave, start_ms=taken.start_ms + int(late_s * 1000), duration_s=taken.duration_s - late_s))
    return tuple(waves)
