"""From scores to findings: who is over a threshold, the quiet time after a finding, and the sentence."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import Final, cast

import numpy as np

from detectors.allowances import Allowances, Marked
from detectors.breaches import BITS, Breach, explain, times_the_limit
from detectors.close import Shared, usd
from detectors.close import Told as Wording
from detectors.ensemble import BY_FAMILY
from detectors.explain import rarity, rounded
from detectors.keys import KeyBook, Names
from detectors.population import Population
from detectors.rows import FORBIDDEN, MODEL, SLOT
from detectors.said import BROKEN, CERTAIN, Said, Statement, Told
from detectors.sketch import sketch
from detectors.state import Array
from detectors.wave import Wave, scored, threshold
from schemas.config.detectors import DetectorsConfig
from schemas.records import Family, Finding, Severity, stable_id

_CRITICAL_ABOVE: Final = 1.0  # this far above its threshold a score is critical: ten times rarer
_CRITICAL_USD_PER_MIN: Final = 5.0  # or this much spend above the usual
_END_MS: Final = 999  # of a second at whose end something is said again


class Judge:
    """Remembers only who was spoken of lately."""

    def __init__(self, settings: DetectorsConfig, book: KeyBook, *, models: Names, places: Names) -> None:
        self.settings = settings
        self._book, self._models, self._places = book, models, places
        self.said = Said(settings.time.refractory_s)
        self._shows = True  # screens show the scores of one judge
        self.allowances = Allowances(settings.announced, book, Marked())

    def beside(self, settings: DetectorsConfig) -> Judge:
        """A second judge of the same keys under other settings; what this one has said it has said too."""
        other = copy(self)
        other.settings, other.said, other._shows = settings, self.said.copy(settings.time.refractory_s), False
        other.allowances = Allowances(settings.announced, self._book, self.allowances.marked)
        return other

    def findings(self, wave: Wave, population: Population, due: Array) -> list[Finding]:
        """What is to be said of this wave, in no particular order; only of keys that are `due`."""
        shared, told, wave = self.shared(wave, population), list[Finding](), self.allowing(wave)
        best = np.zeros(len(wave.slots))
        for family, raw, score, tell in scored(wave, shared, population, self.settings):
            best = np.maximum(best, score)
            floor = threshold(family, wave, self.settings)
            for at in np.flatnonzero((score >= floor) & (raw > 0) & tell & due).tolist():
                told += self._say(
                    cast(Statement, family), wave, shared, at=at, score=float(score[at]), raw=float(raw[at])
                )
        if self._shows:
            self._book.columns["score"][wave.slots] = best
        return told + self._certain(wave, shared, due)

    def ahead(self, wave: Wave, population: Population) -> list[list[Finding]]:
        """What is certain of each key of a previewed wave, in their order, and was not said of its second before."""
        shared, wave, told = self.shared(wave, population), self.allowing(wave), list[list[Finding]]()
        for at in range(len(wave.slots)):
            told.append(self._certain(wave, shared, np.arange(len(wave.slots)) == at, ahead=True))
        return told

    def limits_times(self, slots: Array, seconds: Array) -> Array:
        """How many times each key's certain limits are in force, by what was announced."""
        allowed = self.allowances.at(slots, seconds)
        return np.ones(len(slots)) if allowed is None else allowed.limits

    def reconfigure(self, settings: DetectorsConfig) -> None:
        """New thresholds; owners and environments of keys are looked at again."""
        self.settings, self.said.refractory_s = settings, settings.time.refractory_s
        self.allowances = Allowances(settings.announced, self._book, self.allowances.marked)

    def allowing(self, wave: Wave) -> Wave:
        """The wave with what marks and announced times allow its keys."""
        allowed = self.allowances.at(wave.slots, wave.close.second)
        return wave if allowed is None else replace(wave, allowed=allowed)

    def shared(self, wave: Wave, population: Population) -> Shared:
        """What the keys of the wave share with others."""
        cohorts = self._book.columns["cohort"][wave.slots]
        return Shared(
            cohorts, population.prior_log[cohorts], population.forest, self._models.text_of, self._places.text_of
        )

    def _certain(self, wave: Wave, shared: Shared, due: Array, *, ahead: bool = False) -> list[Finding]:
        """What holds whatever was learned, at the end of the wave's second or `ahead` of it."""
        told = []
        for what in BROKEN:
            if what in wave.raws:
                used = (
                    wave.raws[what]
                    if wave.allowed is None or what == "budget"
                    else wave.raws[what] / wave.allowed.limits
                )
                for at in np.flatnonzero((used > 1) & due).tolist():
                    told += self._say(what, wave, shared, at=at, score=float(used[at]), ahead=ahead)
        banned = (wave.close.rows[FORBIDDEN] > 0) & due[wave.close.rows[SLOT]]
        if banned.any():
            told += self._breaches(wave, shared, wave.close.rows[:, banned], ahead=ahead)
        return told

    def _breaches(self, wave: Wave, shared: Shared, rows: Array, *, ahead: bool) -> list[Finding]:
        """What is to be said of these rows, each of which breaks a rule."""
        told = []
        for what, bit in BITS.items():
            mine = rows[:, rows[FORBIDDEN] & bit > 0]
            for at in np.unique(mine[SLOT]).tolist():
                watch = self._book.watch(int(wave.slots[at]))
                score = float(times_the_limit(what, mine[:, mine[SLOT] == at], watch).max())
                told += self._say(what, wave, shared, at=at, score=score, ahead=ahead)
        return told

    def _say(
        self, what: Statement, wave: Wave, shared: Shared, *, at: int, score: float, raw: float = 0.0,
        ahead: bool = False,
    ) -> list[Finding]:  # fmt: skip
        """One finding, or none while the same was said lately and neither the score nor the spend is far worse.

        What was said `ahead` of a second's end is said again only at its end.
        """
        now = Told(int(wave.close.second[at]), score, float(usd(wave.close, "1m")[at]))
        key_id = self._book.ids[int(wave.slots[at])]
        again = self.said.again(key_id, what, now.second)
        if (again and ahead) or not self.said.note(key_id, what, now):
            return []
        told = self._explain(what, wave, shared, at=at, raw=raw)
        return [self._finding(what, wave, told, shared, at=at, score=score, again=again)]

    def _explain(self, what: Statement, wave: Wave, shared: Shared, *, at: int, raw: float) -> Wording:
        if what in BITS:
            return self._explain_breach(cast(Breach, what), wave, at)
        told: Wording = BY_FAMILY[what].explain(wave.states[what], wave.close, shared, self.settings, at=at, raw=raw)
        return told

    def _explain_breach(self, what: Breach, wave: Wave, at: int) -> Wording:
        rows, slot = wave.close.rows, int(wave.slots[at])
        rows = rows[:, (rows[SLOT] == at) & (rows[FORBIDDEN] & BITS[what] > 0)]
        if what != "models":
            return explain(what, rows, self._book.watch(slot), self._places.text_of)
        hashed = int(rows[MODEL].min())
        model = self._models.text_of(hashed) or "a model"
        policy = self._book.policy_against(slot, model) or "no longer in force"
        return Wording("allowed_models", f"uses {model}, which policy {policy} does not allow",
                    {"observed": 1.0, "model": model, "policy": policy})  # fmt: skip

    def _finding(
        self, what: Statement, wave: Wave, told: Wording, shared: Shared, *, at: int, score: float, again: bool
    ) -> Finding:
        slot, second = int(wave.slots[at]), int(wave.close.second[at])
        key_id, certain = self._book.ids[slot], what in CERTAIN
        family: Family = "policy" if what in BITS else cast(Family, what)
        now = float(usd(wave.close, "1m")[at])
        usual = float(wave.states["velocity"]["vel_mean"][at]) if "velocity" in wave.states else 0.0
        ending = "this limit is certain" if certain else rarity(score)
        allowed, why = wave.allowed.told(what, at) if wave.allowed is not None else ("", {})
        return Finding(
            finding_id=stable_id("fnd", key_id, family, told.detector, second, *(["end"] if again else [])),
            at_ms=second * 1000 + (_END_MS if again else 0), key_id=key_id, family=family, detector=told.detector,
            severity=self._severity(what, wave, score, now - usual, at=at), score=rounded(score), certain=certain,
            reason=f"{told.what}; {ending}{allowed}",
            evidence={name: v if isinstance(v, str) else rounded(v) for name, v in (told.evidence | why).items()},
            usd_per_min=rounded(now), expected_usd_per_min=rounded(usual), facts=self._book.facts[slot],
            sketch=sketch(wave.columns, wave.states, wave.close, shared, slot=int(wave.places[at]), at=at)
            if wave.columns else None,
        )  # fmt: skip

    def _severity(self, what: Statement, wave: Wave, score: float, excess_usd_per_min: float, *, at: int) -> Severity:
        """Critical: a breached limit, a score ten times rarer than its threshold, or much money at once.

        Cohort findings only inform; drift and what a policy does not allow warn.
        """
        if what in {"cohort", "drift", *BITS}:
            return "info" if what == "cohort" else "warning"
        if what in BROKEN or excess_usd_per_min >= _CRITICAL_USD_PER_MIN:
            return "critical"
        floor = float(threshold(what, wave, self.settings)[at])
        return "critical" if score >= floor + _CRITICAL_ABOVE else "warning"
