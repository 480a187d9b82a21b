"""Why each family did or did not speak of one key around one time: its score, its threshold, what is usual.

An accountant watches a core while it plays a history, and keeps each family's strongest second of the stretch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from detectors import drift
from detectors.breaches import SETTING
from detectors.close import Close, Told
from detectors.ensemble import BY_FAMILY, MODULES
from detectors.explain import number, percent
from detectors.families import CALIBRATED
from detectors.rings import WINDOWS
from detectors.state import Array
from detectors.wave import Scored, Wave, scored, threshold
from schemas.records import Finding

if TYPE_CHECKING:
    from detectors.at_once import AtOnce
    from detectors.core import ScoreCore

_USUAL_FROM: Final = {
    "velocity": "", "mix": "", "economics": "", "rhythm": "", "errors": "",
    "origin": "; ", "drift": ": ", "repetition": ", ", "cohort": ": ",
}  # fmt: skip
"""Of a key that does nothing unusual: the mark in a family's sentence behind which it says what is usual."""
_SETTINGS_OF: Final = {module.FAMILY: name for name, module in MODULES.items()}
_LEAST_DAYS: Final = {"drift": ("drift_days", drift.LEARNING_DAYS), "rhythm": ("rhy_days", 2)}
"""Completed active days before which a family's raw score is 0 by itself, and the state that counts them."""
_CAPS_OF: Final = {"policy": ("limit", slice(0, 3)), "budget": ("budget", slice(3, 5))}

_YES_OR_NO: Final = frozenset(SETTING.values())
"""Detectors of what policies do not allow, whatever is used of the limits."""


@dataclass(frozen=True)
class FamilyAccount:
    """One family at its strongest second. `score` and `threshold` are on the family's own scale: -log10 of how often
    a healthy key shows this in a 10-minute window; for limits how much of the limit is used.
    """

    family: str
    at_s: int
    raw: float
    score: float
    threshold: float
    fired: bool
    said: str  # what it sees and what is usual, in words; empty when there is nothing to say
    why: str  # it fired, or why it did not

    @property
    def margin(self) -> float:
        """Share of its threshold that the score reaches; infinite where any score will do."""
        return self.score / self.threshold if self.threshold > 0 else float("inf")


@dataclass(frozen=True)
class KeyAccount:
    """The key at the last second of the stretch in which it was used, and every family, strongest first."""

    key_id: str
    at_s: int
    windows: int  # active 10-minute windows completed
    requests: int  # ever
    sums: dict[str, float]  # by `rings.WINDOWS`
    families: tuple[FamilyAccount, ...]
    findings: tuple[Finding, ...]


