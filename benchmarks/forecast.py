"""How often the interval of the month-end forecast holds, on months of the simulator's traffic.

    python -m benchmarks.forecast

Spend by the hour of 5 or 60 keys over 100 days; each month of 30 days is foretold on its 4th, 9th, 16th and 24th day,
from what was known then. `weekend`: two days in seven have 40 % of the traffic. `growth`: 1 % more each day.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from controls.forecast import DAY_MS, HOUR_MS, SURENESS, forecast
from sources.simulator.arrivals import Windows
from sources.simulator.fitted import WINDOW_S
from sources.simulator.keys import make_keys
from sources.simulator.use import expected_request_usd

START_MS: Final = 1_790_000_000_000 // DAY_MS * DAY_MS
DAYS: Final = 100
SEEDS: Final = 6
KINDS: Final = {"plain": (0.0, 1.0), "weekend": (0.0, 0.4), "growth": (0.01, 1.0)}  # growth a day, weekend's share


def spend(keys: int, seed: int, *, growth: float, weekend: float) -> list[tuple[int, int]]:
    """(hour, nano-USD) of made-up keys."""
    made, rng = make_keys(keys, seed=seed), np.random.default_rng((seed, 1))
    windows = Windows([key.rhythm for key in made], rng)
    usd = np.array([expected_request_usd(key.use) for key in made])
    hours: dict[int, int] = {}
    for at in range(START_MS, START_MS + DAYS * DAY_MS, WINDOW_S * 1000):
        factor = (1 + growth) ** ((at - START_MS) / DAY_MS) * (weekend if (at // DAY_MS + 3) % 7 >= 5 else 1)
        cost = rng.poisson(windows.next_rates(at, rng) * WINDOW_S * factor) * usd
        hour = at - at % HOUR_MS
        hours[hour] = hours.get(hour, 0) + int(cost.sum() * 1e9)
    return sorted(hours.items())


def judged(hours: Sequence[tuple[int, int]]) -> list[tuple[bool, float, float]]:
    """(within, width, error) of each forecast; the last two as parts of the true sum."""
    found = []
    for month in range(3):
        begin = START_MS + (20 + 25 * month) * DAY_MS
        end = begin + 30 * DAY_MS
        truth = sum(nano for hour, nano in hours if begin <= hour < end)
        for day in (3.4, 8.1, 15.6, 23.9):
            now = begin + int(day * DAY_MS)
            known = [one for one in hours if one[0] < now]
            told = forecast(known, from_ms=begin, until_ms=end, now_ms=now)
            if told is not None and end <= START_MS + DAYS * DAY_MS:
                width, error = (told.high - told.low) / truth, abs(told.expected / truth - 1)
                found.append((told.low <= truth <= told.high, width, error))
    return found


def main() -> None:
    """Print the table."""
    print(f"an interval for {SURENESS:.0%}: how often it held, its width and the error of the forecast (medians)")
    for kind, (growth, weekend) in KINDS.items():
        for keys in (5, 60):
            runs = [spend(keys, seed, growth=growth, weekend=weekend) for seed in range(SEEDS)]
            within, width, error = np.array([one for run in runs for one in judged(run)], float).T
            print(
                f"{kind:<8} {keys:>3} keys: {within.mean():5.0%} of {len(within)}, "
                f"width {np.median(width):.1%}, error {np.median(error):.1%}"
            )


if __name__ == "__main__":
    main()
