"""A closed wave of keys, and what the calibrated families make of it: from raw scores to scores and thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from detectors import calibration, support
from detectors.allowances import Allowed
from detectors.close import Close, Shared
from detectors.ensemble import BY_FAMILY
from detectors.families import CALIBRATED
from detectors.population import Population
from detectors.state import Array, State
from schemas.config.detectors import DetectorsConfig


@dataclass(frozen=True, slots=True, eq=False)
class Wave:
    """A closed wave: who, what is known of them, what each detector made of it."""

    slots: Array
    close: Close
    states: dict[str, State]  # by family, after the step
    raws: dict[str, Array]  # by family
    columns: State = field(default_factory=dict)  # the table of keys itself: as of this wave until the next is folded
    places: Array = field(default_factory=lambda: np.zeros(0, np.int64))  # the keys' rows in it
    allowed: Allowed | None = None  # by marks and announced times; see `Judge.allowing`


class Scored(NamedTuple):
    """What one learned family makes of a wave, before anything is told."""

    family: str
    raw: Array
    score: Array  # -log10 of how often a healthy key shows this in a 10-minute window
    tell: Array  # False: not worth telling, whatever the score


def scored(wave: Wave, shared: Shared, population: Population, settings: DetectorsConfig) -> list[Scored]:
    """The calibrated families that have something to say of the wave, each supported by the others."""
    alone = list(_alone(wave, shared, population, settings))
    lift = support.lifts({one.family: one.score for one in alone})
    return [one._replace(score=one.score + lift[one.family]) for one in alone]


def _alone(wave: Wave, shared: Shared, population: Population, settings: DetectorsConfig) -> Iterator[Scored]:
    for family in CALIBRATED:
        if family not in wave.raws or not wave.raws[family].any():
            continue  # a raw score of 0 is a score of 0
        raw, tell = _judged(family, wave, shared, settings)
        unexpected = raw if wave.allowed is None else _beyond(family, wave, raw, wave.allowed.widened(family))
        score = calibration.scores(population.tables, shared.cohorts, CALIBRATED.index(family), unexpected)
        yield Scored(family, raw, score, tell if wave.allowed is None else tell & (unexpected > 0))


def _beyond(family: str, wave: Wave, raw: Array, expected: Array) -> Array:
    """What is left of the raw score beyond what people expect."""
    own = getattr(BY_FAMILY[family], "beyond", None)
    left: Array = raw - expected if own is None else own(wave.states[family], wave.close, raw, expected)
    return left


def threshold(family: str, wave: Wave, settings: DetectorsConfig) -> Array:
    """The score from which a calibrated family speaks of each key of the wave."""
    floor = np.full(len(wave.slots), calibration.threshold(getattr(settings, family).alarm_per_key_week))
    return floor if wave.allowed is None else floor + wave.allowed.raised(family)


def _judged(family: str, wave: Wave, shared: Shared, settings: DetectorsConfig) -> tuple[Array, Array]:
    """Raw score to be calibrated, and where it may be told."""
    raw, judged = wave.raws[family], getattr(BY_FAMILY[family], "judged", None)
    if judged is None:
        return raw, np.ones(len(raw), bool)
    told: tuple[Array, Array] = judged(wave.states[family], wave.close, raw, shared, settings)
    return told
