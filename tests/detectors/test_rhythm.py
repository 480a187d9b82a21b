"""When a key is used: hours of rest, silences and days without rest, and the keys that have no such habits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from detectors import rhythm
from detectors.close import Told
from detectors.examples import NOW_S, blank, closing
from detectors.state import State
from schemas.config.detectors import DetectorSettings
from tests.detectors.shared import shared

SETTINGS = DetectorSettings()
MONDAY = NOW_S // 86_400 * 144
"""The block in which a Monday begins, in UTC."""
USUAL_USD = 0.5
LOUD = 1.2

Used = Callable[[int, int], bool]


@dataclass
class Life:
    """One key, block by block. `used` says whether it is used on a day and hour, counted from MONDAY."""

    used: Used
    state: State = field(default_factory=lambda: blank(rhythm.FIELDS))
    block: int = MONDAY
    last: int = 0
    windows: int = 0
    raw: float = 0.0

    def until(self, day: float, used: Used | None = None) -> Life:
        """Lives on until the day, by its own habits or by others."""
        habits = used or self.used
        while self.block < MONDAY + round(day * 144):
            at = self.block - MONDAY
            if habits(at // 144, at // 6 % 24):
                self.now()
            self.block += 1
        return self

    def now(self, *, usd_10m: float = USUAL_USD, usd_1h: float = 6 * USUAL_USD, peak: float = 0.0) -> float:
        """Is used in this block: the raw score."""
        elapsed = self.block - self.last if self.last else 0
        self.windows += elapsed > 0
        close = closing(
            block=self.block, second=self.block * 600, elapsed=elapsed, windows=self.windows,
            usd_10m=usd_10m, usd_1h=usd_1h, peak=peak,
        )  # fmt: skip
        self.last = self.block
        self.state, raw = rhythm.step(self.state, close, SETTINGS)
        self.close, self.raw = close, float(raw[0])
        return self.raw

    def at(self, day: int, hour: int) -> Life:
        """Rests until then."""
        self.block = MONDAY + 144 * day + 6 * hour
        return self

    def told(self) -> Told:
        return rhythm.explain(self.state, self.close, shared(), SETTINGS, at=0, raw=self.raw)


def office(_day: int, hour: int) -> bool:
    return 8 <= hour < 18


def weekdays(day: int, hour: int) -> bool:
    return day % 7 < 5 and 8 <= hour < 18


def always(_day: int, _hour: int) -> bool:
    return True


def now_and_then(day: int, hour: int) -> bool:
    """Without habits: some hours of each day, others each day."""
    return (day * 24 + hour) * 2_654_435_761 % 97 < 20


def test_night_use_at_the_usual_level_is_loud() -> None:
    assert Life(office).until(9).at(9, 3).now() > LOUD


@pytest.mark.parametrize(
    ("what", "score"),
    [
        ("its usual hours", lambda: Life(office).until(9).at(9, 11).now()),
        ("more of it in its usual hours", lambda: Life(office).until(9).at(9, 11).now(usd_1h=20 * USUAL_USD)),
        ("a stray request at night", lambda: Life(office).until(9).at(9, 3).now(usd_10m=0.02, usd_1h=0.02)),
        ("an hour early, as when clocks change", lambda: Life(office).until(9).at(9, 7).now()),
        ("a key that never rests", lambda: Life(always).until(9).at(9, 3).now()),
        ("a key without habits", lambda: Life(now_and_then).until(9).at(9, 3).now()),
        ("a key of two days", lambda: Life(office).until(2).at(2, 3).now() / 2),
        ("the first second of a key", lambda: Life(office).now()),
        ("a holiday of a week and back", lambda: Life(office).until(9).at(16, 11).now()),
    ],
)
def test_what_is_a_habit_or_too_little_is_quiet(what: str, score: Callable[[], float]) -> None:
    assert score() < 0.6, what


def test_the_more_use_at_night_the_louder_up_to_a_bound() -> None:
    key = Life(office).until(9).at(9, 3)

    scores = [key.now(usd_1h=6 * USUAL_USD * part) for part in (0.1, 0.5, 1.0, 2.0, 50.0)]

    assert scores == sorted(scores)
    assert scores[-1] == pytest.approx(scores[-2])


def test_a_new_shift_becomes_a_habit_sooner_when_nothing_is_alarmed() -> None:
    def nights_until_quiet(peak: float) -> int:
        key = Life(office).until(9)
        for night in range(40):
            key.at(9 + night, 2)
            for _ in range(6):
                key.now(peak=peak)
                key.block += 1
            if key.raw < 0.8:
                return night
        return 40

    assert 0 < nights_until_quiet(0.0) < nights_until_quiet(9.0) < 40


def test_a_weekend_is_odd_only_when_weekends_are_known_to_be_quiet() -> None:
    early, late = (Life(weekdays).until(day).at(day, 11).now() for day in (5, 61))

    assert early == 0
    assert late > LOUD
    assert Life(office).until(61).at(61, 11).now() < 0.3


def test_a_month_of_silence_is_odd_and_a_trickle_after_it_is_not() -> None:
    def wakes(usd: float) -> float:
        return Life(office).until(9).at(44, 11).now(usd_10m=usd / 6, usd_1h=usd)

    assert wakes(6 * USUAL_USD) > LOUD
    assert wakes(18 * USUAL_USD) > wakes(6 * USUAL_USD)
    assert wakes(0.1) < 0.2


def test_a_key_that_often_sleeps_for_weeks_may_wake() -> None:
    key = Life(office).until(9)
    for week in (5, 9, 13):
        key.at(week * 7, 8).until(week * 7 + 2)

    assert key.at(17 * 7, 11).now() < 0.6


def test_a_wake_up_is_told_for_hours_and_then_it_is_known() -> None:
    key = Life(office).until(9).at(44, 9)
    first = key.now()
    key.block += 12
    later = key.now()
    key.until(45.0).at(45, 11)

    assert first > LOUD
    assert later > LOUD
    assert key.now() < 0.3


def test_a_key_that_no_longer_rests_is_loud_within_a_day() -> None:
    key = Life(office).until(12)
    peak = max(_scores(key, 13, always))

    assert peak > LOUD
    assert key.told().detector in {"off_hours", "round_the_clock"}


def _scores(key: Life, until_day: float, used: Used) -> list[float]:
    scores = []
    while key.block < MONDAY + until_day * 144:
        key.until((key.block - MONDAY + 6) / 144, used)
        scores.append(key.raw)
    return scores


def test_judging_begins_at_the_number_of_requests_that_is_set() -> None:
    key = Life(office).until(9).at(9, 3)
    strict = DetectorSettings.model_validate({"rhythm": {"min_requests": 5000}})
    close = closing(block=key.block, second=key.block * 600, elapsed=60, windows=500, usd_10m=0.5, usd_1h=3.0)

    assert rhythm.step(key.state, close, SETTINGS)[1][0] > LOUD
    assert rhythm.step(key.state, close, strict)[1][0] == 0


def test_weekends_are_counted_by_the_calendar() -> None:
    key = Life(weekdays).until(28)

    weekday, weekend = key.state["rhy_rate"][0].tolist()
    assert weekday == pytest.approx(1.0, abs=0.02)
    assert weekend < 0.05


def test_use_without_a_price_counts_by_requests() -> None:
    """Free models: no USD at all, and still habits."""
    state = blank(rhythm.FIELDS)
    last = 0
    for at in range(MONDAY, MONDAY + 9 * 144):
        if office(0, at // 6 % 24):
            close = closing(
                block=at, second=at * 600, elapsed=at - last if last else 0, requests_10m=60, requests_1h=360
            )
            state, _ = rhythm.step(state, close, SETTINGS)
            last = at
    night = MONDAY + 9 * 144 + 18
    close = closing(block=night, second=night * 600, elapsed=48, windows=600, requests_10m=60, requests_1h=360)

    assert rhythm.step(state, close, SETTINGS)[1][0] > LOUD


@pytest.mark.parametrize(
    ("key", "detector", "words"),
    [
        (
            lambda: Life(office).until(9).at(9, 3), "off_hours",
            "is used at 100 % of its usual level in the hour to 03:00 UTC, where its usual is 0 %",
        ),
        (
            lambda: Life(office).until(9).at(44, 11), "dormancy",
            "wakes after 35.7 days of silence, its longest before was 0.6; it is used at 100 % of its usual level",
        ),
    ],
)  # fmt: skip
def test_a_finding_says_what_is_out_of_its_habits(key: Callable[[], Life], detector: str, words: str) -> None:
    life = key()
    life.now()
    told = life.told()

    assert told.detector == detector
    assert told.what == words
    assert {"observed", "expected", "window_s", "ratio"} <= told.evidence.keys()
    assert np.isfinite([value for value in told.evidence.values() if not isinstance(value, str)]).all()


def test_a_key_without_rest_is_told_in_windows_of_a_day() -> None:
    key = Life(now_and_then).until(14)
    _scores(key, 16, always)

    told = key.told()

    assert told.detector == "round_the_clock"
    assert "of the last 144 10-minute windows" in told.what
