"""The published scoring of the Numenta Anomaly Benchmark (NAB), implemented from its formulas.

Each labelled window is worth most where it opens and nothing where it closes, by a scaled sigmoid; only its best
detected point counts. A detection outside costs by its distance behind the last window. The first 15 % of a file (at
most 750 points) do not count. One threshold for all files is the best one for the profile, chosen on the very files
that are scored. 0 is a detector that says nothing, 100 one that names the first point of each window and no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.nab.corpus import Window

Floats = NDArray[np.float64]
PROBATION: Final = 0.15
PROBATION_MOST: Final = 750
_FAR: Final = 3.0  # window lengths behind a window at which a false detection costs all


@dataclass(frozen=True)
class Profile:
    """What a user cares for: the weights of a window found, of a false point, of a window missed."""

    name: str
    found: float
    false: float
    missed: float


PROFILES: Final = (
    Profile("standard", found=1.0, false=0.11, missed=1.0),
    Profile("reward_low_FP_rate", found=1.0, false=0.22, missed=1.0),
    Profile("reward_low_FN_rate", found=1.0, false=0.11, missed=2.0),
)


@dataclass(frozen=True)
class Steps:
    """What changes as a threshold falls: at `score`, so much more reward, windows found, cost of false points."""

    score: Floats
    reward: Floats
    found: Floats
    cost: Floats
    windows: int


@dataclass(frozen=True)
class Best:
    """A threshold and the normalised score of the files at it, in percent."""

    threshold: float
    score: float


def probation(length: int) -> int:
    """Points at the start of a file that are not scored.

    >>> probation(4032), probation(15_902)
    (604, 750)
    """
    return min(int(PROBATION * length), PROBATION_MOST)


def scaled_sigmoid(position: Floats) -> Floats:
    """From almost 1 at a window's start (-1) over 0 at its end (0) to -1 far behind it.

    >>> scaled_sigmoid(np.array([-1.0, -0.5, 0.0, 1.0, 3.0])).round(3).tolist()
    [0.987, 0.848, 0.0, -0.987, -1.0]
    """
    inside = 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, _FAR))) - 1.0
    return np.where(position >= _FAR, -1.0, inside)


def worths(length: int, windows: Sequence[Window]) -> tuple[Floats, NDArray[np.int64]]:
    """For each point what a detection there is worth before weights, and the number of its window, -1 outside."""
    position, owner = np.full(length, _FAR), np.full(length, -1)
    for number, (first, last) in enumerate(windows):
        width = last - first + 1
        position[first : last + 1] = -(last - np.arange(first, last + 1) + 1) / width
        owner[first : last + 1] = number
        position[last + 1 :] = np.arange(1, length - last) / (width - 1)
    worth = scaled_sigmoid(position)
    worth[owner >= 0] /= scaled_sigmoid(np.array([-1.0]))[0]
    return worth, owner


def steps(scores: Floats, windows: Sequence[Window]) -> Steps:
    """One file's steps, the highest score first; points that change nothing are left out."""
    worth, owner = worths(len(scores), windows)
    start = probation(len(scores))
    scores, worth, owner = scores[start:], worth[start:], owner[start:]
    numbers = np.unique(owner[owner >= 0])
    rows = [_outside_rows(scores[owner < 0], worth[owner < 0])]
    rows.extend(_window_rows(scores[owner == number], worth[owner == number]) for number in numbers)
    return _from_rows(np.concatenate(rows, axis=1), len(numbers))


def merge(files: Sequence[Steps]) -> Steps:
    """Steps of many files under one threshold."""
    rows = [np.stack((file.score, file.reward, file.found, file.cost)) for file in files]
    return _from_rows(np.concatenate(rows, axis=1), sum(file.windows for file in files))


def _from_rows(rows: Floats, windows: int) -> Steps:
    score, reward, found, cost = rows[:, np.argsort(-rows[0], kind="stable")]
    return Steps(score, reward, found, cost, windows)


def _outside_rows(scores: Floats, worth: Floats) -> Floats:
    """One row per score: false points of one score are all detected or none."""
    each, group = np.unique(scores, return_inverse=True)
    nothing = np.zeros(len(each))
    return np.stack((each, nothing, nothing, np.bincount(group, -worth, len(each))))


def _window_rows(scores: Floats, worth: Floats) -> Floats:
    order = np.argsort(-scores, kind="stable")
    best_so_far = np.maximum.accumulate(worth[order])
    gained = np.diff(best_so_far, prepend=0.0)
    found = np.zeros(len(order))
    found[0] = 1.0
    return np.stack((scores[order], gained, found, np.zeros(len(order))))[:, (gained != 0) | (found > 0)]


def best(files: Steps, profile: Profile) -> Best:
    """The threshold with the highest score; detections are the points at or above it."""
    totals = np.cumsum(_gains(files, profile))
    # Points of one score are detected together: only where the score changes is there a threshold.
    settled = np.flatnonzero(np.diff(files.score, append=-np.inf))
    at = settled[totals[settled].argmax()] if len(settled) else 0
    if not len(settled) or totals[at] <= 0.0:
        return Best(np.inf, 0.0)
    return Best(float(files.score[at]), _percent(float(totals[at]), files, profile))


def score_at(files: Steps, profile: Profile, threshold: float) -> float:
    """The normalised score, in percent, at a threshold chosen elsewhere."""
    return _percent(float(_gains(files, profile)[files.score >= threshold].sum()), files, profile)


def _gains(files: Steps, profile: Profile) -> Floats:
    """What each step adds to the score of saying nothing, which is every window missed."""
    gains: Floats = profile.found * files.reward + profile.missed * files.found - profile.false * files.cost
    return gains


def _percent(gained: float, files: Steps, profile: Profile) -> float:
    return 100.0 * gained / ((profile.found + profile.missed) * files.windows)
