"""What stands beside the thefts: hard negatives, baselines, goals, and the tables of all of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.containment.clean import Clean, said_anyway
from benchmarks.containment.columns import DAY_MS, START_MS
from benchmarks.containment.goals import Goal, goals
from benchmarks.containment.hard import LIVED, SHORT, Calm, Hard
from benchmarks.containment.measures import Result
from benchmarks.containment.play import CleanRun, detector_settings, play_clean
from benchmarks.containment.report import clean_table, thefts_table, velocity_table
from benchmarks.containment.report_beside import baselines_table, goals_table, negatives_table
from benchmarks.containment.rivals import compare, sample
from benchmarks.containment.theft_case import Case, Cell, Theft
from benchmarks.containment.thefts import CELLS
from benchmarks.containment.traffic import TEST_MS, World, make_world
from benchmarks.containment.trials import Rates

RATES = Rates(0.1, 0.1)
BY_NAME = {cell.name: cell for cell in CELLS}


@cache
def world() -> World:
    return make_world(seed=3, keys=6, requests_scale=0.04)


@cache
def clean() -> CleanRun:
    return play_clean(world(), detector_settings(1.0), [TEST_MS], tell=lambda _: None)


def stolen(name: str) -> tuple[Cell, Theft]:
    cell, key = BY_NAME[name], int(np.bincount(world().clean.key).argmax())
    theft = cell.build(Case(world(), (key,), TEST_MS + DAY_MS, np.random.default_rng(1)))
    assert theft is not None
    return cell, theft


def result(family: str, size: str, alert_s: float | None, *, alone: bool = False, cold: bool = False) -> Result:
    lost = 100.0 if alert_s is None else 1.0
    return Result(
        family=family, size=size, cold=cold, planned_usd=100.0, alert_s=alert_s, alert_events=3, cut_s=None,
        lost_at_alert_usd=lost, lost_at_cut_usd=100.0, by="velocity", families=("velocity",), velocity_alone=alone,
    )  # fmt: skip


def calm(*, alerted: bool = False, cut: bool = False) -> Calm:
    return Calm("backfill", False, alerted, False, cut, "velocity" if alerted else "", "spends much")


def quiet_week(cuts: int = 0) -> Clean:
    return Clean((RATES, RATES), 200.0, 40, 1, 90.0, 20, 110.0, 27, cuts, ("why",) * cuts, (("velocity", 40),))


def named(name: str, found: list[Goal]) -> Goal:
    return next(goal for goal in found if goal.name == name)


def test_every_key_gets_one_healthy_change_of_a_kind_that_it_can_have() -> None:
    said = said_anyway(world(), clean().findings, (RATES, RATES))
    hard = Hard(world(), seed=1, kinds=("new_key_first_day", "load_test", "key_rotation"))
    halves = [hard.play(clean().snapshots[0], half, RATES, said[half], SHORT) for half in (0, 1)]
    played = [one for half in halves for one in half]
    assert {one.kind for one in played} <= {"new_key_first_day", "load_test", "key_rotation"}
    assert 2 <= len(played) <= len(world().profiles)
    assert all(one.by for one in played if one.alerted)


def test_what_a_key_has_lived_with_is_played_from_the_beginning_only_when_asked() -> None:
    said = said_anyway(world(), clean().findings, (RATES, RATES))
    usual = ("nightly_batch_usual",)
    later = Hard(world(), seed=1, kinds=usual).play(clean().snapshots[0], 0, RATES, said[0], SHORT)
    lived = Hard(world(), seed=1, kinds=usual).play(clean().snapshots[0], 0, RATES, said[0], LIVED)
    assert later == []
    assert {one.kind for one in lived} == {"nightly_batch_usual"}


def test_baselines_see_the_same_thefts_at_about_the_same_rate_of_alerts() -> None:
    thefts = [stolen("published 333 USD/min"), stolen("runaway x3")]
    keys = np.ones(len(world().profiles), bool)
    run = compare(world(), keys, thefts, alerts_per_key_week=0.5, tell=lambda _: None)
    assert len(run.results) == 2 * len(run.alerts_per_key_week)
    assert all(0 <= rate < 5 for rate in run.alerts_per_key_week.values())
    for rival in run.results:
        assert 0 < rival.lost_usd <= rival.planned_usd
        assert rival.alert_s is None or rival.alert_s > 0
    table = baselines_table(run, [result("runaway", "x3", None)])
    assert "runaway x3 | 0 %" in table


def test_a_sample_is_of_each_cell_and_of_single_keys() -> None:
    pair = stolen("runaway x3")
    crowd = (BY_NAME["many_keys +50% each"], Theft((1, 2), START_MS, pair[1].rows, (1.0, 1.0)))
    other = stolen("burst x10")
    assert sample([pair, pair, pair, crowd, other], 2) == [pair, pair, other]


@pytest.mark.parametrize(("found", "reached"), [(99, True), (98, False)])
def test_recall_of_the_tenfold_has_its_goal(found: int, reached: bool) -> None:
    thefts = [result("burst", "x10", 10.0)] * found + [result("runaway", "x30", None)] * (100 - found)
    cold = [result("burst", "x10", None, cold=True)] * 50
    goal = named("found: tenfold and more", goals(quiet_week(), thefts + cold, []))
    assert goal.reached is reached
    assert "n 100" in goal.measured


def test_velocity_alone_has_ten_minutes() -> None:
    played = [result("runaway", "x10", at, alone=True) for at in (5.0, 599.0, 601.0, None)]
    goal = named("velocity alone, first 10 min, x10", goals(quiet_week(), played, []))
    assert goal.measured.startswith("50.0 %")
    assert goal.reached is False


def test_one_cut_of_a_healthy_key_breaks_two_goals() -> None:
    good, bad = goals(quiet_week(), [], [calm()] * 30), goals(quiet_week(1), [], [calm(alerted=True, cut=True)] * 30)
    names = ("wrongful cuts per 10,000 key-weeks", "hard negatives cut", "hard negatives alerted")
    assert [named(name, good).reached for name in names] == [True] * 3
    assert [named(name, bad).reached for name in names] == [False] * 3


def test_what_was_not_played_is_not_called_reached() -> None:
    assert named("found: off-hours", goals(quiet_week(), [], [])).reached is None


def test_tables_have_as_many_cells_in_each_row() -> None:
    results = [result("burst", "x10", 10.0), result("runaway", "x3", None, alone=True)]
    tables = [
        thefts_table(results, title="t"), velocity_table(results), clean_table(quiet_week(2)),
        negatives_table([calm(), calm(alerted=True)]), goals_table(goals(quiet_week(), results, [calm()])),
    ]  # fmt: skip
    for table in tables:
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in rows}) == 1, table
        assert len(rows) > 2
