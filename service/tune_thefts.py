"""One theft against thresholds: when it would be told, when it would be cut, and what it costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.state import Array
from schemas.config.responses import LadderConfig
from schemas.records import kinds_of_evidence
from service.backtest_side import CONTAINMENT_S
from service.tune_record import CERTAIN, FAMILIES, Records

_LEARNED: Final = np.array([place not in CERTAIN for place in range(len(FAMILIES))])
_DAY_MS: Final = 86_400_000


class Theft(NamedTuple):
    """A theft whose scores were recorded; all times in milliseconds of event time."""

    name: str  # its shape and size, or the mark that names it
    key_id: str
    from_ms: int
    until_ms: int  # not included: what happens later was not recorded
    goes_on: bool  # planted: nobody stops the thief at `until_ms`
    records: Records
    spent_ms: Array  # times of its events, rising
    spent_usd: Array  # running total

    def cost_usd(self, until_ms: float) -> float:
        """What is spent until then; beyond what was played at the mean rate, for a day at most."""
        if not len(self.spent_usd):
            return 0.0
        if until_ms < self.until_ms or not self.goes_on:
            place = int(np.searchsorted(self.spent_ms, until_ms, side="right"))
            return float(self.spent_usd[place - 1]) if place else 0.0
        total, lasted = float(self.spent_usd[-1]), max(self.until_ms - self.from_ms, 1)
        return total * min(until_ms - self.from_ms, _DAY_MS) / lasted


class Outcome(NamedTuple):
    """What thresholds make of one theft. Infinite where it is never told or cut."""

    told_ms: float
    cut_ms: float
    lost_usd: float


def outcome(theft: Theft, floors: Array, ladder: LadderConfig) -> Outcome:
    """`floors` has one threshold per family of FAMILIES. A theft that is told and not cut ends when a person answers;
    one that is not told within the time played goes on for a day, or to its known end.
    """
    first = _first_told(theft, floors)
    told_ms = float(first.min())
    sure = _first_told(theft, np.where(_LEARNED, np.maximum(floors, ladder.cut_score), floors))
    cut_ms = _cut_ms(theft, sure, ladder) + CONTAINMENT_S * 1000
    ends = min(cut_ms, told_ms + ladder.person_answers_min * 60_000)
    never = theft.from_ms + _DAY_MS if theft.goes_on else theft.until_ms
    return Outcome(told_ms, cut_ms, theft.cost_usd(ends if np.isfinite(ends) else never))


def _first_told(theft: Theft, floors: Array) -> Array:
    """When each family first speaks."""
    records, first = theft.records, np.full(len(FAMILIES), np.inf)
    over = records.score >= floors[records.family]
    np.minimum.at(first, records.family[over], records.at_ms[over].astype("f8"))
    return first


def _cut_ms(theft: Theft, first: Array, ladder: LadderConfig) -> float:
    """When the ladder has what it needs: a certain limit, or kinds of evidence and enough money at stake."""
    certain_ms = float(first[list(CERTAIN)].min())
    agreed_ms = _agreed_ms(first, ladder.families_for_cut)
    if not np.isfinite(agreed_ms):
        return certain_ms
    records = theft.records
    at_stake = records.excess * ladder.person_answers_min >= ladder.wrong_cut_usd
    later = records.at_ms[at_stake & (records.at_ms >= agreed_ms)]
    return min(certain_ms, float(later[0]) if len(later) else np.inf)


def _agreed_ms(first: Array, needed: int) -> float:
    order = np.argsort(first, kind="stable")
    spoken: list[str] = []
    for place in order[np.isfinite(first[order])].tolist():
        if FAMILIES[place] == "cohort":
            continue  # it supports, and proves nothing by itself
        spoken.append(FAMILIES[place])
        if kinds_of_evidence(spoken) >= needed:
            return float(first[place])
    return np.inf


class Losses(NamedTuple):
    """All thefts together."""

    thefts: int
    told: int
    cut: int
    lost_usd: float
    median_s: float  # from the first event to the message, of those told; NaN when none is


def losses(thefts: Sequence[Theft], floors: Array, ladder: LadderConfig) -> Losses:
    """What thresholds make of them."""
    found = [outcome(theft, floors, ladder) for theft in thefts]
    waits = [max(each.told_ms - theft.from_ms, 0.0) / 1000 for each, theft in zip(found, thefts, strict=True)]
    told = [wait for wait in waits if np.isfinite(wait)]
    return Losses(
        thefts=len(thefts), told=len(told), cut=sum(bool(np.isfinite(each.cut_ms)) for each in found),
        lost_usd=sum(each.lost_usd for each in found), median_s=float(np.median(told)) if told else float("nan"),
    )  # fmt: skip
