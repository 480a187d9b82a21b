"""Thresholds for so many alerts a week: what is counted is what the stages would say, and what is chosen fits."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.explain import number
from detectors.families import CALIBRATED
from schemas.config import DetectorsConfig, ResponsesConfig, WiringConfig
from schemas.config.responses import LadderConfig
from schemas.records import Mark
from service.backtest_side import Side
from service.config_folder import load_detectors
from service.config_tree import Folder
from service.play import feed, new_cores
from service.tune import Tuned, tune
from service.tune_choose import Search, choose, curve, floors_of, halves, rate_of
from service.tune_command import PlantedEvents
from service.tune_picture import draw
from service.tune_plant import KINDS
from service.tune_record import FAMILIES, Recorder, Records, joined
from service.tune_report import as_file, as_json, lines
from service.tune_thefts import Theft, outcome
from tests.service.past import FIRST_MS, STOLEN, THEFT_LASTS_S, THEFT_S, as_frame, events, mark

HOUR_MS = 3_600_000
LAST_MS = (THEFT_S + 600) * 1000
VELOCITY, ORIGIN, COHORT, POLICY = (FAMILIES.index(name) for name in ("velocity", "origin", "cohort", "policy"))
FEW = KINDS[1:3]
NO_LIMITS = {"limits": {"enabled": False}}


def folder(detectors: dict[str, Any] | None = None) -> Folder:
    wiring = WiringConfig.model_validate({"kafka": {"partitions": 2}, "state": {"shards": 4}})
    return Folder(wiring=wiring, detectors=DetectorsConfig.model_validate(detectors or NO_LIMITS))


def tuned(*, per_week: float = 5.0, marks: tuple[Mark, ...] = (), stolen: bool = True, detectors: Any = None) -> Tuned:
    past = as_frame(events(keys=5, stolen=stolen))
    frames = [past.slice(start, 400) for start in range(0, past.num_rows, 400)]
    return tune(
        folder(detectors), frames, per_week=per_week, marks=marks, parse=PlantedEvents(),
        from_ms=FIRST_MS + 6 * HOUR_MS, last_ms=LAST_MS, kinds=FEW,
    )  # fmt: skip


@pytest.fixture(scope="module")
def by_plants() -> Tuned:
    return tuned()


@pytest.fixture(scope="module")
def by_labels() -> Tuned:
    return tuned(marks=(mark("true"),))


def records(*rows: tuple[str, float, int, float], excess: float = 5.0) -> Records:
    """(key, seconds, family, score), sorted by key and time."""
    names = tuple(sorted({row[0] for row in rows}))
    ordered = sorted(rows, key=lambda row: (row[0], row[1]))
    return Records(
        names, np.array([names.index(row[0]) for row in ordered], int),
        np.array([round(row[1] * 1000) for row in ordered], int), np.array([row[2] for row in ordered], int),
        np.array([row[3] for row in ordered], float), np.full(len(ordered), excess),
    )  # fmt: skip


def search(found: Records, *thefts: Theft, weeks: float = 1.0) -> Search:
    rates = dict.fromkeys(("velocity", "origin", "cohort"), 0.1)
    return Search(found, thefts, weeks, ResponsesConfig(), floors_of(rates))


def theft(*rows: tuple[float, int, float], usd: float = 60.0, goes_on: bool = True, excess: float = 5.0) -> Theft:
    """A theft of 600 s that spends evenly."""
    at_ms = np.arange(0, 600_000, 1000)
    return Theft(
        "t", "k", 0, 600_000, goes_on, records(*(("k", *row) for row in rows), excess=excess), at_ms,
        np.cumsum(np.full(600, usd / 600)),
    )  # fmt: skip


@pytest.mark.parametrize(
    "detectors",
    [
        NO_LIMITS,
        NO_LIMITS | {"velocity": {"alarm_per_key_week": 30.0}},
        *(
            NO_LIMITS | {name: {"alarm_per_key_week": rate} for name in CALIBRATED}
            for rate in (0.01, 1, 3, 9, 19, 90, 2000)
        ),
    ],
)
def test_the_incidents_counted_are_those_that_would_open(detectors: dict[str, Any]) -> None:
    where, past = folder(detectors), as_frame(events(keys=5))
    cores = new_cores(where)
    recorders = [Recorder(core) for core in cores]
    side = Side(where, {}, from_ms=0)
    for _, _, told in feed(cores, past):
        side.take(told)
    for core in cores:
        side.take(core.advance(LAST_MS // 1000))
    found = joined(recorder.records() for recorder in recorders)
    rates = {name: getattr(where.detectors, name).alarm_per_key_week for name in CALIBRATED}

    counted = Search(found, (), 1.0, where.responses, floors_of(rates)).alerts(floors_of(rates))

    assert counted == len(side.incidents()) > 0


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([], 0),
        ([("a", 0, VELOCITY, 3.9)], 0),
        ([("a", 0, VELOCITY, 4.1)], 1),
        ([("a", 0, VELOCITY, 4.1), ("a", 2600, ORIGIN, 5)], 1),
        ([("a", 0, VELOCITY, 4.1), ("a", 2800, ORIGIN, 5)], 2),
        ([("a", 0, VELOCITY, 4.1), ("a", 1900, ORIGIN, 5), ("a", 3000, ORIGIN, 5)], 2),  # the second told nobody
        ([("a", 0, VELOCITY, 4.1), ("a", 1900, ORIGIN, 5), ("a", 4600, ORIGIN, 5), ("a", 5000, ORIGIN, 5)], 2),
        ([("a", 0, VELOCITY, 4.1), ("b", 1, ORIGIN, 5), ("b", 9000, ORIGIN, 3)], 2),
        ([("a", 0, POLICY, math.inf)], 1),
    ],
)
def test_an_alert_is_one_key_until_it_was_silent(rows: list[tuple[str, float, int, float]], count: int) -> None:
    one = search(records(*rows))

    assert one.alerts(one.floors) == count


def test_no_threshold_takes_a_certain_limit_away() -> None:
    one = search(records(("a", 0, POLICY, math.inf), ("a", 90_000, POLICY, math.inf)))

    assert choose(one, 0.1).per_week == 2


@pytest.mark.parametrize(
    ("rows", "told_s", "cut_s"),
    [
        ([], math.inf, math.inf),
        ([(10, VELOCITY, 3.0)], math.inf, math.inf),
        ([(10, VELOCITY, 5.0)], 10, math.inf),
        ([(10, VELOCITY, 3.0), (40, VELOCITY, 5.0)], 40, math.inf),
        ([(10, VELOCITY, 5.0), (30, ORIGIN, 5.0)], 10, 35),
        ([(10, VELOCITY, 5.0), (30, COHORT, 9.0)], 10, math.inf),
        ([(20, POLICY, math.inf)], 20, 25),
    ],
)
def test_when_a_theft_is_told_and_cut(rows: list[tuple[float, int, float]], told_s: float, cut_s: float) -> None:
    found = outcome(theft(*rows), search(records()).floors, LadderConfig(wrong_cut_usd=1.0, cut_score=0))

    assert (found.told_ms / 1000, found.cut_ms / 1000) == (told_s, cut_s)


def test_too_little_money_at_stake_is_told_and_not_cut() -> None:
    rows = [(10.0, VELOCITY, 5.0), (30.0, ORIGIN, 5.0)]
    floors, ladder = search(records()).floors, LadderConfig(wrong_cut_usd=100.0, person_answers_min=30, cut_score=0)

    assert math.isinf(outcome(theft(*rows, excess=1.0), floors, ladder).cut_ms)
    assert outcome(theft(*rows, excess=4.0), floors, ladder).cut_ms == 35_000


def test_a_cut_waits_until_both_kinds_are_as_sure_as_the_ladder_asks() -> None:
    rows = [(10.0, VELOCITY, 5.0), (30.0, ORIGIN, 5.0), (50.0, VELOCITY, 5.6), (70.0, ORIGIN, 5.6)]
    floors = search(records()).floors

    assert outcome(theft(*rows), floors, LadderConfig(wrong_cut_usd=1.0)).cut_ms == 75_000
    assert outcome(theft(*rows), floors, LadderConfig(wrong_cut_usd=1.0, cut_score=5.0)).cut_ms == 35_000


@pytest.mark.parametrize(
    ("rows", "goes_on", "lost"),
    [
        ([(9, VELOCITY, 5.0), (34, ORIGIN, 5.0)], True, 4.0),  # cut after 39 s at 0.1 USD/s
        ([(60, VELOCITY, 5.0)], True, 186.0),  # a person answers 30 minutes later
        ([(60, VELOCITY, 5.0)], False, 60.0),  # it ended before
        ([], True, 8640.0),  # a day until the bill
        ([], False, 60.0),
    ],
)
def test_what_a_theft_costs(rows: list[tuple[float, int, float]], goes_on: bool, lost: float) -> None:
    ladder = LadderConfig(wrong_cut_usd=1.0, person_answers_min=30, cut_score=0)

    assert outcome(theft(*rows, goes_on=goes_on), search(records()).floors, ladder).lost_usd == pytest.approx(lost)


def test_alerts_that_cannot_be_had_fewer_are_no_reason_to_be_blind() -> None:
    broken = [("a", hour * 36_000.0, POLICY, math.inf) for hour in range(3)]
    one = search(records(*broken, ("b", 0, VELOCITY, 4.5)), theft((10, VELOCITY, 4.2)), theft((10, ORIGIN, 4.1)))

    point = choose(one, 1.0)

    assert point.per_week == 3
    assert point.losses.told == 1  # origin's; velocity is stricter, for that takes an alert away


@settings(max_examples=30, deadline=None)
@given(
    scores=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 200), st.sampled_from([VELOCITY, ORIGIN, COHORT]),
                              st.floats(2, 8)), max_size=60),
    wanted=st.floats(0.5, 30),
)  # fmt: skip
def test_the_choice_keeps_within_what_was_asked_for(scores: list[tuple[str, int, int, float]], wanted: float) -> None:
    one = search(records(*((key, hour * 3600.0, family, score) for key, hour, family, score in scores)))

    point = choose(one, wanted)

    assert point.per_week <= max(wanted - 1, 0)
    assert point.per_week == one.alerts(point.floors)


def test_more_alerts_are_bought_with_less_loss_and_no_more_than_are_worth_it() -> None:
    noise = [(f"k{n}", n * 9000.0, VELOCITY, 2.0 + n * 0.1) for n in range(30)]
    small = theft((100, VELOCITY, 3.4), usd=6.0)
    large = theft((100, VELOCITY, 4.6), usd=600.0)
    one = search(records(*noise), small, large)
    few, more, many = (choose(one, wanted) for wanted in (6, 18, 40))

    assert [point.losses.told for point in (few, more, many)] == [1, 2, 2]
    assert few.per_week <= 5
    assert few.per_week < more.per_week
    assert more.losses.lost_usd < few.losses.lost_usd
    assert many.floors.tolist() == more.floors.tolist()  # it finds no theft more


def test_one_family_may_be_stricter_than_the_others() -> None:
    noise = [(f"k{n}", n * 9000.0, ORIGIN, 4.5) for n in range(20)]
    one = search(records(*noise), theft((10, VELOCITY, 4.2)))

    rates = choose(one, 3).rates()

    assert rates["origin"] < 0.04 < rates["velocity"]


def test_the_curve_falls_from_loose_to_strict() -> None:
    noise = [(f"k{n}", n * 9000.0, VELOCITY, 2.0 + n * 0.1) for n in range(30)]
    points = [point for _, point in curve(search(records(*noise), theft((10, VELOCITY, 4.2))))]

    weeks, told = [point.per_week for point in points], [point.losses.told for point in points]
    assert weeks == sorted(weeks, reverse=True)
    assert told == sorted(told, reverse=True)
    assert (weeks[0], weeks[-1], told[0], told[-1]) == (30, 0, 1, 0)


def test_halves_share_no_key() -> None:
    one = search(records(("a", 0, VELOCITY, 5), ("b", 0, VELOCITY, 5), ("c", 0, VELOCITY, 5)))

    left, right = halves(one, lambda name: name == "b")

    assert (left.alerts(left.floors), right.alerts(right.floors)) == (1, 2)


@pytest.mark.parametrize("rate", [0.0001, 0.1, 3.0, 20.0])
def test_a_rate_survives_being_a_threshold(rate: float) -> None:
    assert rate_of(float(floors_of({"velocity": rate})[VELOCITY])) == pytest.approx(rate, rel=2e-3)


def test_thefts_are_planted_on_the_historys_own_keys(by_plants: Tuned) -> None:
    assert by_plants.planted
    assert {each.name for each in by_plants.thefts} == {"burst x10", "burst x30"}
    assert {each.key_id for each in by_plants.thefts} <= {f"k{n:02}" for n in range(5)}
    assert all(each.spent_usd[-1] > 0 for each in by_plants.thefts)
    assert by_plants.current.losses.told > len(by_plants.thefts) / 2


def test_planted_thefts_teach_the_history_nothing(by_plants: Tuned, by_labels: Tuned) -> None:
    marked = Search(by_labels_records(), (), by_plants.weeks, ResponsesConfig(), by_plants.current.floors)

    assert by_plants.current.per_week == marked.point(by_plants.current.floors).per_week


def by_labels_records() -> Records:
    past, where = as_frame(events(keys=5)), folder()
    cores = new_cores(where)
    recorders = [Recorder(core, from_ms=FIRST_MS + 6 * HOUR_MS) for core in cores]
    for start in range(0, past.num_rows, 400):
        list(feed(cores, past.slice(start, 400)))
    for core in cores:
        core.advance(LAST_MS // 1000 + 1)
    return joined(recorder.records() for recorder in recorders)


def test_labelled_thefts_are_measured_instead_and_are_no_alarms(by_labels: Tuned, by_plants: Tuned) -> None:
    assert not by_labels.planted
    [one] = by_labels.thefts
    assert (one.key_id, one.from_ms, one.until_ms - one.from_ms) == (STOLEN, THEFT_S * 1000, THEFT_LASTS_S * 1000 + 1)
    assert one.spent_usd[-1] > 30
    assert by_labels.current.losses.told == 1
    assert by_labels.current.per_week < by_plants.current.per_week


def test_the_same_history_gives_the_same_proposal(by_plants: Tuned) -> None:
    assert as_json(tuned(), what="h") == as_json(by_plants, what="h")


def test_the_file_holds_what_was_set_and_the_new_rates(tmp_path: Path) -> None:
    before = {"limits": {"usd_per_hour": 70.0}, "velocity": {"hour_weight": 0.3}, "rhythm": {"enabled": False}}
    found = tuned(detectors=before, marks=(mark("true"),))
    file = tmp_path / "proposed.yaml"
    file.write_text(as_file(DetectorsConfig.model_validate(before), found, what="h"), encoding="utf-8")

    proposed = load_detectors(file)

    assert (proposed.limits.usd_per_hour, proposed.velocity.hour_weight, proposed.rhythm.enabled) == (70.0, 0.3, False)
    assert proposed.velocity.alarm_per_key_week == found.proposed.rates()["velocity"]
    assert "alarm_per_key_week" not in yaml.safe_load(file.read_text())["rhythm"]


def test_the_page_names_the_figures_and_what_they_rest_on(by_plants: Tuned, by_labels: Tuned) -> None:
    half = by_plants.current.losses
    checked = replace(by_plants, chosen_on=half, held_out=half)
    planted, marked = ("\n".join(lines(each, what="a test")) for each in (checked, by_labels))

    assert f"so {len(by_plants.thefts)} were planted on the history's own keys, 20 minutes each" in planted
    assert "measured against 1 theft that people have marked" in marked
    assert "19.2 h of history is little" in planted
    assert "check: chosen on half of the keys" in planted
    assert "check:" not in marked
    for family, rate in by_plants.proposed.rates().items():
        assert any(line.startswith(family) and line.split()[2] == number(rate) for line in planted.splitlines()), family


def test_alerts_that_no_threshold_can_take_away_are_named() -> None:
    found = tuned(detectors={"limits": {"usd_per_min": 0.003}}, per_week=1, marks=(mark("true"),))

    assert found.unmovable_per_week > 1
    assert "limits, policies and budgets alone come to" in "\n".join(lines(found, what="h"))


def test_what_fewer_alerts_cost_is_said(by_plants: Tuned) -> None:
    now, blind = by_plants.current, by_plants.current.losses._replace(told=by_plants.current.losses.told - 3)
    stricter = replace(by_plants, proposed=now._replace(losses=blind, per_week=by_plants.wanted_per_week + 1))

    page = "\n".join(lines(stricter, what="h"))

    assert "the price of fewer alerts: 3 thefts fewer would be told" in page
    assert f"fewer than {number(by_plants.wanted_per_week + 1)} alerts a week cannot be had here by thresholds" in page
    assert "the price of" not in "\n".join(lines(replace(by_plants, proposed=now), what="h"))


def test_the_picture_is_the_same_for_the_same_figures(by_plants: Tuned, tmp_path: Path) -> None:
    draw(by_plants, tmp_path / "one.png")
    draw(by_plants, tmp_path / "two.png")

    assert (tmp_path / "one.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
