"""The baselines on the same keys, thefts and rate of false alarms: what else people watch keys with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from benchmarks.containment.baselines import BASELINES, Baseline, Scores
from benchmarks.containment.columns import START_MS, Ints, KeyHistory, Mask, Uses, merged
from benchmarks.containment.measures import Told, episodes_above
from benchmarks.containment.theft_case import Cell, Theft
from benchmarks.containment.traffic import END_MS, TEST_MS, World

_CANDIDATES: Final = 300


class Rival(NamedTuple):
    """One baseline on one theft."""

    baseline: str
    family: str
    size: str
    alert_s: float | None
    lost_usd: float
    planned_usd: float


class RivalRun(NamedTuple):
    """All of them, and what each did on healthy keys at the thresholds of the other half."""

    results: tuple[Rival, ...]
    alerts_per_key_week: dict[str, float]


def compare(
    world: World, keys: Mask, thefts: Sequence[tuple[Cell, Theft]], *, alerts_per_key_week: float,
    tell: Callable[[str], None],
) -> RivalRun:  # fmt: skip
    """Every baseline on these thefts of single keys; thresholds from the clean week 2 of the other half of `keys`."""
    results: list[Rival] = []
    alerts: dict[str, float] = {}
    for name, baseline in BASELINES.items():
        states: dict[int, Any] = {}
        clean = []
        for key in np.flatnonzero(keys).tolist():
            history = _history(world.of_key(key), END_MS)
            states[key] = baseline.learned(history)
            clean.append((key, baseline.scores(states[key], history)))
        bars, alerts[name] = _thresholds(world, keys, clean, alerts_per_key_week)
        for cell, theft in thefts:
            if keys[theft.keys[0]]:
                bar = bars[int(world.halves[theft.keys[0]])]
                results.append(_rival(world, name, baseline, states[theft.keys[0]], cell, theft, bar=bar))
        tell(f"baseline {name}: {len(thefts)} thefts")
    return RivalRun(tuple(results), alerts)


def _history(rows: Uses, end_ms: int) -> KeyHistory:
    return KeyHistory.of(rows.between(START_MS, end_ms), start_ms=START_MS, test_ms=TEST_MS, end_ms=end_ms)


def _thresholds(
    world: World, keys: Mask, clean: Sequence[tuple[int, Scores]], wanted: float
) -> tuple[tuple[float, float], float]:
    """For each half the lowest threshold within what is wanted on the other, and the rate that it then has."""
    said = _said(clean)
    halves: Ints = world.halves
    bars: list[float] = []
    alerts = 0
    for half in (0, 1):
        other = said.of(halves[said.key] != half)
        bar = _lowest(other, wanted * float((keys & (halves != half)).sum()))
        alerts += episodes_above(said.of(halves[said.key] == half), bar)
        bars.append(bar)
    return (bars[0], bars[1]), alerts / max(float(keys.sum()), 1.0)


def _lowest(said: Told, most: float) -> float:
    """Candidates are the scores seen, from the highest down; a little above each."""
    seen = np.unique(said.score)
    seen = seen[np.unique(np.linspace(0, len(seen) - 1, _CANDIDATES).astype(int))] if len(seen) > _CANDIDATES else seen
    fine = np.unique(np.concatenate((seen, np.sort(said.score)[-_CANDIDATES:])))
    kept = [bar for bar in fine.tolist() if episodes_above(said, float(np.nextafter(bar, np.inf))) <= most]
    return float(np.nextafter(min(kept), np.inf)) if kept else float("inf")


def _said(clean: Sequence[tuple[int, Scores]]) -> Told:
    if not clean:
        return Told(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0, bool))
    tested = [(key, scores.known_ms >= TEST_MS, scores) for key, scores in clean]
    key = np.concatenate([np.full(int(late.sum()), key) for key, late, _ in tested])
    at_ms = np.concatenate([scores.known_ms[late] for _, late, scores in tested])
    score = np.concatenate([scores.score[late] for _, late, scores in tested])
    return Told(key, at_ms, np.nan_to_num(score), np.zeros(len(key), bool))


def _rival(
    world: World, name: str, baseline: Baseline[Any], state: Any, cell: Cell, theft: Theft, *, bar: float  # noqa: ANN401 - each baseline has its own state
) -> Rival:  # fmt: skip
    own = world.of_key(theft.keys[0])
    if theft.replaces:
        own = own.between(START_MS, theft.start_ms)
    until_ms = min(theft.start_ms + cell.span_ms, END_MS)
    scores = baseline.scores(state, _history(merged([own, theft.rows]), until_ms))
    late = (scores.score >= bar) & (scores.known_ms > theft.start_ms)
    alert_ms = int(scores.known_ms[late][0]) if late.any() else None
    planned = sum(theft.planned_usd)
    return Rival(
        name, cell.family, cell.size, None if alert_ms is None else (alert_ms - theft.start_ms) / 1000,
        planned if alert_ms is None else min(theft.lost_usd(alert_ms), planned), planned,
    )  # fmt: skip


def sample(planted: Sequence[tuple[Cell, Theft]], per_cell: int) -> list[tuple[Cell, Theft]]:
    """The first so many of each cell, thefts of single keys only."""
    kept: dict[str, list[tuple[Cell, Theft]]] = {}
    for cell, theft in planted:
        own = kept.setdefault(cell.name, [])
        if len(theft.keys) == 1 and len(own) < per_cell:
            own.append((cell, theft))
    return [pair for own in kept.values() for pair in own]
