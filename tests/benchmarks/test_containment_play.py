"""Playing: a copy goes on as the original would, and a theft in it is found, dated and paid for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from benchmarks.containment import arrivals
from benchmarks.containment.clean import choose_rates, judge_clean, said_anyway
from benchmarks.containment.columns import DAY_MS, HOUR_MS, merged
from benchmarks.containment.measures import Result
from benchmarks.containment.play import CleanRun, core_from, detector_settings, play_clean, play_rows
from benchmarks.containment.theft_case import Case
from benchmarks.containment.thefts import CELLS
from benchmarks.containment.traffic import END_MS, TEST_MS, World, make_world
from benchmarks.containment.trials import Planted, Rates, Trial, moments, run_trial, trials
from benchmarks.containment.watch import Bar, Watch, auto_decider
from schemas.records import Finding, KeyFacts

RATE = 0.5
AT = TEST_MS + DAY_MS
BY_NAME = {cell.name: cell for cell in CELLS}


@cache
def world() -> World:
    """Three keys that are used all the time, as little as possible."""
    made = make_world(seed=3, keys=12, requests_scale=0.1)
    busy = np.argsort([-len(rhythm.active_ms) for rhythm in made.rhythms])[:3]
    keep = np.isin(made.clean.key, busy) & (made.clean.ts_ms < AT + 4 * HOUR_MS)
    return dataclasses.replace(made, clean=made.clean.where(keep & (made.clean.ts_ms > TEST_MS - 2 * DAY_MS)))


@cache
def clean() -> CleanRun:
    return play_clean(world(), detector_settings(RATE), [TEST_MS, AT], tell=lambda _: None)


def steal(name: str, rates: Rates = Rates(RATE, RATE)) -> Result:  # noqa: B008 - a tuple of numbers
    cell, key = BY_NAME[name], int(np.bincount(world().clean.key).argmax())
    theft = cell.build(Case(world(), (key,), AT, np.random.default_rng(1)))
    assert theft is not None
    trial = Trial(1, int(world().halves[key]), (cell,), cell.span_ms)
    said = said_anyway(world(), clean().findings, (rates, rates))[0]
    [result] = run_trial(world(), clean().snapshots[1], trial, [Planted(cell, theft)], rates=rates, said=said)
    return result


def test_a_copy_says_what_the_original_said_as_long_as_nobody_has_learned_anything_new() -> None:
    key = int(np.bincount(world().clean.key).argmax())
    theft = BY_NAME["burst x30"].build(Case(world(), (key,), AT + 60_000, np.random.default_rng(1)))
    assert theft is not None
    loud = merged([world().clean, theft.rows]).between(0, AT + 600_000)
    both = dataclasses.replace(world(), clean=loud)
    settings = detector_settings(RATE, refractory_s=1)
    run = play_clean(both, settings, [AT], tell=lambda _: None)
    said = list[Finding]()

    def hear(findings: Sequence[Finding]) -> list[int]:
        said.extend(findings)
        return []

    play_rows(both, core_from(run.snapshots[0], settings), loud.between(AT, AT + 600_000), start_ms=AT,
              until_ms=AT + 600_000, first_offset=run.snapshots[0].next_offset, hear=hear)  # fmt: skip
    original = [finding for finding in run.findings if AT <= finding.at_ms < AT + 600_000]
    assert len(original) > 10
    assert said == original


def test_a_published_theft_is_found_in_seconds_and_cut_before_much_is_lost() -> None:
    result = steal("published 32 USD/min")
    assert result.alert_s is not None
    assert result.alert_s < 120
    assert result.cut_s is not None
    assert result.cut_s >= result.alert_s + 5
    assert 0 < result.lost_at_alert_usd <= result.lost_at_cut_usd < 100 < result.planned_usd
    assert result.by in result.families


def test_what_nobody_finds_costs_all_that_was_planned() -> None:
    result = steal("agent_loop x3", Rates(1e-9, 1e-9))
    assert not result.found
    assert result.cut_s is None
    assert result.lost_at_alert_usd == result.lost_at_cut_usd == result.planned_usd


def test_stricter_thresholds_never_find_sooner() -> None:
    loose, strict = steal("burst x30", Rates(1.0, 1.0)), steal("burst x30", Rates(0.001, 0.001))
    assert loose.alert_s is not None
    assert strict.alert_s is None or strict.alert_s >= loose.alert_s


def test_thresholds_of_a_half_come_from_the_other() -> None:
    rates = choose_rates(world(), clean().findings, alerts_per_key_week=0.25, velocity_alerts_per_key_week=0.25)
    halves = {owner.key_id: int(half) for owner, half in zip(world().ledger.owners, world().halves, strict=True)}
    others = [finding for finding in clean().findings if halves[finding.key_id] == 1]
    again = choose_rates(world(), others, alerts_per_key_week=0.25, velocity_alerts_per_key_week=0.25)
    assert rates[0] == again[0]
    assert judge_clean(world(), clean().findings, rates).key_weeks == len(world().profiles)


def test_every_cell_is_played_and_halves_take_turns() -> None:
    planned = trials(CELLS, starts=8, long_starts=2, slow_starts=2)
    assert {cell.name for trial in planned for cell in trial.cells} == {cell.name for cell in CELLS}
    for alone in (True, False):
        assert {trial.half for trial in planned if trial.velocity_alone is alone} == {0, 1}
    at_ms = moments(starts=8, seed=1)
    assert at_ms == sorted(at_ms)
    assert all(TEST_MS <= moment < END_MS - DAY_MS for moment in at_ms)


def finding(at_s: int, *, family: str = "velocity", score: float = 4.0, severity: str = "warning") -> Finding:
    return Finding.model_validate({
        "finding_id": f"fnd_{family}_{at_s}", "at_ms": at_s * 1000, "key_id": "fp1:a", "family": family,
        "detector": "d", "severity": severity, "score": score, "certain": family == "policy", "reason": "r",
        "evidence": {}, "usd_per_min": 9.0, "expected_usd_per_min": 0.1, "facts": KeyFacts(provider="openai"),
    })  # fmt: skip


def test_one_family_alerts_and_two_cut() -> None:
    watch = Watch(auto_decider())
    watch.hear([finding(10, score=6.0)])
    assert (watch.alert_ms, watch.cut_ms) == (11_000, None)
    watch.hear([finding(20, family="origin", score=6.0)])
    assert (watch.alert_ms, watch.cut_ms) == (11_000, 26_000)
    assert watch.families == ("origin", "velocity")


def test_what_only_informs_is_no_alert() -> None:
    watch = Watch(auto_decider())
    watch.hear([finding(10, family="cohort", severity="info")])
    assert watch.alert_ms is None


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (finding(40), False), (finding(61), True), (finding(40, score=5.5), True), (finding(40, score=0.5), False),
        (finding(40, family="origin"), True), (finding(40, family="policy", score=1.2), True),
    ],
)  # fmt: skip
def test_a_bar_repeats_itself_after_a_minute_or_when_it_is_ten_times_rarer(second: Finding, told: bool) -> None:
    bar = Bar(1.0)
    assert bar.tells(finding(0))
    assert bar.tells(second) is told


def test_without_the_trace_fitted_keys_stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(arrivals, "DATA", tmp_path)
    made = make_world(seed=2, keys=5, requests_scale=0.05)
    assert "made-up keys" in made.source
    assert made.clean.rows > 0


def test_worlds_are_the_same_for_the_same_seed_only() -> None:
    one, same, other = (make_world(seed=seed, keys=4, requests_scale=0.05) for seed in (1, 1, 2))
    assert all((a == b).all() for a, b in zip(one.clean, same.clean, strict=True))
    assert one.clean.rows != other.clean.rows or (one.clean.ts_ms != other.clean.ts_ms).any()
    assert one.ledger.owners == same.ledger.owners


def test_healthy_keys_stay_below_the_default_limit_of_spend() -> None:
    made = make_world(seed=1, keys=12, requests_scale=0.3)
    minute = (made.clean.ts_ms // 60_000) * 100 + made.clean.key
    _, at = np.unique(minute, return_inverse=True)
    assert np.bincount(at, made.clean.cost_nano_usd).max() / 1e9 < 9
