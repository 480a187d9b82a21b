"""What a history has to live through, drawn from its seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from benchmarks.containment_faults.provider import Weather


@dataclass(frozen=True)
class Luck:
    """The weather at the provider, and how often and how hard the worker and its broker fail."""

    weather: Weather
    die_share: float  # of the edges of the process
    broker_trouble: float  # of its writes
    broker_s: float  # the longest that one takes

    @classmethod
    def of(cls, rng: random.Random) -> Luck:
        bad = rng.choice([0.0, 0.3, 0.6, 1.0])
        outages = sorted(rng.uniform(0, 14_000) for _ in range(rng.randrange(3)))
        weather = Weather(
            before=0.25 * bad, after=0.3 * bad, late=0.1 * bad, lies=0.1 * bad, stale=0.2 * bad, defect=0.01 * bad,
            front_doors_s=rng.choice([0, 2, 20, 120]),
            outages_s=tuple((begin, begin + rng.choice([20, 120, 1200])) for begin in outages),
        )  # fmt: skip
        return cls(weather, rng.choice([0, 0.001, 0.003, 0.01]), rng.choice([0, 0, 0.002]), rng.choice([0.05, 0.05, 3]))
