"""Playing rows through the score core: the healthy fortnight once, and from its middle many copies with thefts in them.

A copy goes on from the state of a moment. What keys share is held still in copies: there every key that is used is
stolen, and a population must not learn from thieves who in reality are a small minority.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from benchmarks.containment.columns import Uses, merged
from benchmarks.containment.frames import FrameMaker
from benchmarks.containment.theft_case import Theft
from benchmarks.containment.traffic import END_MS, World
from benchmarks.containment.watch import SHARES
from detectors.core import ScoreCore
from detectors.population import Population
from detectors.state import Array, KeyTable
from schemas.config.detectors import DetectorsConfig
from schemas.records import Finding

_STEPS_S: Final = ((120, 10), (600, 30), (3600, 120))  # until so many seconds after the start, in steps of
_LAST_STEP_S: Final = 600


class Snapshot(NamedTuple):
    """All state of a core at a moment of the clean fortnight."""

    at_ms: int
    keys: bytes
    cohorts: bytes
    next_offset: int


@dataclass(frozen=True, eq=False)
class CleanRun:
    """What was said of healthy keys, by the lowest thresholds asked for, and the states at the moments asked for."""

    findings: tuple[Finding, ...]
    snapshots: tuple[Snapshot, ...]


def detector_settings(
    alarm_per_key_week: float, *, velocity: float | None = None, refractory_s: int | None = None
) -> DetectorsConfig:
    """The defaults with velocity at this rate of false alarms and every other calibrated family in proportion.

    `velocity` is that family's own rate, where it is to be told at another; `refractory_s` the quiet time.
    """
    named: dict[str, dict[str, float]] = {
        family: {"alarm_per_key_week": alarm_per_key_week * share} for family, share in SHARES.items()
    }
    if velocity is not None:
        named["velocity"] = {"alarm_per_key_week": velocity}
    if refractory_s is not None:
        named["time"] = {"refractory_s": refractory_s}
    return DetectorsConfig.model_validate(named)


def play_clean(
    world: World, settings: DetectorsConfig, moments_ms: Sequence[int], *, tell: Callable[[str], None]
) -> CleanRun:
    """The whole fortnight; snapshots at these moments (on whole seconds, rising)."""
    core, maker = ScoreCore(settings, partition=0, shards=1), FrameMaker(world.ledger)
    findings: list[Finding] = []
    snapshots = []
    since_ms = 0
    for moment_ms in (*moments_ms, END_MS):
        for frame in maker.frames(world.clean.between(since_ms, moment_ms), chunk_s=3600):
            findings += core.process(frame)
        findings += core.advance(moment_ms // 1000)
        since_ms = moment_ms
        if moment_ms < END_MS:
            snapshots.append(Snapshot(moment_ms, core.export_shard(0), core.export_cohorts(), maker.next_offset))
            tell(f"clean traffic: {len(snapshots)} of {len(moments_ms)} snapshots")
    return CleanRun(tuple(findings), tuple(snapshots))


class _Still(Population):
    """A population that learns nothing any more."""

    def __init__(self, learned: Population) -> None:
        self.__dict__.update(learned.__dict__)

    def roll(self, block: int, keys: KeyTable, cohorts: Array, salts: Array) -> None:
        self.block = block


def core_from(snapshot: Snapshot, settings: DetectorsConfig) -> ScoreCore:
    """A core that goes on from the snapshot, with its population held still."""
    core = ScoreCore(settings, partition=0, shards=1)
    core.import_cohorts(snapshot.cohorts)
    core.import_shard(0, snapshot.keys)
    core.clock_s = snapshot.at_ms // 1000
    core.population = _Still(core.population)
    return core


def fresh_core(snapshot: Snapshot, settings: DetectorsConfig) -> ScoreCore:
    """A core that has seen nothing, in which keys learn from what others knew by the snapshot."""
    core = ScoreCore(settings, partition=0, shards=1)
    core.population.restore(*core_from(snapshot, settings).population.export())
    core.population = _Still(core.population)
    return core


def play_copy(
    world: World, snapshot: Snapshot, thefts: Sequence[Theft], settings: DetectorsConfig, *, until_ms: int,
    hear: Callable[[Sequence[Finding]], Iterable[int]],
) -> None:  # fmt: skip
    """Play the stolen keys from the snapshot on. `hear` is told the findings of each step, in time order, and gives
    the keys of which enough is known: they are played no further.
    """
    rows = _mixed(world, thefts, snapshot.at_ms, until_ms)
    play_rows(world, core_from(snapshot, settings), rows, start_ms=snapshot.at_ms, until_ms=until_ms,
              first_offset=snapshot.next_offset, hear=hear)  # fmt: skip


def play_rows(
    world: World, core: ScoreCore, rows: Uses, *, start_ms: int, until_ms: int, first_offset: int,
    hear: Callable[[Sequence[Finding]], Iterable[int]],
) -> None:  # fmt: skip
    """Play rows, step by step, until every key that they name is known well enough."""
    maker = FrameMaker(world.ledger, first_offset=first_offset)
    playing = np.zeros(len(world.ledger.owners), bool)
    playing[rows.key] = True
    for from_ms, to_ms in _steps(start_ms, until_ms):
        part = rows.between(from_ms, to_ms)
        part = part.where(playing[part.key])
        findings = core.process(maker.frame(part)) if part.rows else []
        findings += core.advance(to_ms // 1000)
        if findings:
            playing[list(hear(findings))] = False
        if not playing.any():
            return


def _mixed(world: World, thefts: Sequence[Theft], from_ms: int, until_ms: int) -> Uses:
    """Owners' rows of the stolen keys and the thieves', each marked with its theft's number."""
    base = world.clean.between(from_ms, until_ms)
    stolen = np.zeros(len(world.profiles), bool)
    silent_from = np.full(len(world.profiles), np.iinfo(np.int64).max)
    for theft in thefts:
        stolen[list(theft.keys)] = True
        if theft.replaces:
            silent_from[list(theft.keys)] = theft.start_ms
    base = base.where(stolen[base.key] & (base.ts_ms < silent_from[base.key]))
    taken = [theft.rows.with_columns(actor=number) for number, theft in enumerate(thefts)]
    return merged([base, *taken])


def _steps(start_ms: int, until_ms: int) -> Iterator[tuple[int, int]]:
    """Short at first, so that a key that is cut soon is not played long; how rows are cut changes no score."""
    at_ms = start_ms
    while at_ms < until_ms:
        gone_s = (at_ms - start_ms) // 1000
        step_s = next((step for until_s, step in _STEPS_S if gone_s < until_s), _LAST_STEP_S)
        yield at_ms, min(at_ms + step_s * 1000, until_ms)
        at_ms += step_s * 1000
