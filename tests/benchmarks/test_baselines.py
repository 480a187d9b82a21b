"""Each baseline does what its name says: a plain burst is found, constant use is quiet, and times are honest."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.containment.baselines import BASELINES, BILLING_MS, INGESTION_MS, Scores
from benchmarks.containment.columns import DAY_MS, HOUR_MS, START_MS, WEEK_MS, Floats, Ints, KeyHistory

TEST_MS = START_MS + WEEK_MS
END_MS = TEST_MS + WEEK_MS
BURST_MS = TEST_MS + DAY_MS + 10 * HOUR_MS
MINUTE_MS = 60_000
STATIC, EWMA, TREES, GAUSSIAN, HOURLY, BILL = BASELINES
KNOWN_AFTER = {  # end of window and delay
    EWMA: 10 * MINUTE_MS, TREES: 10 * MINUTE_MS, GAUSSIAN: 10 * MINUTE_MS, HOURLY: HOUR_MS + INGESTION_MS,
    BILL: 8 * HOUR_MS + BILLING_MS,
}  # fmt: skip


def history(requests: Ints, *, every_ms: int = MINUTE_MS) -> KeyHistory:
    """One row every so often from the record's start on; a request has 500 tokens and costs a cent."""
    ts_ms = START_MS + np.arange(len(requests)) * every_ms
    used = requests > 0
    requests = requests[used].astype(np.int64)
    cost_usd = requests.astype(np.float64) / 100
    return KeyHistory(START_MS, TEST_MS, END_MS, ts_ms[used], requests, requests * 500, cost_usd)


