"""What keys learn from each other: calibration, a prior for young keys, and a forest, for each cohort.

All of it changes only when a 10-minute block of event time ends, from what the keys' own states then say. Within a
block every second is judged by the same published snapshot, so that neither frame cuts nor replays can be seen.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from detectors import calibration, cohort, velocity
from detectors.families import CALIBRATED, LEARN_CAPS, LEARNED, PEAKED
from detectors.river_models import Forest
from detectors.state import Array, KeyTable
from schemas.config.detectors import DetectorsConfig

MAX_COHORTS: Final = 128  # the first is shared by all that come too late for one of their own
TAIL_BLOCKS: Final = 36  # a key's peaks above the cap count once in six hours: one incident is one observation
_BELIEF_BLOCKS: Final = 10_000.0  # blocks a cohort must have seen until a peak above the cap counts in full
_SAMPLES: Final = 512
_PRIOR_PEAKS: Final = np.array([60, 200, 1000, 3000, 100e3, 300e3, 1.5e6, 5e6, 0.3, 1.0, 4.0, 12.0])
_PRIOR_KEYS: Final = 20.0
_PRIOR_RATE: Final = 0.02
_TYPICAL: Final = 0.75  # a young key is allowed what this share of grown-up keys keep within


class Population:
    """All cohorts of one partition."""

    def __init__(self, settings: DetectorsConfig) -> None:
        self.block = 0
        self._names: dict[tuple[str, str], int] = {("", ""): 0}
        self._counts = np.zeros((1, len(CALIBRATED), calibration.BINS))
        self._typical = np.zeros((1, 12))
        self._typical_keys = np.zeros(1)
        self.tables = calibration.table(self._counts)
        self.prior_log = self._prior()
        self._settings = settings
        self.forest = _forest(settings)
        self.forest.grow_to(1)

    def reconfigure(self, settings: DetectorsConfig) -> None:
        """New thresholds; a forest of another shape starts afresh."""
        old, new = self._settings.cohort, settings.cohort
        self._settings = settings
        if (old.n_trees, old.height, old.window_samples) != (new.n_trees, new.height, new.window_samples):
            self.forest = _forest(settings)
            self.forest.grow_to(len(self._names))

    def cohort_of(self, env: str, provider: str) -> int:
        """Number of the cohort; a new one starts from the built-in prior."""
        known = self._names.get((env, provider))
        if known is None:
            if len(self._names) >= MAX_COHORTS:
                return 0
            known = self._names[env, provider] = len(self._names)
            self._grow()
        return known

    def roll(self, block: int, keys: KeyTable, cohorts: Array, salts: Array) -> None:
        """The block ended and `block` begins: learn from the keys that were active in the old one, then publish."""
        ended, self.block = self.block, block
        slots = np.flatnonzero(keys.columns["key_block"][: keys.size] == ended) if ended else np.zeros(0, np.int64)
        self._counts *= 0.5 ** ((block - ended) / calibration.HALF_LIFE_BLOCKS) if ended else 1.0
        if len(slots):
            lot = _mixed(salts[slots], ended)
            order = np.lexsort((lot, cohorts[slots]))
            slots = slots[order]
            for number, part in _by_cohort(cohorts[slots], slots):
                self._learn(number, part[:_SAMPLES], keys, ended)
        self.tables = calibration.table(self._counts, self._counts.sum(axis=0))
        self.prior_log = self._prior()

    def _learn(self, number: int, slots: Array, keys: KeyTable, ended: int) -> None:
        columns = keys.columns
        windows = columns["key_windows"][slots]
        peaks, tails = columns["key_peak"][slots], columns["key_tail"][slots]
        for at, family in enumerate(PEAKED):
            lone = (peaks[:, at] <= LEARN_CAPS[at]) | (ended - tails[:, at] >= TAIL_BLOCKS)
            self._count(number, at, peaks[(windows >= LEARNED[family].mature) & lone, at])
        tops = np.log(columns["vel_top"][slots[windows >= LEARNED["velocity"].mature]] + velocity.FLOOR)
        if len(tops):
            rate = max(_PRIOR_RATE, 1 / (self._typical_keys[number] / max(len(tops), 1) + 1))
            self._typical[number] += rate * (np.quantile(tops, _TYPICAL, axis=0) - self._typical[number])
            self._typical_keys[number] = min(self._typical_keys[number] + len(tops), 1e6)
        if self._settings.cohort.enabled:
            self._learn_forest(number, columns["coh_x"][slots].astype("f8"))

    def _learn_forest(self, number: int, samples: Array) -> None:
        """Score first, then learn."""
        member = np.full(len(samples), number)
        if self.forest.ready(member).all():
            self._count(number, CALIBRATED.index("cohort"), cohort.opinion(self.forest, member, samples))
        self.forest.learn(number, samples)

    def _count(self, number: int, family: int, raw: Array) -> None:
        """Add block maxima to the cohort's. In a cohort that has seen little, one incident must not prove that such
        things are normal: what is above the cap counts less.
        """
        counts = self._counts[number, family]
        belief = min(1.0, float(counts.sum()) / _BELIEF_BLOCKS)
        high = raw > (LEARN_CAPS[family] if family < len(LEARN_CAPS) else np.inf)
        weight = np.where(high, belief, 1.0)
        counts += np.bincount(calibration.bins_of(raw), weight, minlength=calibration.BINS)

    def _prior(self) -> Array:
        """[cohort, window] log(typical maximum + c): the built-in one until keys of the cohort are grown up."""
        trust = (self._typical_keys / (self._typical_keys + _PRIOR_KEYS))[:, None]
        prior: Array = trust * self._typical + (1 - trust) * np.log(_PRIOR_PEAKS + velocity.FLOOR)
        return prior

    def _grow(self) -> None:
        self._counts = np.concatenate((self._counts, np.zeros((1, *self._counts.shape[1:]))))
        self._typical = np.concatenate((self._typical, np.zeros((1, 12))))
        self._typical_keys = np.append(self._typical_keys, 0.0)
        self.tables = np.concatenate((self.tables, calibration.table(self._counts[-1:], self._counts.sum(axis=0))))
        self.prior_log = np.concatenate((self.prior_log, self._prior()[-1:]))
        self.forest.grow_to(len(self._names))

    def export(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Everything learned, as a small JSON part and arrays."""
        forests = [self.forest.export(number) for number in range(len(self._names))]
        meta = {"block": self.block, "names": list(self._names), "counters": [counter for counter, _ in forests]}
        arrays = {
            "counts": self._counts, "typical": self._typical, "typical_keys": self._typical_keys,
            "tables": self.tables, "prior_log": self.prior_log, "masses": np.stack([mass for _, mass in forests]),
        }  # fmt: skip
        return meta, arrays

    def restore(self, meta: dict[str, Any], arrays: dict[str, Array]) -> None:
        """The state of `export`, on a fresh population."""
        self.block = int(meta["block"])
        self._names = {(env, provider): number for number, (env, provider) in enumerate(meta["names"])}
        self._counts, self._typical = arrays["counts"], arrays["typical"]
        self._typical_keys, self.tables = arrays["typical_keys"], arrays["tables"]
        self.prior_log = arrays["prior_log"]
        self.forest.grow_to(len(self._names))
        for number, counter in enumerate(meta["counters"]):
            self.forest.restore(number, counter, arrays["masses"][number])


def _forest(settings: DetectorsConfig) -> Forest:
    config = settings.cohort
    return Forest(
        features=len(cohort.FEATURES), n_trees=config.n_trees, height=config.height, window=config.window_samples
    )


def _mixed(salts: Array, block: int) -> Array:
    """A fresh lot per key and block: which keys are learned from when there are too many."""
    lot = salts ^ np.uint64(block * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    lot = (lot ^ (lot >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    lot = (lot ^ (lot >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = lot ^ (lot >> np.uint64(31))
    return mixed


def _by_cohort(cohorts: Array, slots: Array) -> list[tuple[int, Array]]:
    cuts = np.flatnonzero(np.diff(cohorts)) + 1
    starts = np.concatenate(([0], cuts))
    return [(int(cohorts[start]), part) for start, part in zip(starts, np.split(slots, cuts), strict=True)]
