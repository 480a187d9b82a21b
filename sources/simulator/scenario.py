"""Whole stories: keys, their traffic and the thefts planted in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sources.simulator.events import Event
from sources.simulator.keys import SimKey, make_keys, with_monthly_usd
from sources.simulator.thefts import Theft, plant
from sources.simulator.traffic import generate
from sources.simulator.use import expected_request_usd

DEMO_KEYS: Final = 60
WARM_UP_S: Final = 26 * 3600  # more than a day, so that each hour of the day has been seen
_LARGEST_SHARE: Final = 0.08  # of all events by one key: a demo of one busy key shows nothing
_VICTIM_USD_PER_MONTH: Final = 180.0
_VICTIM_REQUEST_USD: Final = 0.002  # at 180 USD a month: two requests a minute
_BURST_USD_PER_MIN: Final = 30.0
_STEADY: Final = frozenset({"constant", "regular"})


@dataclass(frozen=True)
class Scenario:
    """A story that plays the same each time."""

    name: str
    keys: tuple[SimKey, ...]
    start_ms: int
    duration_s: float
    thefts: tuple[Theft, ...]
    seed: int

    @property
    def end_ms(self) -> int:
        """First millisecond after the scenario."""
        return self.start_ms + int(self.duration_s * 1000)

    def events(self, *, priced: bool = False) -> Iterator[tuple[Event, Theft | None]]:
        """All events in time order, each with the theft it belongs to, or None for the owners' own use."""
        traffic = generate(self.keys, start_ms=self.start_ms, duration_s=self.duration_s, seed=self.seed, priced=priced)
        return plant(traffic, self.thefts, priced=priced)


def demo_scenario(
    seed: int,
    end_ms: int,
    *,
    provider_override: str | None = None,
    normal_events: int = 120_000,
    theft_s: float = 600.0,
) -> Scenario:
    """60 keys, 26 hours of warm-up, then a burst theft of 30 USD a minute on one production key until `end_ms`.

    The victim normally costs 180 USD a month. With `provider_override` all events name that provider and carry
    their cost, at the prices of the models they use. About `normal_events` come from the owners, give or take a
    fifth: real keys are no metronomes.
    """
    made = make_keys(DEMO_KEYS, seed=seed, min_active_share=0.05, report_as=provider_override)
    victim = with_monthly_usd(_never_idle(_choose_victim(made)), _VICTIM_USD_PER_MONTH)
    duration_s = WARM_UP_S + theft_s
    victim_events = victim.rhythm.long_run_rps * duration_s
    others = [key for key in made if key.key_id != victim.key_id]
    others = with_total_events(others, (normal_events - victim_events) / duration_s)
    theft_start_ms = end_ms - int(theft_s * 1000)
    theft = Theft("burst", (victim,), theft_start_ms, theft_s, usd_per_min=_BURST_USD_PER_MIN, seed=seed)
    start_ms = theft_start_ms - WARM_UP_S * 1000
    return Scenario("demo", (victim, *others), start_ms, duration_s, (theft,), seed)


def _choose_victim(keys: Sequence[SimKey]) -> SimKey:
    """A steady production key of a provider with a really dear model, whose usual request costs about 0.2 cents."""

    def distance(key: SimKey) -> float:
        return abs(math.log(expected_request_usd(key.use) / _VICTIM_REQUEST_USD))

    steady = [key for key in keys if key.env == "prod" and key.kind in _STEADY and key.provider != "google"]
    return min(steady, key=distance)


def with_total_events(keys: Sequence[SimKey], total_rps: float) -> list[SimKey]:
    """The same keys, sending `total_rps` together on average, none more than 8 % of it (if there are enough keys)."""
    share = np.array([key.rhythm.long_run_rps for key in keys])
    for _ in range(50):  # cutting the largest raises the others, until all fit
        share = np.minimum(share / share.sum(), _LARGEST_SHARE)
    rates = share / share.sum() * total_rps
    return [
        replace(key, rhythm=replace(key.rhythm, mean_rps=float(rate) / key.rhythm.active_share))
        for key, rate in zip(keys, rates, strict=True)
    ]


def _never_idle(key: SimKey) -> SimKey:
    """Runs in every window, so that 180 USD a month is what a day of it shows too."""
    return replace(key, rhythm=replace(key.rhythm, active_share=1.0, level_sd=min(key.rhythm.level_sd, 0.3)))
