"""Thresholds that come to so many alerts a week, and what other thresholds would come to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from detectors import calibration
from detectors.explain import BLOCKS_PER_WEEK, rounded
from detectors.families import CALIBRATED
from detectors.state import Array
from schemas.config import ResponsesConfig
from service.tune_record import FAMILIES, LOOSE_SCORE, Records
from service.tune_thefts import Losses, Theft, losses

_STRICTEST: Final = 9.0
_FINE: Final = 0.05
_STEPS: Final = (-1.5, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 1.5)  # moves of one family: at most 30 times as many alarms
_ROUNDS: Final = 3
_WORTH: Final = 0.995  # a move must lower the loss by half a percent; a smaller gain is chance
_CURVE: Final = 25


class Point(NamedTuple):
    """What one set of thresholds comes to."""

    floors: Array  # one per family of FAMILIES; minus infinity where the threshold is not ours to move
    per_week: float
    losses: Losses

    def rates(self) -> dict[str, float]:
        """`alarm_per_key_week` of each learned family."""
        return {family: rate_of(float(self.floors[at])) for at, family in enumerate(CALIBRATED)}


@dataclass(frozen=True)
class Search:
    """A history of alarms and thefts to choose by."""

    records: Records  # without the thefts
    thefts: Sequence[Theft]
    weeks: float
    responses: ResponsesConfig

    def point(self, floors: Array) -> Point:
        return Point(floors, self.alerts(floors) / self.weeks, losses(self.thefts, floors, self.responses.ladder))

    def alerts(self, floors: Array) -> int:
        """Incidents that would open: of one key a new one after silence, and after the time in which none reopens."""
        quiet_s = self.responses.resolve_after_s + self.responses.reopen_after_s
        told = self.records.where(self.records.score >= floors[self.records.family])
        if not len(told.key):
            return 0
        new = np.diff(told.key) != 0
        late = np.diff(told.at_ms) > quiet_s * 1000
        return 1 + int((new | late).sum())


def rate_of(score: float) -> float:
    """The `alarm_per_key_week` whose threshold is this score; three digits are enough for anybody."""
    return rounded(BLOCKS_PER_WEEK * 10**-score, 3)


def floors_of(rates: dict[str, float]) -> Array:
    """Thresholds of learned families by their rates; a family without one is switched off."""
    floors = np.full(len(FAMILIES), -np.inf)
    for at, family in enumerate(CALIBRATED):
        floors[at] = calibration.threshold(rates[family]) if family in rates else np.inf
    return floors


def together(score: float) -> Array:
    """The same threshold for every learned family."""
    floors = np.full(len(FAMILIES), -np.inf)
    floors[: len(CALIBRATED)] = score
    return floors


def curve(search: Search) -> list[Point]:
    """From loose to strict, the same threshold for every family."""
    return [search.point(together(score)) for score in np.linspace(LOOSE_SCORE, _STRICTEST, _CURVE).tolist()]


def choose(search: Search, per_week: float) -> Point:
    """At most so many alerts a week, and with that the least loss: first one threshold for all, then family by family.

    When limits, budgets and drift alone come to more, the strictest of all.
    """
    allowed = per_week * search.weeks
    best = search.point(_loosest_within(search, allowed))
    middle = best.floors.copy()
    for _ in range(_ROUNDS):
        before = best
        for at in range(len(CALIBRATED)):
            best = _moved(search, best, at, middle=middle[at], allowed=allowed)
        if best is before:
            break
    return best


def _loosest_within(search: Search, allowed: float) -> Array:
    for score in np.arange(LOOSE_SCORE, _STRICTEST, _FINE).tolist():
        if search.alerts(together(score)) <= allowed:
            return together(score)
    return together(_STRICTEST)


def _moved(search: Search, best: Point, at: int, *, middle: float, allowed: float) -> Point:
    """The best place for one family's threshold, given the others."""
    for step in _STEPS:
        floors = best.floors.copy()
        floors[at] = min(max(middle + step, LOOSE_SCORE), _STRICTEST)
        if search.alerts(floors) <= allowed:
            best = min(best, search.point(floors), key=_preference(best))
    return best


def _preference(best: Point) -> Callable[[Point], tuple[float, float]]:
    """Less loss counts; for the same loss fewer alerts do."""
    least = best.losses.lost_usd

    def rank(point: Point) -> tuple[float, float]:
        lost = point.losses.lost_usd
        return (lost if lost < least * _WORTH else max(lost, least), point.per_week)

    return rank


def halves(search: Search, first: Callable[[str], bool]) -> tuple[Search, Search]:
    """The keys for which `first` holds, and the others."""
    parts = []
    for wanted in (True, False):
        names = [name for name in search.records.keys if first(name) is wanted]
        thefts = [theft for theft in search.thefts if first(theft.key_id) is wanted]
        parts.append(Search(search.records.of_keys(names), thefts, search.weeks, search.responses))
    return parts[0], parts[1]
