"""When requests come: runs of active windows, a level that wanders, a daily shape, bursts within a window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from sources.simulator.fitted import DAY_SHAPES, WINDOW_S

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GapFamily = Literal["gamma", "weibull"]

_LEVEL_LIMIT: Final = 2.0  # standard deviations the level may wander: beyond, a lognormal promises what no key does
_HOUR_MS: Final = 3_600_000
_SMALLEST_GAP: Final = 1e-12  # a Gamma of small shape underflows to zero
_WEIBULL_SHAPES: Final = (0.2, 20.0)  # cv 15.8 to 0.06


def weibull_cv(shape: float) -> float:
    """Coefficient of variation of a Weibull distribution of this shape."""
    return math.sqrt(math.gamma(1 + 2 / shape) / math.gamma(1 + 1 / shape) ** 2 - 1)


@dataclass(frozen=True)
class Gaps:
    """Gaps between requests within a window: the family and its shape. The scale follows from the rate."""

    family: GapFamily = "gamma"
    shape: float = 1.0

    @staticmethod
    def of_cv(family: GapFamily, cv: float) -> Gaps:
        """The shape that gives this coefficient of variation."""
        if family == "gamma":
            return Gaps("gamma", cv**-2)
        low, high = _WEIBULL_SHAPES
        for _ in range(40):  # the coefficient falls as the shape grows, so halving finds it
            middle = (low + high) / 2
            low, high = (middle, high) if weibull_cv(middle) > cv else (low, middle)
        return Gaps("weibull", low)


POISSON: Final = Gaps()


@dataclass(frozen=True)
class Rhythm:
    """How one key comes and goes."""

    mean_rps: float  # in active windows
    active_share: float = 1.0  # of 600-s windows
    on_windows: float = math.inf  # mean length of a run of active windows
    level_sd: float = 0.0  # of the log rate between active windows
    level_rho: float = 0.0  # correlation of the log rate with the window before
    day_shape: int = 0  # index in DAY_SHAPES
    gaps: Gaps = POISSON

    @property
    def long_run_rps(self) -> float:
        """Mean requests a second, idle windows included."""
        return self.mean_rps * self.active_share


def day_factors() -> Floats:
    """DAY_SHAPES scaled to a mean of exactly 1, one row per shape."""
    shapes = np.array(DAY_SHAPES)
    return np.asarray(shapes / shapes.mean(axis=1, keepdims=True), np.float64)


def _mean_of_level(sd: float) -> float:
    """Mean of exp(sd x z), z standard normal and winsorised at the level's limit: divided out to keep the mean rate."""

    def below(z: float) -> float:
        return 0.5 * (1 + math.erf(z / math.sqrt(2)))

    tail = below(-_LEVEL_LIMIT) * (math.exp(-sd * _LEVEL_LIMIT) + math.exp(sd * _LEVEL_LIMIT))
    return tail + math.exp(sd * sd / 2) * (below(_LEVEL_LIMIT - sd) - below(-_LEVEL_LIMIT - sd))


class Windows:
    """The rates of many keys, window by window. State is two numbers per key."""

    def __init__(self, rhythms: Sequence[Rhythm], rng: np.random.Generator) -> None:
        share = np.array([rhythm.active_share for rhythm in rhythms])
        stop = np.array([1 / rhythm.on_windows for rhythm in rhythms])
        # A run of idle windows lasts at least one window, which bounds how often a nearly constant key may stop.
        self._stop = np.minimum(stop, (1 - share) / np.maximum(share, 1e-9))
        self._start = np.where(share >= 1, 1.0, self._stop * share / np.maximum(1 - share, 1e-9))
        self._mean = np.array([rhythm.mean_rps / _mean_of_level(rhythm.level_sd) for rhythm in rhythms])
        self._sd = np.array([rhythm.level_sd for rhythm in rhythms])
        self._rho = np.array([rhythm.level_rho for rhythm in rhythms])
        self._day = day_factors()[[rhythm.day_shape for rhythm in rhythms]]
        self._active = rng.random(len(rhythms)) < share
        self._level = rng.standard_normal(len(rhythms))

    def next_rates(self, window_start_ms: int, rng: np.random.Generator) -> Floats:
        """Requests a second of each key in the window that starts here; moves on by one window."""
        z = np.clip(self._level, -_LEVEL_LIMIT, _LEVEL_LIMIT)
        hour = (window_start_ms // _HOUR_MS) % 24
        rates = self._active * self._mean * np.exp(self._sd * z) * self._day[:, hour]
        turn = rng.random(len(z))
        self._active = np.where(self._active, turn >= self._stop, turn < self._start)
        noise = rng.standard_normal(len(z))
        self._level = self._rho * self._level + np.sqrt(1 - self._rho**2) * noise
        return np.asarray(rates, np.float64)


class Spreader:
    """Places a known number of requests of each key within a window, as bursty as its gaps are."""

    def __init__(self, gaps: Sequence[Gaps]) -> None:
        self._shape = np.array([gap.shape for gap in gaps])
        self._weibull = np.array([gap.family == "weibull" for gap in gaps])

    def offsets(self, counts: Ints, rng: np.random.Generator, *, length_s: float = WINDOW_S) -> tuple[Ints, Floats]:
        """Who sends and how many seconds after the window's start, grouped by sender.

        n requests take n + 1 gaps of the family's shape, scaled to fill the window exactly.
        """
        senders = np.flatnonzero(counts)
        slots = counts[senders] + 1
        owner = np.repeat(senders, slots)
        if not len(owner):
            return owner, np.empty(0)
        gaps = self._draw(owner, rng)
        ends = np.cumsum(slots)
        total = np.add.reduceat(gaps, ends - slots)
        passed = np.cumsum(gaps / np.repeat(total, slots)) - np.repeat(np.arange(len(senders)), slots)
        keep = np.ones(len(owner), bool)
        keep[ends - 1] = False
        return owner[keep], np.clip(passed[keep], 0.0, 1.0 - 1e-9) * length_s

    def _draw(self, owner: Ints, rng: np.random.Generator) -> Floats:
        shape, weibull = self._shape[owner], self._weibull[owner]
        gaps = np.empty(len(owner))
        gaps[weibull] = rng.standard_exponential(int(weibull.sum())) ** (1 / shape[weibull])
        gaps[~weibull] = rng.standard_gamma(shape[~weibull])
        return np.maximum(gaps, _SMALLEST_GAP)
