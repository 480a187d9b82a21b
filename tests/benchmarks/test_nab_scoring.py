"""NAB's published scoring: by hand, against a plain recomputation, and on the figure everybody can reproduce."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.nab.corpus import Series, Window, load
from benchmarks.nab.gaussian import PUBLISHED, windowed_gaussian
from benchmarks.nab.halves import crossed
from benchmarks.nab.scoring import (
    PROFILES,
    Floats,
    Profile,
    best,
    merge,
    probation,
    scaled_sigmoid,
    score_at,
    steps,
)
from tests.traces import DATA, needs

STANDARD, LOW_FP, LOW_FN = PROFILES
LENGTH, WINDOW = 200, (100, 119)


def alarms(*at: int, length: int = LENGTH) -> Floats:
    scores = np.zeros(length)
    scores[list(at)] = 1.0
    return scores


def scored(profile: Profile, *at: int, windows: tuple[Window, ...] = (WINDOW,)) -> float:
    return score_at(steps(alarms(*at), windows), profile, 0.5)


def test_probation_is_fifteen_percent_and_at_most_750_points() -> None:
    assert [probation(length) for length in (0, 6, 4032, 4999, 5000, 22_695)] == [0, 0, 604, 749, 750, 750]


def test_the_sigmoid_is_that_of_the_paper() -> None:
    positions = np.array([-1.0, -0.5, 0.0, 1.0, 2.99, 3.0, 9.0])
    expected = [0.98661, 0.84828, 0.0, -0.98661, -1.0, -1.0, -1.0]
    assert scaled_sigmoid(positions) == pytest.approx(expected, abs=1e-5)


def test_silence_is_0_and_the_first_point_of_each_window_is_100() -> None:
    for profile in PROFILES:
        assert scored(profile) == 0.0
        assert scored(profile, WINDOW[0]) == pytest.approx(100.0)
        assert scored(profile, 100, 150, windows=((100, 119), (150, 169))) == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("profile", "at", "expected"),
    [
        # Half into the window of 20: position -(119 - 110 + 1) / 20 = -0.5; of 1 + 1 for a window found.
        (STANDARD, (110,), 50 * (1 + 0.84828 / 0.98661)),
        (LOW_FN, (110,), 100 * (2 + 0.84828 / 0.98661) / 3),
        # The last point of it: position -1/20.
        (STANDARD, (119,), 50 * (1 + (2 / (1 + np.exp(-0.25)) - 1) / 0.98661)),
        # Long before a window and long behind it, a false point costs its whole weight.
        (STANDARD, (50,), -50 * 0.11),
        (LOW_FP, (50,), -50 * 0.22),
        (LOW_FN, (50,), -100 * 0.11 / 3),
        (STANDARD, (199,), -50 * 0.11),
        # Half a window (19 points are one length) behind its end it costs the sigmoid at 0.5.
        (STANDARD, (119 + 19,), -50 * 0.11 * 0.98661),
        # Only the best point of a window counts.
        (STANDARD, (110, 115, 119), 50 * (1 + 0.84828 / 0.98661)),
        # Nothing in the first 30 points counts.
        (STANDARD, (3, 29), 0.0),
        (STANDARD, (30,), -50 * 0.11),
    ],
)
def test_what_alarms_are_worth(profile: Profile, at: tuple[int, ...], expected: float) -> None:
    assert scored(profile, *at) == pytest.approx(expected, abs=1e-3)


def test_a_window_that_ends_in_probation_is_neither_found_nor_missed() -> None:
    assert steps(alarms(), ((5, 20), WINDOW)).windows == 1
    assert steps(alarms(), ((25, 40), WINDOW)).windows == 2


def test_all_files_share_one_threshold() -> None:
    # One file's alarm is fainter than the other's false one: no threshold gives both windows without it.
    faint, loud = 0.4 * alarms(100), alarms(100) + 0.6 * alarms(50)
    apart = [best(steps(scores, (WINDOW,)), STANDARD).score for scores in (faint, loud)]
    together = best(merge([steps(scores, (WINDOW,)) for scores in (faint, loud)]), STANDARD)
    assert apart == pytest.approx([100.0, 100.0])
    assert together.threshold == 0.4
    assert together.score == pytest.approx(100 * (4 - 0.11) / 4)


def test_a_detector_worse_than_silence_is_best_silent() -> None:
    assert best(steps(alarms(40, 60, 80), (WINDOW,)), STANDARD) == best(steps(alarms(), (WINDOW,)), STANDARD)


def plainly(scores: Floats, windows: tuple[Window, ...], profile: Profile, threshold: float) -> float:
    """The score recomputed point by point, as the paper tells it."""
    start = probation(len(scores))
    detected = [at for at in range(start, len(scores)) if scores[at] >= threshold]
    total, count = 0.0, 0
    for first, last in windows:
        count += last >= start
        inside = [
            scaled_sigmoid(np.array([-(last - at + 1) / (last - first + 1)]))[0]
            for at in detected
            if first <= at <= last
        ]
        if last >= start:
            total += profile.found * max(inside) / scaled_sigmoid(np.array([-1.0]))[0] if inside else -profile.missed
    for at in detected:
        if not any(first <= at <= last for first, last in windows):
            ended = [(last, first) for first, last in windows if last < at]
            behind = (at - max(ended)[0]) / (max(ended)[0] - max(ended)[1]) if ended else 3.0
            total += profile.false * scaled_sigmoid(np.array([behind]))[0]
    return 100 * (total + profile.missed * count) / ((profile.found + profile.missed) * count)


@given(
    levels=st.lists(st.sampled_from([0.0, 0.1, 0.4, 0.4, 0.7, 1.0]), min_size=60, max_size=80),
    edges=st.lists(st.integers(0, 59), min_size=4, max_size=4, unique=True).map(sorted),
)
def test_the_sweep_over_thresholds_is_the_plain_sum_at_each(levels: list[float], edges: list[int]) -> None:
    scores, windows = np.array(levels), ((edges[0], edges[1]), (edges[2], edges[3]))
    swept = steps(scores, windows)
    for profile in PROFILES:
        if swept.windows == 0:
            continue
        each = {threshold: plainly(scores, windows, profile, threshold) for threshold in (0.1, 0.4, 0.7, 1.0)}
        assert {at: score_at(swept, profile, at) for at in each} == pytest.approx(each)
        assert best(swept, profile).score == pytest.approx(
            max(0.0, plainly(scores, windows, profile, 0.0), *each.values())
        )


def test_the_other_half_is_scored_by_what_one_half_chose() -> None:
    good = [steps(alarms(100), (WINDOW,)) for _ in range(6)]
    bad = [steps(alarms(50), (WINDOW,)) for _ in range(6)]
    assert crossed([bad, good], halves=3) == pytest.approx({profile.name: 100.0 for profile in PROFILES})
    # The half with the loud false alarms keeps silent below 1, so that the faint files are missed, and the other way
    # round the false alarms are let in: what was best for one half is not for the other.
    faint = [steps(0.4 * alarms(100), (WINDOW,)), steps(alarms(100) + 0.6 * alarms(*range(40, 90)), (WINDOW,))]
    assert crossed([faint], halves=1)["standard"] == pytest.approx((0.0 + 100 - 50 * 50 * 0.11) / 2)


def nab_folder(folder: Path, rows: list[tuple[str, float]], window: tuple[str, str]) -> Path:
    (folder / "data" / "some").mkdir(parents=True)
    (folder / "labels").mkdir()
    lines = ["timestamp,value", *(f"{when},{value}" for when, value in rows)]
    (folder / "data" / "some" / "file.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    limits = {"some/file.csv": [[f"{edge}.000000" for edge in window]]}
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(limits), encoding="utf-8")
    return folder


ROWS = [
    ("2014-11-02 01:30:00", 1.0),
    ("2014-11-02 01:35:00", 2.0),
    ("2014-11-02 01:30:00", 3.0),
    ("2014-11-02 02:00:00", 4.0),
]


def test_a_window_opens_at_the_first_of_two_equal_timestamps(tmp_path: Path) -> None:
    (series,) = load(nab_folder(tmp_path, ROWS, ("2014-11-02 01:30:00", "2014-11-02 02:00:00")))
    assert (series.name, series.windows, series.values.tolist()) == ("some/file.csv", ((0, 3),), [1.0, 2.0, 3.0, 4.0])
    assert np.diff(series.times_s).tolist() == [300.0, -300.0, 1800.0]


def test_a_window_that_is_not_in_its_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in tuple"):
        load(nab_folder(tmp_path, ROWS, ("2014-11-02 01:30:00", "2014-11-03 02:00:00")))


def test_the_windowed_gaussian_is_its_own_definition_point_by_point() -> None:
    rng = np.random.default_rng(3)
    values = np.concatenate((np.full(5, 7.0), rng.normal(90.0, 20.0, 6700)))
    scores = windowed_gaussian(values)
    for at, window in ((3, values[:3]), (6399, values[:6399]), (6499, values[:6400]), (6505, values[100:6500])):
        spread = max(float(np.std(window)), 1e-6)
        z = abs(values[at] - np.mean(window)) / spread
        tail = 0.5 * float(scaled_erfc(z))
        assert scores[at] == pytest.approx(1 - tail, abs=1e-6)


def scaled_erfc(z: float) -> float:
    """2 × the one-sided normal tail, by numerical integration."""
    grid = np.linspace(z, z + 12, 200_001)
    return float(2 * np.trapezoid(np.exp(-grid * grid / 2), grid) / np.sqrt(2 * np.pi))


@pytest.fixture(scope="module")
def corpus() -> list[Series]:
    return load(DATA / "nab")


@needs("nab")
def test_the_corpus_is_the_published_one(corpus: list[Series]) -> None:
    assert len(corpus) == 58
    assert sum(len(series.windows) for series in corpus) == 116


@needs("nab")
def test_windowed_gaussian_scores_what_its_authors_publish(corpus: list[Series]) -> None:
    files = merge([steps(windowed_gaussian(series.values), series.windows) for series in corpus])
    assert {profile.name: round(best(files, profile).score, 2) for profile in PROFILES} == PUBLISHED
