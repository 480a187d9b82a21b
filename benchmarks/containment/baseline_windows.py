"""What all baselines share: one key's use in windows, a model that scores each and then learns it, and the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from benchmarks.containment.columns import Floats, Ints, KeyHistory

S = TypeVar("S")


class Scores(NamedTuple):
    """What a baseline says of one key: higher is stranger. Each score is dated by when somebody can know it."""

    known_ms: Ints  # never falling
    score: Floats


class Baseline(Protocol[S]):
    """One detector for one key. Week 1 is learned once; each theft is scored from a state that is never changed."""

    def learned(self, history: KeyHistory) -> S:
        """The state after everything in windows that end by `history.test_ms`."""
        ...

    def scores(self, state: S, history: KeyHistory) -> Scores:
        """Scores of what comes after the state, until `history.end_ms`, learning on the way. `state` stays as it is.

        Of `history` only the rows since a day before `test_ms` are needed; the times must be those of the state.
        """
        ...

    def __call__(self, history: KeyHistory) -> Scores:
        """Both in one."""
        ...


class Window(NamedTuple):
    """A key's use in one stretch of time; idle ones too."""

    start_ms: int
    requests: float
    tokens: float
    cost_usd: float


class Model(Protocol):
    """Something that goes from window to window."""

    def step(self, window: Window) -> float:
        """Score the window, then learn it."""
        ...


class Learned(NamedTuple):
    """A model, and where its next window starts."""

    next_ms: int
    model: Model


@dataclass(frozen=True)
class Windowed:
    """A model stepped over whole windows. A score is known when its window is over, plus `delay_ms`."""

    fresh: Callable[[], Model]
    width_ms: int
    delay_ms: int = 0

    def learned(self, history: KeyHistory) -> Learned:
        model = self.fresh()
        next_ms = history.start_ms + (history.test_ms - history.start_ms) // self.width_ms * self.width_ms
        for window in _windows(history, history.start_ms, next_ms, self.width_ms):
            model.step(window)
        return Learned(next_ms, model)

    def scores(self, state: Learned, history: KeyHistory) -> Scores:
        model = deepcopy(state.model)
        windows = list(_windows(history, state.next_ms, history.end_ms, self.width_ms))
        scores = [model.step(window) for window in windows]
        known = [window.start_ms + self.width_ms + self.delay_ms for window in windows]
        return Scores(np.array(known, np.int64), np.array(scores, np.float64))

    def __call__(self, history: KeyHistory) -> Scores:
        return self.scores(self.learned(history), history)


def _windows(history: KeyHistory, from_ms: int, until_ms: int, width_ms: int) -> Iterator[Window]:
    """All whole windows between the two moments, in order."""
    count = max(0, (until_ms - from_ms) // width_ms)
    low, high = np.searchsorted(history.ts_ms, (from_ms, from_ms + count * width_ms)).tolist()
    place = (history.ts_ms[low:high] - from_ms) // width_ms
    sums = [
        np.bincount(place, column[low:high], minlength=count).tolist()
        for column in (history.requests, history.tokens, history.cost_usd)
    ]
    for at, (requests, tokens, cost_usd) in enumerate(zip(*sums, strict=True)):
        yield Window(from_ms + at * width_ms, requests, tokens, cost_usd)
