"""What a theft is: rows that somebody else (or a fault) adds to a key's use, or puts in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from benchmarks.containment.columns import DAY_MS, HOUR_MS, WEEK_MS, Ints, Uses
from benchmarks.containment.traffic import World

SHORT_MS: Final = 2 * HOUR_MS
LONG_MS: Final = DAY_MS
SLOW_MS: Final = WEEK_MS
ACTOR_KEYS: Final = 8


class Case(NamedTuple):
    """Which keys are taken, when, and the dice."""

    world: World
    keys: tuple[int, ...]
    start_ms: int
    rng: np.random.Generator

    @property
    def key(self) -> int:
        return self.keys[0]

    @property
    def mean_rps(self) -> float:
        """Requests a second of the key in its active windows so far."""
        rhythm = self.world.rhythms[self.key]
        before = rhythm.active_rps[: rhythm.windows_before(self.start_ms)]
        return float(before.mean()) if len(before) else 0.0


@dataclass(frozen=True, eq=False)
class Theft:
    """Rows of one theft. `rows` are priced and in time order; the owner's own use goes on unless `replaces`."""

    keys: tuple[int, ...]
    start_ms: int
    rows: Uses
    planned_usd: tuple[float, ...]  # by key: what is lost over the day (low and slow: the week) if nobody acts
    replaces: bool = False  # the owner's rows from start_ms on are gone
    usual_nano_usd: Ints | None = None  # by row: what the owner would have paid for it anyway

    def lost_usd(self, until_ms: int) -> float:
        """What the thief's rows before this moment cost above the usual."""
        until = int(np.searchsorted(self.rows.ts_ms, until_ms))
        usual = 0 if self.usual_nano_usd is None else int(self.usual_nano_usd[:until].sum())
        return max(0.0, (int(self.rows.cost_nano_usd[:until].sum()) - usual) / 1e9)


Build = Callable[[Case], Theft | None]


class Cell(NamedTuple):
    """One family at one size."""

    family: str
    size: str
    build: Build
    span_ms: int = SHORT_MS  # how long it is played
    keys: int = 1

    @property
    def name(self) -> str:
        return f"{self.family} {self.size}"
