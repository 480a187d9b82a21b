"""From raw scores to findings: calibration, thresholds, the quiet time after a finding, and the sentence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, cast

import numpy as np

from detectors import calibration
from detectors.close import Close, Shared, Told, usd
from detectors.ensemble import BY_FAMILY
from detectors.explain import rarity, rounded
from detectors.families import CALIBRATED
from detectors.keys import KeyBook, Names
from detectors.population import Population
from detectors.rows import FORBIDDEN, MODEL, SLOT
from detectors.state import Array, State
from schemas.config.detectors import DetectorsConfig
from schemas.records import Family, Finding, Severity, stable_id

_CRITICAL_ABOVE: Final = 1.0  # this far above its threshold a score is critical: ten times rarer
_CRITICAL_USD_PER_MIN: Final = 5.0  # or this much spend above the usual
_WORSE_SCORE: Final = 1.0  # ten times rarer
_WORSE_RATIO: Final = 10.0
_QUIET_LIMIT: Final = 50_000
Statement = Literal["policy", "models", "velocity", "mix", "origin", "drift", "cohort"]
_CERTAIN: Final = ("policy", "models")


@dataclass(frozen=True, slots=True, eq=False)
class Wave:
    """A closed wave: who, what is known of them, what each detector made of it."""

    slots: Array
    close: Close
    states: dict[str, State]  # by family, after the step
    raws: dict[str, Array]  # by family


class Judge:
    """Remembers only who was spoken of lately, so that one theft is not told every second."""

    def __init__(self, settings: DetectorsConfig, book: KeyBook, *, models: Names, places: Names) -> None:
        self.settings = settings
        self._book, self._models, self._places = book, models, places
        self._said: dict[tuple[str, str], tuple[int, float]] = {}  # (key_id, statement) -> second, score

    def findings(self, wave: Wave, population: Population, due: Array) -> list[Finding]:
        """What is to be said of this wave, in no particular order; only of keys that are `due`."""
        shared, told = self._shared(wave, population), list[Finding]()
        best = np.zeros(len(wave.slots))
        for family in CALIBRATED:
            if family not in wave.raws or not wave.raws[family].any():
                continue  # a raw score of 0 is a score of 0
            raw, tell = _judged(family, wave, shared, self.settings)
            score = calibration.scores(population.tables, shared.cohorts, CALIBRATED.index(family), raw)
            best = np.maximum(best, score)
            floor = calibration.threshold(getattr(self.settings, family).alarm_per_key_week)
            for at in np.flatnonzero((score >= floor) & (raw > 0) & tell & due).tolist():
                told += self._say(
                    cast(Statement, family), wave, shared, at=at, score=float(score[at]), raw=float(raw[at])
                )
        self._book.columns["score"][wave.slots] = best
        return told + self._certain(wave, shared, due) + self._drift(wave, shared, due)

    def _shared(self, wave: Wave, population: Population) -> Shared:
        cohorts = self._book.columns["cohort"][wave.slots]
        return Shared(
            cohorts, population.prior_log[cohorts], population.forest, self._models.text_of, self._places.text_of
        )

    def _certain(self, wave: Wave, shared: Shared, due: Array) -> list[Finding]:
        told = []
        if "policy" in wave.raws:
            for at in np.flatnonzero((wave.raws["policy"] > 1) & due).tolist():
                told += self._say("policy", wave, shared, at=at, score=float(wave.raws["policy"][at]))
        banned = (wave.close.rows[FORBIDDEN] > 0) & due[wave.close.rows[SLOT]]
        if banned.any():
            for at in np.unique(wave.close.rows[SLOT, banned]).tolist():
                told += self._say("models", wave, shared, at=at, score=1.0)
        return told

    def _drift(self, wave: Wave, shared: Shared, due: Array) -> list[Finding]:
        """Page-Hinkley says yes or no; its score is the threshold of the velocity family times how far it is over."""
        if "drift" not in wave.raws:
            return []
        ratios, told = wave.raws["drift"], []
        unit = calibration.threshold(self.settings.velocity.alarm_per_key_week)
        for at in np.flatnonzero((ratios > 1) & due).tolist():
            told += self._say("drift", wave, shared, at=at, score=unit * float(ratios[at]), raw=float(ratios[at]))
        return told

    def _say(
        self, what: Statement, wave: Wave, shared: Shared, *, at: int, score: float, raw: float = 0.0
    ) -> list[Finding]:
        """One finding, or none while the same was said lately and it is not ten times worse."""
        slot, second = int(wave.slots[at]), int(wave.close.second[at])
        key_id = self._book.ids[slot]
        last = self._said.get((key_id, what))
        if last is not None and second - last[0] < self.settings.time.refractory_s and not _worse(what, score, last[1]):
            return []
        self._said[key_id, what] = (second, score)
        return [self._finding(what, wave, self._explain(what, wave, shared, at=at, raw=raw), at=at, score=score)]

    def _explain(self, what: Statement, wave: Wave, shared: Shared, *, at: int, raw: float) -> Told:
        if what == "models":
            return self._explain_model(wave, at)
        told: Told = BY_FAMILY[what].explain(wave.states[what], wave.close, shared, self.settings, at=at, raw=raw)
        return told

    def _explain_model(self, wave: Wave, at: int) -> Told:
        rows = wave.close.rows
        hashed = int(rows[MODEL, (rows[SLOT] == at) & (rows[FORBIDDEN] > 0)].min())
        model = self._models.text_of(hashed) or "a model"
        policy = self._book.policy_against(int(wave.slots[at]), model) or "no longer in force"
        return Told("allowed_models", f"uses {model}, which policy {policy} does not allow",
                    {"observed": 1.0, "model": model, "policy": policy})  # fmt: skip

    def _finding(self, what: Statement, wave: Wave, told: Told, *, at: int, score: float) -> Finding:
        slot, second = int(wave.slots[at]), int(wave.close.second[at])
        key_id, certain = self._book.ids[slot], what in _CERTAIN
        family = cast(Family, "policy" if certain else what)
        now = float(usd(wave.close, "1m")[at])
        usual = float(wave.states["velocity"]["vel_mean"][at]) if "velocity" in wave.states else 0.0
        ending = "this limit is certain" if certain else rarity(score)
        return Finding(
            finding_id=stable_id("fnd", key_id, family, told.detector, second),
            at_ms=second * 1000, key_id=key_id, family=family, detector=told.detector,
            severity=self._severity(what, score, now - usual), score=rounded(score), certain=certain,
            reason=f"{told.what}; {ending}",
            evidence={name: v if isinstance(v, str) else rounded(v) for name, v in told.evidence.items()},
            usd_per_min=rounded(now), expected_usd_per_min=rounded(usual), facts=self._book.facts[slot],
        )  # fmt: skip

    def _severity(self, what: Statement, score: float, excess_usd_per_min: float) -> Severity:
        """Critical: a breached limit, a score ten times rarer than its threshold, or much money at once.

        Cohort findings only inform; drift and models warn.
        """
        if what in {"cohort", "drift", "models"}:
            return "info" if what == "cohort" else "warning"
        if what == "policy" or excess_usd_per_min >= _CRITICAL_USD_PER_MIN:
            return "critical"
        floor = calibration.threshold(getattr(self.settings, what).alarm_per_key_week)
        return "critical" if score >= floor + _CRITICAL_ABOVE else "warning"

    def forget(self, clock_s: int) -> None:
        """Drop what no longer keeps anything quiet, when there is much of it. To be called between waves."""
        if len(self._said) > _QUIET_LIMIT:
            self.restore(self.export(clock_s))

    def export(self, clock_s: int) -> list[tuple[str, str, int, float]]:
        """Who must be kept quiet about, sorted."""
        lately = clock_s - self.settings.time.refractory_s
        return sorted((key, what, at, score) for (key, what), (at, score) in self._said.items() if at > lately)

    def restore(self, said: Iterable[tuple[str, str, int, float]]) -> None:
        self._said = {(key_id, what): (second, score) for key_id, what, second, score in said}


def _worse(what: str, score: float, before: float) -> bool:
    return score >= before * _WORSE_RATIO if what in _CERTAIN else score >= before + _WORSE_SCORE


def _judged(family: str, wave: Wave, shared: Shared, settings: DetectorsConfig) -> tuple[Array, Array]:
    """Raw score to be calibrated, and where it may be told."""
    raw, judged = wave.raws[family], getattr(BY_FAMILY[family], "judged", None)
    if judged is None:
        return raw, np.ones(len(raw), bool)
    told: tuple[Array, Array] = judged(wave.states[family], wave.close, raw, shared, settings)
    return told
