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
_STEPS: Final = (-1.5, -1.0, -0.5, -0.25, 0.25, 0.5, 1.0, 1.5)  # moves of one family: at most 30 times as many alarms
_ROUNDS: Final = 3
_WORTH: Final = 0.995  # a move must lower the loss by half a percent; a smaller gain is chance
_SHIFTS: Final = tuple(np.arange(-2.25, 4.3, 0.25).tolist())  # of all thresholds together


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
    floors: Array  # in force now, one per family of FAMILIES

    def point(self, floors: Array) -> Point:
        return Point(floors, self.alerts(floors) / self.weeks, losses(self.thefts, floors, self.responses.ladder))

    def alerts(self, floors: Array) -> int:
        """Incidents that would open: of one key another after silence, and after the time in which none reopens."""
        told = self.records.where(self.records.score >= floors[self.records.family])
        if not len(told.key):
            return 0
        resolve_ms, reopen_ms = (int(s * 1000) for s in (self.responses.resolve_after_s, self.responses.reopen_after_s))
        begins = np.flatnonzero(np.diff(told.key, prepend=-1) | (np.diff(told.at_ms, prepend=0) > resolve_ms))
        ends = np.append(begins[1:], len(told.key)) - 1
        count, key, quiet_until = 0, -1, 0
        for mine, end in zip(told.key[begins].tolist(), told.at_ms[ends].tolist(), strict=True):
            if mine == key and end < quiet_until:
                continue  # too soon after the last one: nobody is told, and the time goes on
            count, key, quiet_until = count + 1, mine, end + resolve_ms + reopen_ms
        return count


def rate_of(score: float) -> float:
    """The `alarm_per_key_week` whose threshold is this score; three digits are enough for anybody."""
    return rounded(BLOCKS_PER_WEEK * 10**-score, 3)


def floors_of(rates: dict[str, float]) -> Array:
    """Thresholds of learned families by their rates; a family without one is switched off."""
    floors = np.full(len(FAMILIES), -np.inf)
    for at, family in enumerate(CALIBRATED):
        floors[at] = calibration.threshold(rates[family]) if family in rates else np.inf
    return floors


def moved_together(search: Search, shift: float) -> Array:
    """The thresholds in force, all higher by `shift` score units: ten times rarer for each."""
    floors = search.floors.copy()
    learned = slice(0, len(CALIBRATED))
    known, loosest = np.isfinite(floors[learned]), np.minimum(floors[learned], LOOSE_SCORE)
    floors[learned] = np.where(known, np.clip(floors[learned] + shift, loosest, _STRICTEST), np.inf)
    return floors


def curve(search: Search) -> list[tuple[float, Point]]:
    """From loose to strict: by how many times all rates are changed together, and what that comes to."""
    return [(rounded(10**-shift, 3), search.point(moved_together(search, shift))) for shift in _SHIFTS]


def choose(search: Search, per_week: float) -> Point:
    """At most so many alerts a week, and with that the least loss: all thresholds together, then family by family.

    One alert more than the history shows is reckoned with, so that a short history proves little. What gains nothing is
    not changed. Alerts that the strictest thresholds do not take away are no reason to be strict.
    """
    unavoidable = search.alerts(moved_together(search, max(_SHIFTS)))
    allowed = max(per_week * search.weeks - 1, float(unavoidable))
    best = _together(search, allowed)
    middle = best.floors.copy()
    for _ in range(_ROUNDS):
        before = best
        for at in np.flatnonzero(np.isfinite(middle[: len(CALIBRATED)])).tolist():
            best = _moved(search, best, at, middle=float(middle[at]), allowed=allowed)
        if best is before:
            break
    return best


def _together(search: Search, allowed: float) -> Point:
    """The nearest to what is in force, unless it can be shown to be worse than one further off."""
    shifts = sorted(_SHIFTS, key=abs)
    within = [floors for shift in shifts if search.alerts(floors := moved_together(search, shift)) <= allowed]
    best = search.point(within[0])
    for floors in within[1:]:
        point = search.point(floors)
        best = point if point.losses.lost_usd < best.losses.lost_usd * _WORTH else best
    return best


def _moved(search: Search, best: Point, at: int, *, middle: float, allowed: float) -> Point:
    """The best place for one family's threshold, given the others."""
    for step in _STEPS:
        floors = best.floors.copy()
        floors[at] = min(max(middle + step, LOOSE_SCORE), _STRICTEST)
        if search.alerts(floors) <= allowed:
            point = search.point(floors)
            best = point if _is_better(point, best) else best
    return best


def _is_better(point: Point, best: Point) -> bool:
    """Less loss counts; for the same loss fewer alerts do."""
    lost, least = point.losses.lost_usd, best.losses.lost_usd
    return lost < least * _WORTH or (lost <= least and point.per_week < best.per_week)


def halves(search: Search, first: Callable[[str], bool]) -> tuple[Search, Search]:
    """The keys for which `first` holds, and the others."""
    parts = []
    for wanted in (True, False):
        names = [name for name in search.records.keys if first(name) is wanted]
        thefts = [theft for theft in search.thefts if first(theft.key_id) is wanted]
        parts.append(Search(search.records.of_keys(names), thefts, search.weeks, search.responses, search.floors))
    return parts[0], parts[1]
