"""From a raw score to -log10 of the chance that a healthy key reaches it within a 10-minute block.

Each cohort counts the block maxima of its keys by raw score. A built-in prior stands in until there are enough, and
beyond the data the tail is taken as exponential, but never lighter than that of the changes every healthy key makes
now and then (a new model, another office, a launch): quiet weeks do not prove that these never come.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.explain import BLOCKS_PER_WEEK
from detectors.families import LEARNED
from detectors.state import Array

BIN: Final = 0.05
BINS: Final = 200
_PRIOR_BLOCKS: Final = 300.0
_PRIOR: Final = tuple((learned.chance, learned.fold) for learned in LEARNED.values())
_CHANGE: Final = tuple((learned.change, learned.change_fold) for learned in LEARNED.values())
_TAIL_FROM: Final = 0.01  # the tail begins where one block in a hundred gets
_E_FOLD_BOUNDS: Final = (0.08, 2.0)
HALF_LIFE_BLOCKS: Final = 4032  # four weeks
_EDGES: Final = np.arange(BINS + 1) * BIN


def _exponential(chances_and_folds: tuple[tuple[float, float], ...]) -> Array:
    """[family, edge] chance of reaching each edge."""
    chance, fold = np.array(chances_and_folds).T
    falling: Array = chance[:, None] * np.exp(-_EDGES / fold[:, None])
    return falling


def _prior_survival() -> Array:
    survival = np.maximum(_exponential(_PRIOR), _CHANGING)
    survival[:, 0] = 1.0
    return survival


_CHANGING: Final = _exponential(_CHANGE)
PRIOR_SURVIVAL: Final = _prior_survival()
"""[family, edge]: chance that a block maximum reaches each edge, before any data."""


def bins_of(raw: Array) -> Array:
    return np.minimum((np.maximum(raw, 0.0) / BIN).astype(np.int64), BINS - 1)


def table(counts: Array, everyone: Array | None = None) -> Array:
    """[..., family, edge] scores from [..., family, bin] counts of a cohort.

    While a cohort has seen little it leans on `everyone`, the counts of all cohorts together, and these on the
    built-in prior.

    >>> empty = table(np.zeros((len(LEARNED), BINS)))
    >>> busy = table(np.array([[1000.0] * 40 + [0.0] * 160] * len(LEARNED)))
    >>> bool((empty[:, 20] > busy[:, 20]).all()), bool((np.diff(busy) >= 0).all())
    (True, True)
    """
    everywhere = PRIOR_SURVIVAL if everyone is None else _survival(everyone, PRIOR_SURVIVAL)
    survival = _survival(counts, everywhere)
    # Never at edge 0, which every block reaches: most families are silent in nearly all of them.
    start = np.maximum((survival >= _TAIL_FROM).sum(axis=-1, keepdims=True) - 1, 1)
    at_start = np.take_along_axis(survival, start, axis=-1)
    beyond = np.where(np.arange(BINS + 1) > start, survival, 0.0).sum(axis=-1, keepdims=True)
    fold = np.clip(BIN * (beyond / at_start + 0.5), *_E_FOLD_BOUNDS)
    tail = at_start * np.exp(-(_EDGES - start * BIN) / fold)
    fitted = np.where(np.arange(BINS + 1) > start, tail, survival)
    scores: Array = -np.log10(np.maximum(fitted, _CHANGING))
    return np.maximum.accumulate(scores, axis=-1)


def _survival(counts: Array, prior: Array) -> Array:
    """[..., family, edge] chance of reaching each edge: the prior, as if seen in so many blocks, and what was seen."""
    reached = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    reached = np.concatenate((reached, np.zeros((*counts.shape[:-1], 1))), axis=-1)
    blended: Array = (_PRIOR_BLOCKS * prior + reached) / (_PRIOR_BLOCKS + reached[..., :1])
    return blended


def scores(tables: Array, cohort: Array, family: int, raw: Array) -> Array:
    """Interpolated score of each raw value under its cohort's table."""
    place = np.clip(raw / BIN, 0.0, BINS - 1e-9)
    low = place.astype(np.int64)
    left, right = tables[cohort, family, low], tables[cohort, family, low + 1]
    scored: Array = left + (right - left) * (place - low)
    return scored


def threshold(alarm_per_key_week: float) -> float:
    """The score whose alarms a healthy key raises this often.

    >>> round(threshold(0.1), 2)
    4.0
    """
    return float(-np.log10(min(alarm_per_key_week / BLOCKS_PER_WEEK, 1.0)))
