"""The detector for one series: what it hears, that it rests, and that it cannot see ahead."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.nab.__main__ import in_sample, news, run, table, write_results
from benchmarks.nab.corpus import Series, load
from benchmarks.nab.detector import Detector, Settings
from benchmarks.nab.gaussian import PUBLISHED, windowed_gaussian
from benchmarks.nab.halves import neighbours, said
from benchmarks.nab.scoring import Floats
from benchmarks.nab.views import HourBand, Share, Trailing
from tests.traces import DATA, needs

STEP_S = 300.0


def told(values: Floats, step_s: float = STEP_S) -> Floats:
    detector = Detector()
    return np.array([detector.score(step_s * at, value) for at, value in enumerate(values.tolist())])


def noise(length: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).uniform(10.0, 20.0, length)


def with_change(change: str) -> Floats:
    """3,000 points of noise with one change at 2,000, which for all but the spike stays within the usual range."""
    values = noise(3000)
    if change == "spike":
        values[2000] = 45.0
    elif change == "silence":
        values[2000:] = 15.0
    elif change == "level":
        values[2000:] = 17.0 + 0.3 * (values[2000:] - 10.0)
    elif change == "unrest":
        values[2000:] = np.where(np.arange(1000) % 2, 10.2, 19.8)
    return values


@pytest.mark.parametrize(("change", "within"), [("spike", 1), ("silence", 60), ("level", 60), ("unrest", 60)])
def test_a_change_is_heard_soon_and_noise_is_not(change: str, within: int) -> None:
    scores = told(with_change(change))
    assert not scores[600:2000].any()
    assert scores[2000 : 2000 + within].max() > 0.2


def test_what_is_usual_at_noon_is_news_at_midnight() -> None:
    hours = np.arange(24 * 30)
    values = np.where(hours % 24 < 12, 10.0, 80.0) + noise(len(hours)) / 10
    quiet = told(values, 3600.0)
    values[24 * 25 + 1 : 24 * 25 + 7] += 70.0
    assert not quiet[24 * 24 :].any()
    assert told(values, 3600.0)[24 * 25 : 24 * 25 + 10].max() > 0.2


def test_after_an_alarm_only_a_much_louder_one_is_told_at_once() -> None:
    values = noise(3000)
    values[[2000, 2030, 2060]] = 23.0, 26.0, 400.0
    assert np.flatnonzero(told(values)[1900:2090]).tolist() == [100, 160]


def test_a_repeated_anomaly_becomes_usual() -> None:
    values = noise(6000)
    values[2000::500] = 45.0
    scores = told(values)
    assert scores[2000] > 0.2
    assert not scores[3001:].any()


def test_a_constant_series_says_nothing_and_its_first_change_says_much() -> None:
    values = np.full(2000, 5.0)
    values[1500] = 6.0
    scores = told(values)
    assert not scores[:1500].any()
    assert scores[1500] > 0.5


@given(cut=st.integers(1, 900), seed=st.integers(0, 50), future=st.sampled_from([-1e9, 0.0, 1e9]))
@settings(max_examples=6, deadline=None)
def test_no_score_depends_on_what_comes_later(cut: int, seed: int, future: float) -> None:
    values = noise(1000, seed) ** 2
    changed = values.copy()
    changed[cut:] = future
    assert told(values)[:cut].tolist() == told(changed)[:cut].tolist()


@given(seed=st.integers(0, 50), power=st.integers(-20, 20))
@settings(max_examples=6, deadline=None)
def test_the_unit_of_the_series_does_not_matter(seed: int, power: int) -> None:
    values = noise(1500, seed) ** 3
    values[1200:] *= 2
    assert told(values * 2.0**power).tolist() == told(values).tolist()


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=300))
@settings(deadline=None)
def test_a_score_is_from_0_to_below_1_whatever_comes(values: list[float]) -> None:
    scores = told(np.array(values * 5))
    assert (scores >= 0).all()
    assert (scores < 1).all()


@pytest.mark.parametrize(("value", "away"), [(45.0, 0.0), (10.0, 0.0), (50.0, 0.0), (60.0, 10.0), (4.0, -6.0)])
def test_the_hour_band_takes_in_the_hours_beside(value: float, away: float) -> None:
    band = HourBand()
    for day in range(3):
        for hour, usual in ((8, 10.0), (9, 50.0), (10, 30.0), (20, 90.0)):
            band.outside(86_400.0 * day + 3600.0 * hour, usual)
    assert band.outside(86_400.0 * 3 + 3600.0 * 9, value) == pytest.approx(away)


def test_an_hour_never_seen_has_no_band() -> None:
    assert HourBand().outside(0.0, 1e6) == 0.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.integers(1, 20))
def test_trailing_figures_are_those_of_the_last_values(values: list[float], size: int) -> None:
    trailing, share = Trailing(size), Share(size)
    for value in values:
        trailing.add(value)
        of_late = share.add(so=value > 0)
    last = np.array(values[-size:])
    assert trailing.median() == pytest.approx(float(np.median(last)))
    assert trailing.spread() == pytest.approx(float(np.std(last)), abs=1e-6)
    assert trailing.rank(0.0) == pytest.approx(float((last < 0).mean() + (last == 0).mean() / 2))
    assert of_late == pytest.approx(float((last > 0).mean()))


def series(values: Floats, windows: tuple[tuple[int, int], ...] = ()) -> Series:
    starts = np.datetime64("2014-02-14T00:00:00") + 300 * np.arange(len(values)).astype("timedelta64[s]")
    return Series("group/file.csv", tuple(str(at).replace("T", " ") for at in starts), values, windows)


@pytest.mark.parametrize("chosen", [Settings(), *neighbours()[::80]])
def test_choosing_settings_afterwards_is_the_same_as_running_with_them(chosen: Settings) -> None:
    values = noise(2500) ** 2
    values[[1500, 1530, 1900]] *= 4
    one = series(values)
    detector = Detector(chosen)
    scores = [
        detector.score(time_s, value) for time_s, value in zip(one.times_s.tolist(), values.tolist(), strict=True)
    ]
    assert any(scores)
    assert said(news(one, Settings(block=chosen.block)), chosen).tolist() == scores


def test_the_default_is_among_the_neighbours() -> None:
    assert Settings() in neighbours()
    assert len(set(neighbours())) == len(neighbours())


def test_the_results_are_written_as_nab_keeps_them(tmp_path: Path) -> None:
    one = series(np.array([1.5, 2.0, 1e9, 0.1]), ((1, 2),))
    write_results(tmp_path, [one], [np.array([0.0, 0.25, 1 / 3, 0.0])])
    with (tmp_path / "keyfuse" / "group" / "keyfuse_file.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["timestamp"] for row in rows] == list(one.timestamps)
    assert [float(row["value"]) for row in rows] == one.values.tolist()
    assert [float(row["anomaly_score"]) for row in rows] == [0.0, 0.25, 1 / 3, 0.0]
    assert [row["label"] for row in rows] == ["0", "1", "1", "0"]


def test_the_table_shows_every_figure() -> None:
    figures = {"standard": 11.1, "reward_low_FP_rate": 22.2, "reward_low_FN_rate": 33.3}
    names = ("in_sample", "other_half_threshold", "other_half_settings", "windowed_gaussian")
    measured = {name: {key: value + at for key, value in figures.items()} for at, name in enumerate(names)}
    shown = table(
        {**measured, "files": 58, "points": 365_558, "windows": 116, "halves": 20, "us_per_point": 14.4}
    ).splitlines()
    for at in range(4):
        cells = " | ".join(f"{value + at:.4g}" for value in figures.values())
        assert sum(f"| {cells} |" in line for line in shown) == 1
    assert any(f"{PUBLISHED['standard']}" in line for line in shown)


@needs("nab")
def test_on_the_short_files_it_beats_the_windowed_gaussian_for_every_profile() -> None:
    corpus = [one for one in load(DATA / "nab") if len(one.values) < 3000]
    ours = in_sample(corpus, [run(one) for one in corpus])
    theirs = in_sample(corpus, [windowed_gaussian(one.values) for one in corpus])
    for profile, score in ours.items():
        assert score > theirs[profile] + 3