class Accountant:
    """Observes a core; ask `account` when the stretch has been played."""

    def __init__(self, core: ScoreCore, key_id: str, *, from_s: int, until_s: int) -> None:
        """Both ends belong to the stretch, in seconds of event time."""
        self._core, self._key_id = core, key_id
        self._from_s, self._until_s = from_s, until_s
        self._best: dict[str, FamilyAccount] = {}
        self._findings: list[Finding] = []
        self._last: KeyAccount | None = None
        self.at_once: AtOnce | None = None
        self.last_used_s: int | None = None
        """The key's last use up to the end of the stretch, within it or before."""
        core.observers.append(self)

    def account(self) -> KeyAccount | None:
        """None when the key was not used within the stretch."""
        return self._last

    def saw(self, wave: Wave, told: list[Finding], due: Array) -> None:
        slot = self._core.book.slot_of.get(self._key_id)
        at = int(np.searchsorted(wave.slots, slot)) if slot is not None else len(wave.slots)
        if at >= len(wave.slots) or wave.slots[at] != slot or wave.close.second[at] > self._until_s:
            return
        self.last_used_s = int(wave.close.second[at])
        if self.last_used_s < self._from_s:
            return
        mine = [finding for finding in told if finding.key_id == self._key_id]
        self._findings += mine
        for family in self._opinions(wave, at, {finding.family: finding for finding in reversed(mine)}):
            known = self._best.get(family.family)
            if known is None or (family.fired, family.margin) > (known.fired, known.margin):
                self._best[family.family] = family
        self._last = self._key(wave.close, at)

    def _key(self, close: Close, at: int) -> KeyAccount:
        order = sorted(self._best.values(), key=lambda family: (-family.margin, family.family))
        return KeyAccount(
            key_id=self._key_id, at_s=int(close.second[at]), windows=int(close.windows[at]),
            requests=int(close.requests[at]), sums=dict(zip(WINDOWS, close.sums[at].tolist(), strict=True)),
            families=tuple(order),
            findings=tuple(sorted(self._findings, key=lambda told: (told.at_ms, told.family, told.detector))),
        )  # fmt: skip

    def _opinions(self, wave: Wave, at: int, fired: dict[str, Finding]) -> list[FamilyAccount]:
        judge, population = self._core.judge, self._core.population
        wave = judge.allowing(wave)
        found = {each.family: each for each in scored(wave, judge.shared(wave, population), population, judge.settings)}
        return [
            _forbidden(told) if (told := fired.get(family)) and told.detector in _YES_OR_NO
            else self._opinion(family, wave, at, found.get(family), fired=told is not None)
            for family in _SETTINGS_OF
        ]  # fmt: skip

    def _opinion(self, family: str, wave: Wave, at: int, found: Scored | None, *, fired: bool) -> FamilyAccount:
        settings = self._core.judge.settings
        learned = family in CALIBRATED
        floor = float(threshold(family, wave, settings)[at]) if learned else _limit(family, wave, at)
        if learned:
            raw, score = (float(found.raw[at]), float(found.score[at])) if found else (0.0, 0.0)
        else:
            raw = score = float(wave.raws[family][at]) if family in wave.raws else 0.0
        said, allowed = self._words(family, wave, at, raw), wave.allowed.told(family, at)[0] if wave.allowed else ""
        over, tell = score >= floor if learned else score > floor, found is None or bool(found.tell[at])
        young = _young(getattr(settings, _SETTINGS_OF[family]), wave.close, at) or self._waits(family, wave, at)
        why = "fired" if fired else _why(
            getattr(settings, _SETTINGS_OF[family]), young, raw=raw, over=over, tell=tell,
            refractory_s=settings.time.refractory_s,
        )  # fmt: skip
        return FamilyAccount(
            family=family, at_s=int(wave.close.second[at]), raw=raw, score=max(score, 0.0), threshold=floor,
            fired=fired, said=said, why=why + allowed,
        )  # fmt: skip

    def _waits(self, family: str, wave: Wave, at: int) -> str:
        """What a family waits for that its settings do not tell; empty when it judges in full."""
        if family in _CAPS_OF:
            what, caps = _CAPS_OF[family]
            return f"no {what} is set for this key" if np.isinf(wave.close.caps[at, caps]).all() else ""
        if family in _LEAST_DAYS and family in wave.states:
            name, least = _LEAST_DAYS[family]
            if (days := int(wave.states[family][name][at])) < least:
                return f"warming up: {days} of {least} active days"
        cohort = self._core.book.columns["cohort"][wave.slots[at : at + 1]]
        if family == "cohort" and not self._core.population.forest.ready(cohort)[0]:
            return "warming up: its cohort has shown too little yet"
        return ""

    def _words(self, family: str, wave: Wave, at: int, raw: float) -> str:
        if family not in wave.states or (raw <= 0 and family not in _USUAL_FROM):
            return ""
        shared = self._core.judge.shared(wave, self._core.population)
        settings = self._core.judge.settings
        told: Told = BY_FAMILY[family].explain(wave.states[family], wave.close, shared, settings, at=at, raw=raw)
        return told.what if raw > 0 else _baseline(family, told)


def _forbidden(told: Finding) -> FamilyAccount:
    """What a policy does not allow: a matter of yes or no, whatever is used of the limits."""
    return FamilyAccount(
        family=told.family, at_s=told.at_ms // 1000, raw=told.score, score=told.score, threshold=1.0, fired=True,
        said=told.reason, why="fired",
    )  # fmt: skip


def _limit(family: str, wave: Wave, at: int) -> float:
    """How much of a limit may be used up."""
    return float(wave.allowed.limits[at]) if family == "policy" and wave.allowed is not None else 1.0


def _baseline(family: str, told: Told) -> str:
    """What is usual, of a sentence about something that is not unusual."""
    if family == "errors":
        return f"its usual share of refused requests is {percent(float(told.evidence['expected']))}"
    mark = _USUAL_FROM[family]
    return told.what.partition(mark)[2] if mark else told.what


def _why(section: Any, young: str, *, raw: float, over: bool, tell: bool, refractory_s: int) -> str:  # noqa: ANN401 - any family's settings
    """One clause, the first that holds."""
    if not section.enabled:
        return "switched off (`enabled: false`)"
    if raw <= 0:
        return young or "nothing unusual"
    if not over:
        return f"below its threshold{f'; {young}' if young else ''}"
    if not tell:
        least = getattr(section, "min_usd_per_min", None)
        return "too little money" + (f": less than {number(least)} USD/min (`min_usd_per_min`)" if least else "")
    return f"quiet: it spoke of this key less than {refractory_s} s before (`time.refractory_s`)"


def _young(section: Any, close: Close, at: int) -> str:  # noqa: ANN401 - any family's settings
    """What the family still waits for; empty when it judges in full."""
    least = getattr(section, "min_requests", 0)
    if close.requests[at] < least:
        return f"warming up: {int(close.requests[at])} of {least} requests (`min_requests`)"
    windows = getattr(section, "warmup_windows", 0)
    if close.windows[at] < windows:
        return f"young: {int(close.windows[at])} of {windows} windows of its own, so its cohort counts too"
    return ""
