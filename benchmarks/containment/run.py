"""The containment benchmark: thefts, runaways and healthy change on real arrivals, in recall, seconds and USD.

    python -m benchmarks.containment.run [--quick] [--only FAMILY]... [--starts N] [--seed N] [--json OUT]

`--quick` takes fewer keys, requests and starts and leaves the baselines out: for a look after each change.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.containment.clean import (
    CLEAN_REFRACTORY_S,
    LOOSEST,
    Clean,
    choose_rates,
    grown,
    judge_clean,
    pooled,
    said_anyway,
)
from benchmarks.containment.columns import DAY_MS
from benchmarks.containment.goals import goals
from benchmarks.containment.hard import LIVED, LONG, SHORT, Calm, Hard
from benchmarks.containment.measures import Result, summary
from benchmarks.containment.play import CleanRun, detector_settings, play_clean
from benchmarks.containment.report import clean_table, setup_lines, thefts_table, velocity_table
from benchmarks.containment.report_beside import baselines_table, goals_table, negatives_table
from benchmarks.containment.rivals import RivalRun, compare, sample
from benchmarks.containment.thefts import CELLS, Cell, Theft
from benchmarks.containment.traffic import END_MS, World, make_world
from benchmarks.containment.trials import Dealer, Rates, moments, run_trial, trials
from benchmarks.containment.watch import Said


class Scale(NamedTuple):
    """How much is played."""

    keys: int | None  # None: all clients
    requests: float  # times the usual number for each key
    starts: int  # moments of week 2 at which spending thefts start
    long_starts: int  # copies with day-long thefts
    slow_starts: int  # copies with week-long thefts
    calm_starts: int  # moments at which hard negatives start, of up to 40 hours
    calm_long: int  # copies of week 2 with longer ones
    calm_lived: int  # copies of the fortnight, with what keys have lived with since its beginning
    rivals_per_cell: int  # thefts of each family and size that baselines look at


FULL: Final = Scale(
    None, 1.0, starts=28, long_starts=6, slow_starts=2, calm_starts=4, calm_long=2, calm_lived=1, rivals_per_cell=12
)
QUICK: Final = Scale(
    100, 0.25, starts=8, long_starts=2, slow_starts=1, calm_starts=2, calm_long=0, calm_lived=0, rivals_per_cell=0
)
NEGATIVE: Final = "negatives"  # as a family of --only


def main() -> None:
    """Play, judge, print."""
    args = _arguments()
    scale = _scale(args)
    chosen = [cell for cell in CELLS if not args.only or cell.family in args.only]
    clock = Clock()
    world = make_world(seed=args.seed, keys=scale.keys, requests_scale=scale.requests)
    clock.tell(f"{world.source}: {world.clean.rows:,} requests")
    run = play_clean(world, detector_settings(LOOSEST, refractory_s=CLEAN_REFRACTORY_S),
                     moments(starts=scale.starts, seed=args.seed), tell=clock.tell)  # fmt: skip
    rates = choose_rates(
        world, run.findings, alerts_per_key_week=args.alerts, velocity_alerts_per_key_week=args.velocity_alerts
    )
    if args.rate is not None:
        rates = (rates[0]._replace(every=args.rate), rates[1]._replace(every=args.rate))
    clean = pooled([judge_clean(world, run.findings, rates), *_replicas(args, scale, rates, clock)])
    said = said_anyway(world, run.findings, rates)
    results, kept = play_thefts(world, run, rates, chosen, said=said, scale=scale, clock=clock)
    calm = (
        play_negatives(world, run, rates, said=said, scale=scale, clock=clock)
        if not args.only or NEGATIVE in args.only
        else []
    )
    rivals = None
    if scale.rivals_per_cell and kept:
        rivals = compare(world, grown(world), kept, alerts_per_key_week=args.alerts, tell=clock.tell)
    clock.tell("done")
    print_report(world, clean, results, calm, rivals=rivals, starts=scale.starts)
    if args.json is not None:
        args.json.write_text(json.dumps(figures(clean, results, calm, rivals), indent=1))


def _arguments() -> argparse.Namespace:
    families = list(dict.fromkeys(cell.family for cell in CELLS))
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--quick", action="store_true", help="fewer keys, requests and starts; no baselines")
    asked.add_argument("--only", action="append", default=[], choices=[*families, NEGATIVE], metavar="FAMILY",
                       help=f"only these: {', '.join(families)}, {NEGATIVE}")  # fmt: skip
    asked.add_argument("--starts", type=int, help="moments of week 2 at which thefts start")
    asked.add_argument("--replicas", type=int, default=0, help="more healthy fortnights, for alerts and cuts")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--alerts", type=float, default=0.25, help="alert episodes per key-week, all families")
    asked.add_argument("--velocity-alerts", type=float, default=0.25, help="the same for velocity alone")
    asked.add_argument("--rate", type=float, help="this alarm_per_key_week (at most 2) for all, not a chosen one, "
                       "so that two versions are compared at the same thresholds")  # fmt: skip
    asked.add_argument("--json", type=Path, help="write all figures here")
    return asked.parse_args()


def _scale(args: argparse.Namespace) -> Scale:
    scale = QUICK if args.quick else FULL
    if args.starts is not None:
        scale = scale._replace(starts=args.starts, long_starts=max(1, args.starts // 4))
    return scale


class Clock:
    """Progress on stderr, with the processor time so far: other programs on the machine do not count."""

    def tell(self, what: str) -> None:
        print(f"[{time.process_time():6.1f} s] {what}", file=sys.stderr, flush=True)


def _replicas(args: argparse.Namespace, scale: Scale, rates: tuple[Rates, Rates], clock: Clock) -> Iterator[Clean]:
    """Other owners and other draws on the same arrivals, at the thresholds that are chosen already."""
    for number in range(1, args.replicas + 1):
        world = make_world(seed=args.seed + 1000 * number, keys=scale.keys, requests_scale=scale.requests)
        settings = detector_settings(max(rate.every for rate in rates), velocity=max(map(max, rates)),
                                     refractory_s=CLEAN_REFRACTORY_S)  # fmt: skip
        clock.tell(f"replica {number} of {args.replicas}")
        yield judge_clean(world, play_clean(world, settings, (), tell=clock.tell).findings, rates)


def play_thefts(
    world: World,
    run: CleanRun,
    rates: tuple[Rates, Rates],
    cells: Sequence[Cell],
    *,
    said: tuple[Said, Said],
    scale: Scale,
    clock: Clock,
) -> tuple[list[Result], list[tuple[Cell, Theft]]]:
    """All copies, one after the other; and a sample of the thefts for the baselines."""
    order = {cell.name: at for at, cell in enumerate(CELLS)}
    planned = trials(cells, starts=scale.starts, long_starts=scale.long_starts, slow_starts=scale.slow_starts)
    dealer = Dealer(world, seed=world.seed)
    old = grown(world)
    results: list[Result] = []
    kept: list[tuple[Cell, Theft]] = []
    for number, trial in enumerate(planned, start=1):
        snapshot = run.snapshots[trial.snapshot]
        planted = dealer.deal(trial, snapshot.at_ms)
        results += run_trial(world, snapshot, trial, planted, rates=rates[trial.half], said=said[trial.half])
        if not trial.velocity_alone:
            dealt = ((one.cell, one.theft) for one in planted if old[one.theft.keys[0]])
            kept = sample([*kept, *dealt], scale.rivals_per_cell)
        clock.tell(f"copy {number} of {len(planned)}: {len(planted)} thefts, {trial.span_ms / 3_600_000:.1f} h")
    kept.sort(key=lambda pair: order[pair[0].name])
    return sorted(results, key=lambda result: order[f"{result.family} {result.size}"]), kept


def play_negatives(
    world: World, run: CleanRun, rates: tuple[Rates, Rates], *, said: tuple[Said, Said], scale: Scale, clock: Clock
) -> list[Calm]:
    """Healthy changes in week 2, and what keys have lived with since week 1."""
    early = [at for at, one in enumerate(run.snapshots) if one.at_ms < END_MS - 2 * DAY_MS]
    every = max(1, len(early) // max(scale.calm_starts, 1))
    planned = [(at, SHORT) for at in early[::every][: scale.calm_starts]]
    planned += [(0, LONG)] * scale.calm_long + [(0, LIVED)] * scale.calm_lived
    hard = Hard(world, seed=world.seed)
    calm: list[Calm] = []
    for number, (at, what) in enumerate(planned):
        half = number % 2
        played = hard.play(run.snapshots[at], half, rates[half], said[half], what)
        calm += played
        clock.tell(f"copy {number + 1} of {len(planned)} with {len(played)} healthy changes")
    return calm


def print_report(
    world: World, clean: Clean, results: Sequence[Result], calm: Sequence[Calm], *, rivals: RivalRun | None, starts: int
) -> None:
    """All tables."""
    print(setup_lines(world, starts=starts, thefts=sum(not result.velocity_alone for result in results)))
    tables = [goals_table(goals(clean, results, calm)), clean_table(clean)]
    for title, cold in (("Thefts of grown keys", False), ("Thefts of cold keys", True)):
        mine = [result for result in results if result.cold is cold and not result.velocity_alone]
        tables += [thefts_table(mine, title=title)] if mine else []
    if any(result.velocity_alone for result in results):
        tables.append(velocity_table(results))
    if calm:
        tables.append(negatives_table(calm))
    if rivals is not None:
        tables.append(baselines_table(rivals, results))
    print("\n" + "\n\n".join(tables))


def figures(clean: Clean, results: Sequence[Result], calm: Sequence[Calm], rivals: RivalRun | None) -> dict[str, Any]:
    """Everything, for other programs."""
    cells: dict[str, list[Result]] = {}
    for result in results:
        marks = " (cold)" * result.cold + " (velocity alone)" * result.velocity_alone
        cells.setdefault(f"{result.family} {result.size}{marks}", []).append(result)
    return {
        "goals": [goal._asdict() for goal in goals(clean, results, calm)],
        "clean": clean._asdict(),
        "cells": {name: _plain(summary(own)._asdict()) for name, own in cells.items()},
        "results": [result._asdict() for result in results],
        "negatives": [one._asdict() for one in calm],
        "baselines": None if rivals is None else {
            "alerts_per_key_week": rivals.alerts_per_key_week,
            "results": [rival._asdict() for rival in rivals.results],
        },
    }  # fmt: skip


def _plain(value: Any) -> Any:  # noqa: ANN401 - any shape of figures
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    main()
