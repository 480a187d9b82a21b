"""The models behind the baselines, each as its users run it, and where one has a choice, in its favour.

None of them clips what it learns or stops learning during an alarm: that is what plain means.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Final

from river import anomaly, compose, preprocessing

from benchmarks.containment.baseline_windows import Window
from benchmarks.containment.columns import DAY_MS, HOUR_MS

_HALF_LIFE_WINDOWS: Final = 144  # a day of ten minutes
_ALPHA: Final = 1 - 0.5 ** (1 / _HALF_LIFE_WINDOWS)
_LEAST_HOURS: Final = 3  # of the same hour of day, before it has a spread
_LEAST_DAYS: Final = 7  # totals of 24 hours, three a day
_SEED: Final = 1


class EwmaZ:
    """How many standard deviations above an exponentially weighted mean; half of the memory is a day old.

    The deviation is at least that of a Poisson count: without it, idle keys alarm at each request.
    """

    def __init__(self) -> None:
        self._n, self._mean, self._var = 0, 0.0, 0.0

    def step(self, window: Window) -> float:
        deviation = window.requests - self._mean
        score = deviation / max(math.sqrt(self._var), math.sqrt(max(self._mean, 1.0))) if self._n else 0.0
        self._n += 1
        alpha = max(_ALPHA, 1 / self._n)
        self._mean += alpha * deviation
        self._var = (1 - alpha) * (self._var + alpha * deviation * deviation)
        return score


class HourlyZ:
    """How many standard deviations above the mean of the same hour of day, of all days so far; Poisson at least.

    Says nothing of an hour that it has seen less than three times.
    """

    def __init__(self) -> None:
        self._n, self._mean, self._squares = [0] * 24, [0.0] * 24, [0.0] * 24

    def step(self, window: Window) -> float:
        hour = window.start_ms // HOUR_MS % 24
        n, mean = self._n[hour], self._mean[hour]
        deviation = window.requests - mean
        score = 0.0
        if n >= _LEAST_HOURS:
            score = deviation / max(math.sqrt(self._squares[hour] / (n - 1)), math.sqrt(max(mean, 1.0)))
        self._n[hour] = n + 1
        self._mean[hour] = mean + deviation / (n + 1)
        self._squares[hour] += deviation * (window.requests - self._mean[hour])
        return score


class DailyCost:
    """What the last 24 hours cost above the mean of all earlier such totals, in units of what is alarming.

    That is the greatest of three standard deviations, 40 % of the mean and one dollar: a bill that is a little higher
    than ever alarms nobody. Fed with thirds of a day. Says nothing before it has seen seven totals.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=3)
        self._n, self._mean, self._squares = 0, 0.0, 0.0

    def step(self, window: Window) -> float:
        self._last.append(window.cost_usd)
        if len(self._last) < 3:
            return 0.0
        total = sum(self._last)
        above = total - self._mean
        score = 0.0
        if self._n >= _LEAST_DAYS:
            score = above / max(3 * math.sqrt(self._squares / (self._n - 1)), 0.4 * self._mean, 1.0)
        self._n += 1
        self._mean += above / self._n
        self._squares += above * (total - self._mean)
        return score


class RiverGaussian:
    """`river.anomaly.GaussianScorer` on the logarithm of requests; only what is above the mean counts.

    Its score ends at 1.0 some eight deviations out, so that what is beyond has no order. It runs without a window:
    with one, rounding makes its variance negative, and it fails.
    """

    def __init__(self) -> None:
        self._scorer: Any = anomaly.GaussianScorer(grace_period=100)  # type: ignore[no-untyped-call]  # untyped in River

    def step(self, window: Window) -> float:
        value = math.log1p(window.requests)
        score = float(self._scorer.score_one(None, value)) if value > self._scorer.gaussian.mu else 0.0
        self._scorer.learn_one(None, value)
        return score


class RiverTrees:
    """`river.anomaly.HalfSpaceTrees`, ten of height six over a day of windows, behind its MinMaxScaler.

    Logarithms of requests, tokens and micro-dollars, and the hour of day. Logarithms are in its favour: without them
    one burst squashes everything after it.
    """

    def __init__(self) -> None:
        self._trees: Any = compose.Pipeline(
            preprocessing.MinMaxScaler(),
            anomaly.HalfSpaceTrees(n_trees=10, height=6, window_size=144, seed=_SEED),
        )

    def step(self, window: Window) -> float:
        features = {
            "requests": math.log1p(window.requests),
            "tokens": math.log1p(window.tokens),
            "cost": math.log1p(window.cost_usd * 1e6),
            "hour": window.start_ms % DAY_MS / DAY_MS,
        }
        score = float(self._trees.score_one(features))
        self._trees.learn_one(features)
        return score
