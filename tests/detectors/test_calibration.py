"""Scores mean the same in each cohort, and never promise more than is known."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import calibration
from detectors.calibration import BIN, BINS
from detectors.families import CALIBRATED
from detectors.state import Array

RAW = np.arange(0, 12, 0.05)


def scores(counts: Array, family: int = 0) -> Array:
    tables = calibration.table(counts[None])
    return calibration.scores(tables, np.zeros(len(RAW), int), family, RAW)


def sampled(seed: int, fold: float, blocks: int) -> Array:
    raw = np.random.default_rng(seed).exponential(fold, blocks)
    return np.stack([np.bincount(calibration.bins_of(raw), minlength=BINS)] * len(CALIBRATED)).astype(float)


@pytest.mark.parametrize(
    "counts",
    [np.zeros((len(CALIBRATED), BINS)), sampled(1, 0.3, 20_000), sampled(2, 1.0, 50), np.eye(len(CALIBRATED), BINS)],
)
@pytest.mark.parametrize("family", range(len(CALIBRATED)))
def test_a_higher_raw_score_is_never_less_rare(counts: Array, family: int) -> None:
    result = scores(counts, family)

    assert (np.diff(result) >= 0).all()
    assert (result >= 0).all()
    assert np.isfinite(result).all()


@pytest.mark.parametrize("fold", [0.3, 0.8])
def test_within_the_data_a_score_is_the_observed_frequency(fold: float) -> None:
    result = scores(sampled(3, fold, 100_000))

    for chance in (0.3, 0.1, 0.02):
        raw = -fold * np.log(chance)
        assert np.interp(raw, RAW, result) == pytest.approx(-np.log10(chance), abs=0.15)


def test_beyond_the_data_the_tail_follows_its_slope() -> None:
    result = scores(sampled(4, 0.8, 100_000))

    assert np.interp(-0.8 * np.log(1e-4), RAW, result) == pytest.approx(4, abs=0.35)


def test_quiet_weeks_do_not_prove_that_changes_never_come() -> None:
    calm = np.zeros((len(CALIBRATED), BINS))
    calm[:, 0] = 1e6

    assert all(scores(calm, family)[int(2 / 0.05)] < 5.6 for family in range(len(CALIBRATED)))


def test_a_threshold_is_the_chance_it_is_asked_for() -> None:
    assert 10 ** -calibration.threshold(0.5) * 1008 == pytest.approx(0.5)
    assert calibration.threshold(5000) == 0


def test_raw_scores_beyond_the_table_stay_in_its_last_bin() -> None:
    assert calibration.bins_of(np.array([-1.0, 0.0, BIN, 1e9])).tolist() == [0, 0, 1, BINS - 1]
