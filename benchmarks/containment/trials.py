"""Which key suffers which theft at which moment, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from benchmarks.containment.columns import DAY_MS, HOUR_MS
from benchmarks.containment.measures import Result
from benchmarks.containment.play import Snapshot, detector_settings, play_copy
from benchmarks.containment.theft_case import SLOW_MS, Case, Cell, Theft
from benchmarks.containment.traffic import END_MS, GROWN_WINDOWS, TEST_MS, World
from benchmarks.containment.watch import CLOSED_MS, Said, Watch, auto_decider
from schemas.records import Finding

FIRST_MS: Final = 600_000
_STREAM: Final = 13


class Rates(NamedTuple):
    """False alarms accepted per key and week."""

    every: float  # each calibrated family, all working together
    velocity: float  # velocity alone


class Trial(NamedTuple):
    """A copy to be played: from which snapshot, with keys of which half, which cells, how long."""

    snapshot: int
    half: int
    cells: tuple[Cell, ...]
    span_ms: int
    velocity_alone: bool = False


@dataclass(frozen=True, eq=False)
class Planted:
    """A theft and its cell."""

    cell: Cell
    theft: Theft


def moments(*, starts: int, seed: int) -> list[int]:
    """Random whole seconds of week 2 in order, the beginning of week 2 first (for what takes the whole week)."""
    rng = np.random.default_rng((_STREAM, seed))
    drawn = rng.integers(TEST_MS // 1000, (END_MS - DAY_MS - 3 * HOUR_MS) // 1000, starts)
    return [TEST_MS, *sorted((drawn * 1000).tolist())]


def trials(cells: Sequence[Cell], *, starts: int, long_starts: int, slow_starts: int) -> list[Trial]:
    """Short thefts at every moment, day-long ones at some, week-long ones from the beginning of week 2.

    Halves take turns: a copy has the thresholds of one half. Runaways are played once more for velocity alone.
    """
    short = [cell for cell in cells if cell.span_ms < DAY_MS and cell.keys == 1]
    crowds = [cell for cell in cells if cell.keys > 1]
    long = tuple(cell for cell in cells if DAY_MS <= cell.span_ms < SLOW_MS)
    slow = tuple(cell for cell in cells if cell.span_ms >= SLOW_MS)
    runaways = tuple(cell for cell in cells if cell.family == "runaway")
    planned: list[Trial] = []
    for at in range(1, starts + 1):
        own = (*short, *crowds[at // 2 % len(crowds) :][:1]) if crowds else tuple(short)
        if own:
            planned.append(Trial(at, at % 2, own, max(cell.span_ms for cell in own)))
        if runaways:
            planned.append(Trial(at, at % 2, runaways, FIRST_MS, True))
    for number in range(long_starts if long else 0):
        at = 1 + number * starts // long_starts
        planned.append(Trial(at, number % 2, long, max(cell.span_ms for cell in long)))
    planned += [Trial(0, number % 2, slow, SLOW_MS) for number in range(slow_starts if slow else 0)]
    return planned


class Dealer:
    """Deals thefts to keys so that, over all copies, each cell gets about equally many grown and cold keys."""

    def __init__(self, world: World, *, seed: int) -> None:
        self._world, self._rng = world, np.random.default_rng((_STREAM, seed, 1))
        self._dealt: Counter[tuple[str, bool, bool]] = Counter()

    def deal(self, trial: Trial, at_ms: int) -> list[Planted]:
        """Thefts for one copy; each key has at most one."""
        rhythms = self._world.rhythms
        mine = [
            key
            for key in np.flatnonzero(self._world.halves == trial.half).tolist()
            if rhythms[key].windows_before(at_ms) >= (GROWN_WINDOWS if trial.velocity_alone else 1)
            and not (trial.span_ms >= SLOW_MS and rhythms[key].dense)
        ]
        keys: list[int] = self._rng.permutation(mine).tolist()
        planted = []
        for cell in (cell for cell in trial.cells if cell.keys > 1):
            crowd = [key for key in keys if not self._asleep(key, at_ms)][: cell.keys]
            if len(crowd) == cell.keys and (theft := self._build(cell, tuple(crowd), at_ms)) is not None:
                planted.append(Planted(cell, theft))
                keys = [key for key in keys if key not in crowd]
        for key in keys:
            planted += self._one(trial, key, at_ms)
        return planted

    def _one(self, trial: Trial, key: int, at_ms: int) -> list[Planted]:
        """The cell with the fewest thefts of such keys so far, of those that this key can have."""
        cold = self._world.rhythms[key].windows_before(at_ms) < GROWN_WINDOWS
        single = [cell for cell in trial.cells if cell.keys == 1]
        order = self._rng.permutation(len(single)).tolist()
        for at in sorted(order, key=lambda place: self._dealt[single[place].name, cold, trial.velocity_alone]):
            theft = self._build(single[at], (key,), at_ms)
            if theft is not None:
                self._dealt[single[at].name, cold, trial.velocity_alone] += 1
                return [Planted(single[at], theft)]
        return []

    def _build(self, cell: Cell, keys: tuple[int, ...], at_ms: int) -> Theft | None:
        rng = np.random.default_rng((_STREAM, self._world.seed, at_ms // 1000, *keys))
        return cell.build(Case(self._world, keys, at_ms, rng))

    def _asleep(self, key: int, at_ms: int) -> bool:
        rhythm = self._world.rhythms[key]
        return at_ms - int(rhythm.active_ms[rhythm.windows_before(at_ms) - 1]) > 2 * DAY_MS


def run_trial(
    world: World, snapshot: Snapshot, trial: Trial, planted: Sequence[Planted], *, rates: Rates, said: Said
) -> list[Result]:
    """Play one copy with all these thefts, at the thresholds of `rates`; `said` is what came without them."""
    thefts = [one.theft for one in planted]
    theft_of = {key: theft for theft in thefts for key in theft.keys}
    place = {world.ledger.owners[key].key_id: key for key in theft_of}
    decider = auto_decider()
    watches = {key: Watch(decider) for key in theft_of}

    def hear(findings: Sequence[Finding]) -> list[int]:
        own = _by_key(findings, place, velocity_alone=trial.velocity_alone)
        for key, told in own.items():
            watches[key].hear([finding for finding in told if finding.at_ms + CLOSED_MS > theft_of[key].start_ms])
        return [
            key
            for key in own
            if watches[key].cut_ms is not None or (trial.velocity_alone and watches[key].alert_ms is not None)
        ]

    settings = detector_settings(rates.every, velocity=rates.velocity if trial.velocity_alone else None)
    play_copy(world, snapshot, thefts, settings, until_ms=min(snapshot.at_ms + trial.span_ms, END_MS), hear=hear)
    return [result_of(world, one, watches, trial, said) for one in planted]


def _by_key(findings: Sequence[Finding], place: Mapping[str, int], *, velocity_alone: bool) -> dict[int, list[Finding]]:
    own: dict[int, list[Finding]] = {}
    for finding in findings:
        if not velocity_alone or finding.family == "velocity":
            own.setdefault(place[finding.key_id], []).append(finding)
    return own


def result_of(world: World, one: Planted, watches: Mapping[int, Watch], trial: Trial, said: Said) -> Result:
    """Sums over the keys of a theft: found when one of them is, lost on each until its own cut."""
    theft = one.theft
    alerts = [watch for key in theft.keys if (watch := watches[key]).alert_ms is not None]
    first = min(alerts, key=lambda watch: watch.alert_ms or 0, default=None)
    alert_ms = None if first is None else first.alert_ms
    cuts = [watches[key].cut_ms for key in theft.keys]
    seen = None if alert_ms is None else int(np.searchsorted(theft.rows.ts_ms, alert_ms))
    return Result(
        family=one.cell.family,
        size=one.cell.size,
        cold=world.rhythms[theft.keys[0]].windows_before(theft.start_ms) < GROWN_WINDOWS,
        planned_usd=sum(theft.planned_usd),
        alert_s=None if alert_ms is None else (alert_ms - theft.start_ms) / 1000,
        alert_events=None if seen is None else int(theft.rows.requests[:seen].sum()),
        cut_s=None if None in cuts else (max(cut for cut in cuts if cut is not None) - theft.start_ms) / 1000,
        lost_at_alert_usd=_lost(theft, [alert_ms] * len(theft.keys)),
        lost_at_cut_usd=_lost(theft, cuts),
        by="" if first is None else first.first_family,
        families=tuple(sorted({family for key in theft.keys for family in watches[key].families})),
        anyway=said.within(theft.keys, theft.start_ms, theft.start_ms + trial.span_ms),
        velocity_alone=trial.velocity_alone,
    )


def _lost(theft: Theft, until_ms: Sequence[int | None]) -> float:
    """Until each key's moment; the whole plan for a key without one."""
    if len(theft.keys) == 1:
        end_ms = until_ms[0]
        return theft.planned_usd[0] if end_ms is None else min(theft.lost_usd(end_ms), theft.planned_usd[0])
    lost = 0.0
    for key, end_ms, planned in zip(theft.keys, until_ms, theft.planned_usd, strict=True):
        mine = theft.rows.key == key
        before = mine & (theft.rows.ts_ms < end_ms) if end_ms is not None else mine
        lost += planned if end_ms is None else int(theft.rows.cost_nano_usd[before].sum()) / 1e9
    return lost
