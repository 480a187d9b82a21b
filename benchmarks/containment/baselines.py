"""What else could watch a key, for comparison in the same run: limits, z-scores, River's detectors, cost anomalies.

Each takes one key's history and gives scores with the time at which they are known, so that a threshold can be chosen
at the same rate of false alarms for all. Each has `learned` and `scores` apart, see `Baseline`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.containment.baseline_models import DailyCost, EwmaZ, HourlyZ, RiverGaussian, RiverTrees
from benchmarks.containment.baseline_windows import Baseline, Learned, Scores, Windowed
from benchmarks.containment.columns import HOUR_MS, KeyHistory

__all__ = ["BASELINES", "Baseline", "Learned", "Scores"]

MINUTE_MS: Final = 60_000
WINDOW_MS: Final = 10 * MINUTE_MS
TIMES_P99: Final = 3.0
INGESTION_MS: Final = 15 * MINUTE_MS
"""Monitoring services advise to wait at least 900 s for metrics that they fetch from a cloud."""
BILLING_MS: Final = 8 * HOUR_MS
"""Cost anomaly services look three times a day at data up to a day old; this is the best of it."""


class Limit(NamedTuple):
    """Requests a minute that are allowed."""

    rpm: float


class StaticLimit:
    """Requests so far in the calendar minute over the limit: three times the 99th percentile of minutes with use.

    1.0 is the limit itself. Known with each request, as a gateway counts. A key without use gets the limit of one
    that makes one request a minute.
    """

    def learned(self, history: KeyHistory) -> Limit:
        before = history.ts_ms < history.test_ms
        minutes = (history.ts_ms[before] - history.start_ms) // MINUTE_MS
        counts = np.bincount(minutes, history.requests[before])
        used = counts[counts > 0]
        p99 = float(np.quantile(used, 0.99)) if len(used) else 1.0
        return Limit(TIMES_P99 * max(p99, 1.0))

    def scores(self, state: Limit, history: KeyHistory) -> Scores:
        minute = history.ts_ms // MINUTE_MS
        total = np.cumsum(history.requests)
        first = np.searchsorted(minute, minute)  # the minute's first row, for each row
        so_far = total - total[first] + history.requests[first]
        tested = (history.ts_ms >= history.test_ms) & (history.ts_ms < history.end_ms)
        return Scores(history.ts_ms[tested], so_far[tested] / state.rpm)

    def __call__(self, history: KeyHistory) -> Scores:
        return self.scores(self.learned(history), history)


BASELINES: Final[dict[str, Baseline[Any]]] = {
    "static limit (3 x p99 rpm)": StaticLimit(),
    "z-score (10 min)": Windowed(EwmaZ, WINDOW_MS),
    "River HalfSpaceTrees": Windowed(RiverTrees, WINDOW_MS),
    "River GaussianScorer": Windowed(RiverGaussian, WINDOW_MS),
    "hourly z (monitor)": Windowed(HourlyZ, HOUR_MS, INGESTION_MS),
    "daily cost anomaly (billing)": Windowed(DailyCost, 8 * HOUR_MS, BILLING_MS),
}
