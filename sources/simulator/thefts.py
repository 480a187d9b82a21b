"""Thefts of keys, played and planted in traffic. Nothing in a thief's event says whose it is."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from sources.simulator.events import Event
from sources.simulator.keys import SimKey
from sources.simulator.shapes import SHAPES, Taken
from sources.simulator.waves import play


@dataclass(frozen=True)
class Theft:
    """One theft: its shape by name, the keys taken, when, and how much is spent on them together.

    The size is `usd_per_min`, or `times_normal` (of what the keys together normally spend); without either it is
    the shape's own. ValueError for an unknown shape, two sizes, or too few keys for the shape.
    """

    shape: str
    keys: tuple[SimKey, ...]
    start_ms: int
    duration_s: float
    usd_per_min: float | None = None
    times_normal: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"unknown theft shape {self.shape!r}; known: {', '.join(SHAPES)}")
        if self.usd_per_min is not None and self.times_normal is not None:
            raise ValueError("give usd_per_min or times_normal, not both")
        if len(self.keys) < SHAPES[self.shape].least_keys:
            raise ValueError(f"{self.shape} needs at least {SHAPES[self.shape].least_keys} key(s)")

    @property
    def taken(self) -> Taken:
        """What the shape is built from: the size in USD a minute."""
        usd_per_min = self.usd_per_min
        if self.times_normal is not None:
            usd_per_min = self.times_normal * sum(key.normal_usd_per_min for key in self.keys)
        return Taken(self.keys, self.start_ms, self.duration_s, usd_per_min)


def steal(theft: Theft, *, priced: bool = False) -> Iterator[Event]:
    """The thief's events, in time order."""
    seed = (theft.seed, list(SHAPES).index(theft.shape))
    waves = SHAPES[theft.shape].build(theft.taken, np.random.default_rng(seed))
    for event in play(waves, seed=seed, priced=priced):
        if event["ts"] >= theft.taken.end_ms:
            return
        yield event


def plant(
    traffic: Iterable[Event], thefts: Iterable[Theft], *, priced: bool = False
) -> Iterator[tuple[Event, Theft | None]]:
    """All events in time order, each with the theft it belongs to, or None for the owners' own use."""
    streams = [_with_theft(traffic, None), *(_with_theft(steal(theft, priced=priced), theft) for theft in thefts)]
    return heapq.merge(*streams, key=lambda pair: pair[0]["ts"])


def _with_theft(events: Iterable[Event], theft: Theft | None) -> Iterator[tuple[Event, Theft | None]]:
    return ((event, theft) for event in events)
