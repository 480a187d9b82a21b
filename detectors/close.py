"""What is known of a wave of keys whose second is being closed: the input of every detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from detectors.families import LEARN_CAPS, PEAKED
from detectors.state import Array, Fields, State
from schemas.config.detectors import DetectorSettings

if TYPE_CHECKING:
    from detectors.river_models import Forest

KEY_FIELDS: Final[Fields] = {
    "key_block": ("i4", ()),  # 10-minute block of the last close; 0 when never closed
    "key_windows": ("i4", ()),  # active blocks completed
    "key_requests": ("i4", ()),  # ever, saturating
    "key_seen": ("i4", ()),  # second of the last close
    "key_peak": ("f4", (len(PEAKED),)),  # highest raw score in this block, by PEAKED
    "key_tail": ("i4", (len(PEAKED),)),  # block of the last peak above its cap that the cohort learned
}


@dataclass(frozen=True, slots=True, eq=False)
class Close:
    """All arrays have one entry per key of the wave unless they say otherwise."""

    second: Array
    block: int  # of all these seconds
    elapsed: Array  # blocks since the key's last active one; 0 within it and for a new key
    windows: Array  # active blocks completed before this one
    requests: Array  # ever, this second included
    sums: Array  # [n, 12] in the order of rings.WINDOWS
    caps: Array  # [n, 5] USD per minute, per hour, requests per second; USD per day, per month; inf when off
    ended_peak: Array  # [n, PEAKED] highest raw scores of the block that ended, where elapsed > 0
    salt: Array  # 64-bit hash of the key_id
    rows: Array  # [rows.WIDTH, m] the second's rows; SLOT holds the position of the key in this wave
    confirmed: Array | None = None  # [n, PEAKED] where a person said that the key's change is for good; None: nowhere

    @property
    def turned(self) -> Array:
        """Where the key begins a new block and the one before is learned."""
        return self.elapsed > 0

    def alarmed(self, family: str) -> Array:
        """Where the ended block was above the fixed cap, and nobody has said that this is how it will be."""
        at = PEAKED.index(family)
        above: Array = self.ended_peak[:, at] > LEARN_CAPS[at]
        return above if self.confirmed is None else above & ~self.confirmed[:, at]

    def is_confirmed(self, family: str) -> Array:
        """Where a change that the family sees is to be learned at once."""
        if self.confirmed is None:
            return np.zeros(len(self.second), bool)
        confirmed: Array = self.confirmed[:, PEAKED.index(family)]
        return confirmed


@dataclass(frozen=True, slots=True)
class Told:
    """A finding in the making: which detector, in which words, with which numbers."""

    detector: str
    what: str  # "spends 31.9 USD/min over 1 min, its usual peak is ..."
    evidence: dict[str, float | str]


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What the keys of a wave share with others."""

    cohorts: Array  # [n] number of each key's cohort
    prior_log: Array  # [n, 12] log(maximum + c) of a typical key of the cohort
    forest: Forest
    model_of: Callable[[int], str]  # text of a hash; empty when it is not at hand
    place_of: Callable[[int], str]


class Detector(Protocol):
    """What each detector module offers."""

    FAMILY: str
    FIELDS: Fields

    def step(self, state: State, close: Close, settings: DetectorSettings) -> tuple[State, Array]:
        """Score, then learn: the new state and one raw score per key. Changes nothing it was given."""
        ...

    def explain(
        self, state: State, close: Close, shared: Shared, settings: DetectorSettings, *, at: int, raw: float
    ) -> Told:
        """The finding of the key at one place of the wave, in words; `state` is the wave's, after the step."""
        ...


class Judged(Detector, Protocol):
    """A detector whose raw score needs more than the key itself, or is not always worth telling."""

    def judged(
        self, state: State, close: Close, raw: Array, shared: Shared, settings: DetectorSettings
    ) -> tuple[Array, Array]:
        """The raw score to be calibrated, and where it may be told."""
        ...


class Excused(Detector, Protocol):
    """A detector from whose raw score what people expect cannot just be taken off."""

    def beyond(self, state: State, close: Close, raw: Array, expected: Array) -> Array:
        """The raw score beyond what is expected, a natural log of how many times the usual."""
        ...


def usd(close: Close, scale: str) -> Array:
    """Spend over one window, in USD."""
    column: Sequence[str] = ("10s", "1m", "10m", "1h")
    return close.sums[:, 8 + column.index(scale)]
