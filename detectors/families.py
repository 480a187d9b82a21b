"""The learned families in one order, and what is assumed of their raw scores before there is data."""

from __future__ import annotations

from typing import Final, NamedTuple


class Learned(NamedTuple):
    """What a family's raw score means before, and besides, what is learned of it."""

    chance: float  # that a healthy key's 10-minute maximum is above 0
    fold: float  # and how far it then reaches: the e-folding of its tail
    change: float  # chance of the changes every healthy key makes now and then, which no quiet week disproves
    change_fold: float
    cap: float  # a raw score above it counts as alarmed, and is learned with caution; inf where the key keeps no peak
    mature: int  # active 10-minute windows before a key's peaks teach its cohort


LEARNED: Final = {
    "velocity": Learned(0.02, 0.25, 1e-4, 1.2, cap=1.0, mature=36),
    "mix": Learned(0.03, 0.22, 2e-4, 0.5, cap=0.7, mature=12),
    "origin": Learned(0.04, 0.62, 2e-4, 1.2, cap=2.0, mature=12),
    "economics": Learned(0.3, 0.1, 1e-4, 0.8, cap=0.6, mature=36),
    "rhythm": Learned(0.3, 0.25, 2e-4, 1.4, cap=1.0, mature=36),
    "errors": Learned(0.05, 0.3, 1e-4, 1.0, cap=1.0, mature=36),
    "drift": Learned(0.1, 0.25, 2e-4, 0.8, cap=1.0, mature=36),
    "repetition": Learned(0.05, 0.3, 1e-4, 1.0, cap=1.0, mature=36),
    "cohort": Learned(0.05, 0.75, 1e-3, 2.0, cap=float("inf"), mature=0),
}
CALIBRATED: Final = tuple(LEARNED)
"""Families whose raw scores are turned into probabilities; the order of all arrays with one column per family."""
PEAKED: Final = tuple(family for family, learned in LEARNED.items() if learned.cap < float("inf"))
"""Of these the key itself remembers the highest raw score of its block: they depend on its own rows alone. They come
before the others in `CALIBRATED`."""
LEARN_CAPS: Final = tuple(LEARNED[family].cap for family in PEAKED)
"""Fixed, never calibrated: what a key learns may depend only on its own rows, so that shards restored at different
moments agree."""
