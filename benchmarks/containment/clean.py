"""What healthy traffic provoked: thresholds chosen from one half of the keys, alerts and wrongful cuts of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from benchmarks.containment.columns import Ints, Mask
from benchmarks.containment.measures import EPISODE_MS, Told, episodes_above, highest_rate
from benchmarks.containment.traffic import GROWN_WINDOWS, TEST_MS, World
from benchmarks.containment.trials import Rates
from benchmarks.containment.watch import SHARES, Bar, Said, Watch, auto_decider
from detectors.calibration import threshold
from schemas.records import Finding

LOOSEST: Final = 2.0  # the rate at which the clean fortnight is played
CLEAN_REFRACTORY_S: Final = 10  # so often its findings say how high the score is by now
_RATES: Final = np.geomspace(1e-4, LOOSEST, 87)


class Clean(NamedTuple):
    """Week 2 of healthy keys, each at the thresholds chosen on the other half."""

    rates: tuple[Rates, Rates]  # for keys of half 0 and 1
    key_weeks: float
    alerts: int  # episodes
    unstoppable: int  # of what no threshold holds back: certain limits
    cold_key_weeks: float
    cold_alerts: int
    velocity_key_weeks: float
    velocity_alerts: int  # velocity alone, at its own threshold, grown keys only
    cuts: int
    cut_examples: tuple[str, ...]
    by: tuple[tuple[str, int], ...]  # episodes in which a family spoke


def grown(world: World) -> Mask:
    """Keys that have shown themselves in week 1."""
    return np.array([rhythm.windows_before(TEST_MS) >= GROWN_WINDOWS for rhythm in world.rhythms], bool)


def choose_rates(
    world: World, findings: Sequence[Finding], *, alerts_per_key_week: float, velocity_alerts_per_key_week: float
) -> tuple[Rates, Rates]:
    """Thresholds for keys of half 0 and 1, each from week 2 of the other half."""
    said, halves, old = said_of(_tested(findings), _places(world)), world.halves, grown(world)
    wanted = (alerts_per_key_week, velocity_alerts_per_key_week)
    return _rates(said, halves == 1, old, *wanted), _rates(said, halves == 0, old, *wanted)


def _tested(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.at_ms >= TEST_MS]


def _places(world: World) -> dict[str, int]:
    return {owner.key_id: key for key, owner in enumerate(world.ledger.owners)}


def judge_clean(world: World, findings: Sequence[Finding], rates: tuple[Rates, Rates]) -> Clean:
    """What these thresholds cost on healthy keys in week 2."""
    place, told = _places(world), _tested(findings)
    said, halves, old = said_of(told, place), world.halves, grown(world)
    bars = [threshold(rate.every) for rate in rates]
    paces = [threshold(rate.velocity) for rate in rates]
    cuts = _wrongful_cuts(told, place, halves, rates)
    mine = [said.of(halves[said.key] == half) for half in (0, 1)]
    return Clean(
        rates=rates,
        key_weeks=float(len(halves)),
        alerts=sum(episodes_above(part, bar) for part, bar in zip(mine, bars, strict=True)),
        unstoppable=episodes_above(said, math.inf),
        cold_key_weeks=float((~old).sum()),
        cold_alerts=sum(episodes_above(part.of(~old[part.key]), bar) for part, bar in zip(mine, bars, strict=True)),
        velocity_key_weeks=float(old.sum()),
        velocity_alerts=sum(
            episodes_above(part.of(old[part.key] & part.velocity), pace) for part, pace in zip(mine, paces, strict=True)
        ),
        cuts=len(cuts),
        cut_examples=tuple(cuts[:8]),
        by=_by_family(told, place, halves, bars),
    )


def said_anyway(world: World, findings: Sequence[Finding], rates: tuple[Rates, Rates]) -> tuple[Said, Said]:
    """For each half, when its healthy keys would have given alerts."""
    tested, place = _tested(findings), _places(world)
    return Said(tested, place, rates[0].every), Said(tested, place, rates[1].every)


def pooled(runs: Sequence[Clean]) -> Clean:
    """Several fortnights at the same thresholds."""
    families = sorted({family for run in runs for family, _ in run.by})
    by = [(family, sum(dict(run.by).get(family, 0) for run in runs)) for family in families]
    return Clean(
        rates=runs[0].rates,
        key_weeks=sum(run.key_weeks for run in runs),
        alerts=sum(run.alerts for run in runs),
        unstoppable=sum(run.unstoppable for run in runs),
        cold_key_weeks=sum(run.cold_key_weeks for run in runs),
        cold_alerts=sum(run.cold_alerts for run in runs),
        velocity_key_weeks=sum(run.velocity_key_weeks for run in runs),
        velocity_alerts=sum(run.velocity_alerts for run in runs),
        cuts=sum(run.cuts for run in runs),
        cut_examples=tuple(example for run in runs for example in run.cut_examples),
        by=tuple(sorted(by, key=lambda pair: -pair[1])),
    )


def said_of(findings: Sequence[Finding], place: dict[str, int]) -> Told:
    """As columns, without those that only inform; scores as if each family had velocity's threshold."""
    loud = [finding for finding in findings if finding.severity != "info"]
    scored = [math.inf if f.certain else f.score + math.log10(SHARES[f.family]) for f in loud]
    return Told(
        key=np.array([place[finding.key_id] for finding in loud], np.int64),
        at_ms=np.array([finding.at_ms for finding in loud], np.int64),
        score=np.array(scored, np.float64),
        velocity=np.array([finding.family == "velocity" for finding in loud], bool),
    )


def _rates(said: Told, chosen: Mask, old: Mask, alerts: float, velocity_alerts: float) -> Rates:
    mine, paced = said.of(chosen[said.key]), said.of((chosen & old)[said.key] & said.velocity)
    return Rates(
        every=highest_rate(
            mine, key_weeks=float(chosen.sum()), wanted_per_key_week=alerts, rates=_RATES, threshold=threshold
        ),
        velocity=highest_rate(
            paced, key_weeks=float((chosen & old).sum()), wanted_per_key_week=velocity_alerts, rates=_RATES,
            threshold=threshold,
        ),
    )  # fmt: skip


def _wrongful_cuts(
    findings: Sequence[Finding], place: dict[str, int], halves: Ints, rates: tuple[Rates, Rates]
) -> list[str]:
    """Automatic cuts of healthy keys. After one, a person gives the key back and it is left alone for six hours."""
    decider, cuts = auto_decider(), []
    bars = {half: Bar(rates[half].every) for half in (0, 1)}
    watches: dict[int, Watch] = {}
    quiet_until: dict[int, int] = {}
    for finding in findings:
        key = place[finding.key_id]
        if finding.at_ms < quiet_until.get(key, 0):
            continue
        watch = watches.setdefault(key, Watch(decider, bars[halves[key]]))
        watch.hear([finding])
        if watch.cut_ms is not None:
            quiet_until[key] = finding.at_ms + EPISODE_MS
            cuts.append(f"{finding.key_id} {'+'.join(watch.families)}: {finding.reason}")
            del watches[key]
    return cuts


def _by_family(
    findings: Sequence[Finding], place: dict[str, int], halves: Ints, bars: Sequence[float]
) -> tuple[tuple[str, int], ...]:
    counts = []
    for family in sorted({finding.family for finding in findings}):
        said = said_of([finding for finding in findings if finding.family == family], place)
        parts = (episodes_above(said.of(halves[said.key] == half), bars[half]) for half in (0, 1))
        counts.append((family, sum(parts)))
    return tuple(sorted(counts, key=lambda pair: -pair[1]))
