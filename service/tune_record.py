"""Every score that any threshold worth thinking of could tell, recorded in one pass. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from detectors import calibration
from detectors.at_once import AtOnce
from detectors.close import usd
from detectors.core import ScoreCore
from detectors.families import CALIBRATED
from detectors.state import Array
from detectors.wave import Wave, scored, threshold
from schemas.records import Finding

LOOSEST: Final = 20.0
"""Alarms per key and week: more than anybody would want to hear of."""
LOOSE_SCORE: Final = calibration.threshold(LOOSEST)
_STEP: Final = 0.02  # within a minute a score that is so much higher is recorded again; less raises the last one
FAMILIES: Final = (*CALIBRATED, "policy", "budget")
"""Learned ones, whose threshold is `alarm_per_key_week`, then those that are counted as they are."""
CERTAIN: Final = (FAMILIES.index("policy"), FAMILIES.index("budget"))


class Records(NamedTuple):
    """One entry per recorded score, by key and time."""

    keys: tuple[str, ...]
    key: Array  # place in `keys`
    at_ms: Array
    family: Array  # place in FAMILIES
    score: Array  # above the family's threshold it is told; infinite where the threshold is not ours to move
    excess: Array  # USD per minute above the key's usual

    def of_keys(self, wanted: Iterable[str]) -> Records:
        """Those of some keys."""
        names = set(wanted)
        mine = np.array([name in names for name in self.keys], bool)[self.key] if len(self.key) else self.key > 0
        return self.where(mine)

    def where_from(self, from_ms: int) -> Records:
        """Those from a moment on."""
        return self.where(self.at_ms // 1000 >= from_ms // 1000)

    def where(self, mask: Array) -> Records:
        return Records(self.keys, *(column[mask] for column in self[1:]))


@dataclass(slots=True)
class _Row:
    slot: int
    at_ms: int
    family: int
    score: float
    excess: float


class Recorder:
    """Observes one core from a moment on."""

    def __init__(self, core: ScoreCore, *, from_ms: int = 0) -> None:
        self._core, self._from_ms = core, from_ms
        self.at_once: AtOnce | None = None
        self._rows: list[_Row] = []
        self._last: dict[tuple[int, int], _Row] = {}  # by slot and family
        core.observers.append(self)

    def saw(self, wave: Wave, told: list[Finding], due: Array) -> None:
        judge, population = self._core.judge, self._core.population
        late = due & (wave.close.second * 1000 >= self._from_ms)
        if not late.any():
            return
        wave = judge.allowing(wave)
        excess: Array | None = None
        for family, raw, score, tell in scored(wave, judge.shared(wave, population), population, judge.settings):
            floor = calibration.threshold(getattr(judge.settings, family).alarm_per_key_week)
            level = score - (threshold(family, wave, judge.settings) - floor)  # what marks allow is not ours to take
            least = min(floor, LOOSE_SCORE)  # what is in force may be looser still, and is to be counted too
            for at in np.flatnonzero((level >= least) & (raw > 0) & tell & late).tolist():
                excess = _excess(wave) if excess is None else excess
                self._keep(wave, at, CALIBRATED.index(family), float(level[at]), float(excess[at]))
        slots = self._core.book.slot_of
        for finding in told:
            if finding.family not in CALIBRATED and finding.at_ms >= self._from_ms:
                usual = finding.usd_per_min - finding.expected_usd_per_min
                place = FAMILIES.index(finding.family)
                self._rows.append(_Row(slots[finding.key_id], finding.at_ms, place, np.inf, max(usual, 0.0)))

    def _keep(self, wave: Wave, at: int, family: int, score: float, excess: float) -> None:
        slot, second = int(wave.slots[at]), int(wave.close.second[at])
        last = self._last.get((slot, family))
        if last is None or second // 60 != last.at_ms // 60_000 or score >= last.score + _STEP:
            row = self._last[slot, family] = _Row(slot, second * 1000, family, score, excess)
            self._rows.append(row)
        else:
            last.score = max(last.score, score)

    def records(self) -> Records:
        """All so far, by key and time."""
        names = tuple(self._core.book.ids)
        rows = sorted(self._rows, key=lambda row: (row.slot, row.at_ms, row.family))
        return Records(
            names, np.array([row.slot for row in rows], np.int64), np.array([row.at_ms for row in rows], np.int64),
            np.array([row.family for row in rows], np.int64), np.array([row.score for row in rows]),
            np.array([row.excess for row in rows]),
        )  # fmt: skip


def _excess(wave: Wave) -> Array:
    usual = wave.states["velocity"]["vel_mean"] if "velocity" in wave.states else 0.0
    over: Array = np.maximum(usd(wave.close, "1m") - usual, 0.0)
    return over


def joined(parts: Iterable[Records]) -> Records:
    """Records of several cores, whose keys differ, as one."""
    names: list[str] = []
    columns: list[tuple[Array, ...]] = []
    for part in parts:
        columns.append((part.key + len(names), *part[2:]))
        names += part.keys
    if not columns:
        nothing = np.zeros(0, np.int64)
        return Records((), nothing, nothing, nothing, np.zeros(0), np.zeros(0))
    return Records(tuple(names), *(np.concatenate(each) for each in zip(*columns, strict=True)))
