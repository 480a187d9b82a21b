"""However calls come and are corrected, no span of a window's length holds more than its ceiling."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gate.ports import Rate
from gate.windows import NEVER, Windows

gaps_ms = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(1, 7)), min_size=1, max_size=120
)  # (gap before it, how much it wants)


@given(gaps_ms, st.integers(5, 20), st.sampled_from([1.0, 10.0, 60.0]))
@settings(max_examples=150, deadline=None)
def test_no_span_of_a_window_ever_holds_more_than_the_ceiling(
    calls: list[tuple[int, int]], limit: int, window_s: float
) -> None:
    windows, rate, at_ms = Windows(), Rate("r", "requests", window_s, limit), 0
    passed: list[tuple[int, int]] = []
    for gap_ms, amount in calls:
        at_ms += gap_ms
        if windows.wait_s(rate, "k", amount, at_ms) == 0:
            windows.add(rate, "k", amount, at_ms)
            passed.append((at_ms, amount))

    for start_ms, _ in passed:
        assert sum(n for t, n in passed if start_ms <= t < start_ms + window_s * 1000) <= limit


@given(gaps_ms, st.integers(7, 20))
@settings(max_examples=100, deadline=None)
def test_after_the_wait_that_is_told_there_is_room(calls: list[tuple[int, int]], limit: int) -> None:
    windows, rate, at_ms = Windows(), Rate("r", "requests", 60, limit), 0.0
    for gap_ms, amount in calls:
        at_ms += gap_ms
        wait_s = windows.wait_s(rate, "k", amount, at_ms)
        assert wait_s <= 66
        at_ms += wait_s * 1000
        assert windows.wait_s(rate, "k", amount, at_ms) == 0
        windows.add(rate, "k", amount, at_ms)


def test_a_day_is_that_of_the_calendar() -> None:
    windows, rate, day_ms = Windows(), Rate("r", "requests", 86_400, 1), 86_400_000

    windows.add(rate, "k", 1, 5 * day_ms + 1)

    assert windows.wait_s(rate, "k", 1, 6 * day_ms - 1000) == 1
    assert windows.wait_s(rate, "k", 1, 6 * day_ms) == 0


def test_a_correction_counts_in_its_own_bucket_and_never_below_nothing() -> None:
    windows, rate = Windows(), Rate("r", "tokens", 60, 100)
    bucket = windows.add(rate, "k", 100, 0)

    windows.correct(("tokens", 60), "k", bucket, -70)
    assert windows.wait_s(rate, "k", 70, 0) == 0
    assert windows.wait_s(rate, "k", 71, 0) > 0

    windows.correct(("tokens", 60), "k", bucket, -1000)
    assert windows.wait_s(rate, "k", 100, 0) == 0
    windows.correct(("tokens", 60), "k", bucket + 500, 50)
    windows.correct(("tokens", 10), "k", bucket, 50)
    assert windows.wait_s(rate, "k", 100, 0) == 0


def test_time_that_goes_back_frees_nothing() -> None:
    windows, rate = Windows(), Rate("r", "requests", 60, 1)
    windows.add(rate, "k", 1, 1_000_000)

    assert windows.wait_s(rate, "k", 1, 0) > 0


def test_keys_do_not_share_a_ceiling_and_idle_ones_are_forgotten() -> None:
    windows, rate = Windows(), Rate("r", "requests", 60, 1)

    for number in range(100):
        windows.add(rate, f"k{number}", 1, 0)
        assert windows.wait_s(rate, "other", 1, 0) == 0
    for minute in range(1, 5):
        windows.wait_s(rate, "other", 1, minute * 66_000)

    assert len(windows) == 1


def test_more_than_the_ceiling_at_once_never_fits() -> None:
    assert Windows().wait_s(Rate("r", "tokens", 60, 100), "k", 101, 0) == NEVER