def constant() -> Ints:
    return np.full((END_MS - START_MS) // MINUTE_MS, 2)


def uneven(seed: int = 1) -> Ints:
    return np.random.default_rng(seed).poisson(2.0, (END_MS - START_MS) // MINUTE_MS)


def with_burst(requests: Ints, times: int) -> Ints:
    """Two hours of so many times the use."""
    first = (BURST_MS - START_MS) // MINUTE_MS
    burst = requests.copy()
    burst[first : first + 120] = 2 * times
    return burst


def at(scores: Scores, from_ms: int, until_ms: int) -> Floats:
    return scores.score[(scores.known_ms >= from_ms) & (scores.known_ms < until_ms)]


@pytest.mark.parametrize("name", BASELINES)
def test_a_hundredfold_burst_stands_above_everything_before(name: str) -> None:
    scores = BASELINES[name](history(with_burst(uneven(), 100)))
    assert at(scores, BURST_MS, BURST_MS + DAY_MS).max() > at(scores, TEST_MS, BURST_MS).max()


@pytest.mark.parametrize(
    ("name", "alarming"), [(STATIC, 1.0), (EWMA, 3.0), (GAUSSIAN, 0.9999), (HOURLY, 3.0), (BILL, 1.0)]
)
def test_constant_use_is_quiet_and_the_burst_is_past_the_usual_threshold(name: str, alarming: float) -> None:
    assert BASELINES[name](history(constant())).score.max() < alarming / 2
    assert BASELINES[name](history(with_burst(constant(), 100))).score.max() > alarming


def test_trees_find_constant_use_less_strange_than_a_burst() -> None:
    quiet = BASELINES[TREES](history(constant())).score
    loud = BASELINES[TREES](history(with_burst(uneven(), 100)))
    assert quiet.max() < at(loud, BURST_MS, BURST_MS + HOUR_MS).max()


@pytest.mark.parametrize("name", KNOWN_AFTER)
def test_a_windows_score_is_known_when_it_is_over_and_its_data_is_there(name: str) -> None:
    scores = BASELINES[name](history(constant()))
    assert scores.known_ms[0] >= TEST_MS
    plain, burst = (BASELINES[name](history(use)) for use in (uneven(), with_burst(uneven(), 100)))
    differ = scores.known_ms[plain.score != burst.score]
    assert differ[0] >= BURST_MS
    assert differ[0] <= BURST_MS + KNOWN_AFTER[name]
    assert name != BILL or differ[0] >= BURST_MS + BILLING_MS
    assert name != HOURLY or differ[0] == BURST_MS + HOUR_MS + INGESTION_MS


def test_a_static_limit_counts_from_request_to_request() -> None:
    requests = constant()
    first = (BURST_MS - START_MS) // MINUTE_MS
    requests[first] = 5
    whole = history(requests)
    seconds = KeyHistory(
        START_MS, TEST_MS, END_MS, BURST_MS + np.arange(9) * 1000, *(np.ones(9, np.int64),) * 2, np.zeros(9)
    )
    limit = BASELINES[STATIC].learned(whole)
    assert limit.rpm == 6
    assert BASELINES[STATIC].scores(limit, whole).score.max() == pytest.approx(5 / 6)
    assert BASELINES[STATIC].scores(limit, seconds).score.tolist() == [n / 6 for n in range(1, 10)]


def test_minutes_without_use_do_not_lower_the_static_limit() -> None:
    requests = constant()
    requests[: len(requests) // 4] = 0
    assert BASELINES[STATIC].learned(history(requests)).rpm == 6


@pytest.mark.parametrize("name", BASELINES)
def test_week_one_is_learned_once_and_never_changed_by_scoring(name: str) -> None:
    baseline = BASELINES[name]
    clean, stolen = history(uneven()), history(with_burst(uneven(), 100))
    state = baseline.learned(clean)
    first = baseline.scores(state, stolen)
    again = baseline.scores(state, stolen)
    whole = baseline(stolen)
    for one, other in ((first, again), (first, whole)):
        assert one.known_ms.tolist() == other.known_ms.tolist()
        assert one.score.tolist() == other.score.tolist()


@pytest.mark.parametrize("name", BASELINES)
def test_rows_of_the_last_day_before_the_test_are_enough(name: str) -> None:
    whole = history(uneven())
    moment_ms = BURST_MS + 7 * MINUTE_MS + 3000  # in the midst of every window
    whole = whole._replace(test_ms=moment_ms)
    late = whole.ts_ms >= moment_ms - DAY_MS
    part = whole._replace(**{name: getattr(whole, name)[late] for name in ("ts_ms", "requests", "tokens", "cost_usd")})
    state = BASELINES[name].learned(whole)
    one, other = BASELINES[name].scores(state, whole), BASELINES[name].scores(state, part)
    assert one.known_ms.tolist() == other.known_ms.tolist()
    assert one.score.tolist() == other.score.tolist()
    assert one.known_ms[0] >= moment_ms


@pytest.mark.parametrize("name", BASELINES)
def test_scores_use_no_future(name: str) -> None:
    use = uneven()
    first = (BURST_MS - START_MS) // MINUTE_MS
    silent = np.where(np.arange(len(use)) >= first, 0, use)
    one, other = BASELINES[name](history(use)), BASELINES[name](history(silent))
    before = int(np.searchsorted(one.known_ms, BURST_MS))
    assert before > 0
    assert one.score[:before].tolist() == other.score[:before].tolist()


@pytest.mark.parametrize("name", BASELINES)
def test_a_key_without_history_is_scored_with_finite_numbers(name: str) -> None:
    nobody = BASELINES[name](history(np.zeros(1, np.int64)))
    assert np.isfinite(nobody.score).all()
    fresh = uneven()
    fresh[: (BURST_MS - START_MS) // MINUTE_MS] = 0
    scores = BASELINES[name](history(fresh))
    assert len(scores.score)
    assert np.isfinite(scores.score).all()


def test_hour_of_day_is_what_the_hourly_monitor_compares_with() -> None:
    minute = np.arange((END_MS - START_MS) // MINUTE_MS)
    office = np.where(minute // 60 % 24 == 10, 50, 1)
    moved = office.copy()
    first = (TEST_MS + DAY_MS + 3 * HOUR_MS - START_MS) // MINUTE_MS
    moved[first : first + 60] = 50
    assert BASELINES[HOURLY](history(office)).score.max() < 1
    assert BASELINES[HOURLY](history(moved)).score.max() > 3


def test_a_bill_that_is_a_third_higher_alarms_nobody() -> None:
    requests = constant() * 3
    requests[(TEST_MS - START_MS) // MINUTE_MS :] = 8
    assert 0.5 < BASELINES[BILL](history(requests)).score.max() < 1
