"""What was said of keys lately, so that one theft is not told every second: the quiet time, and what is far worse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from detectors.breaches import BITS, Breach
from detectors.state import Array
from schemas.records import Family

Statement = Breach | Family
BROKEN: Final[tuple[Statement, ...]] = ("policy", "budget")  # raw score: how many times the limit is used up
CERTAIN: Final = (*BROKEN, *BITS)
_WORSE_SCORE: Final = 1.0  # ten times rarer
_WORSE_RATIO: Final = 10.0
_WORSE_USD_RATIO: Final = 3.0
_WORSE_USD_PER_MIN: Final = 0.3  # below this a growing spend waits for its turn
_QUIET_LIMIT: Final = 50_000


class Told(NamedTuple):
    """What was said last of a key: when, how rare, at which spend in the minute before."""

    second: int
    score: float
    usd_per_min: float


class Quiet(NamedTuple):
    """What ends the silence about a key: such a score, so much spend, or this second."""

    score: float
    usd_per_min: float
    until_s: int


class Said:
    """By key_id and statement."""

    def __init__(self, refractory_s: int) -> None:
        self.refractory_s = refractory_s
        self._told: dict[tuple[str, str], Told] = {}

    def copy(self, refractory_s: int) -> Said:
        other = Said(refractory_s)
        other._told = dict(self._told)
        return other

    def again(self, key_id: str, what: str, second: int) -> bool:
        """Whether it was said of this very second."""
        last = self._told.get((key_id, what))
        return last is not None and last.second == second

    def note(self, key_id: str, what: str, now: Told) -> bool:
        """Say it now; False, and not said, while it was said lately and neither score nor spend are far worse."""
        quiet = self._quiet(key_id, what, now.second)
        if quiet and not (now.score >= quiet.score or now.usd_per_min >= quiet.usd_per_min):
            return False
        self._told[key_id, what] = now
        return True

    def quiet(self, key_id: str, what: str, second: int) -> Quiet | None:
        """What must come for it to be said again of a row; None: it was not said lately. Of one second it is once."""
        if self.again(key_id, what, second):
            return Quiet(float("inf"), float("inf"), second + 1)
        return self._quiet(key_id, what, second)

    def first(
        self, key_id: str, what: str, second: int, *, where: Array, score: Array, usd_per_min: Array
    ) -> int | None:
        """The first of a key's rows `where` it holds, at which it is to be said."""
        if quiet := self.quiet(key_id, what, second):
            where = where & ((score >= quiet.score) | (usd_per_min >= quiet.usd_per_min))
        found = np.flatnonzero(where)
        return int(found[0]) if len(found) else None

    def _quiet(self, key_id: str, what: str, second: int) -> Quiet | None:
        """Ten times rarer, or three times the spend: the ladder must hear of a theft that has only begun."""
        last = self._told.get((key_id, what))
        if last is None or second - last.second >= self.refractory_s:
            return None
        worse = last.score * _WORSE_RATIO if what in CERTAIN else last.score + _WORSE_SCORE
        usd_per_min = max(_WORSE_USD_RATIO * last.usd_per_min, _WORSE_USD_PER_MIN)
        return Quiet(worse, usd_per_min, last.second + self.refractory_s)

    def forget(self, clock_s: int) -> None:
        """Drop what no longer keeps anything quiet, when there is much of it. To be called between waves."""
        if len(self._told) > _QUIET_LIMIT:
            self.restore(self.export(clock_s))

    def export(self, clock_s: int) -> list[tuple[str, str, int, float, float]]:
        """Who must be kept quiet about, sorted."""
        lately = clock_s - self.refractory_s
        return sorted((key, what, *told) for (key, what), told in self._told.items() if told.second > lately)

    def restore(self, told: Iterable[tuple[str, str, int, float, float]]) -> None:
        self._told = {(key_id, what): Told(int(at), score, usd) for key_id, what, at, score, usd in told}
