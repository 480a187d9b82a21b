"""However calls come and are corrected, no span of a window's length holds more than its ceiling."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gate.ports import Amount, Ceiling, Rate
from gate.windows import NEVER, Account, Shape, Windows

DAY_MS = 86_400_000
calls = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 7)), min_size=1, max_size=120)
"""(gap before it in ms, how much it wants)"""


def account(*ceilings: Ceiling) -> Account:
    return Account(Shape(ceilings))


def requests(limit: float, window_s: float = 60) -> Rate:
    return Rate("r", "requests", window_s, limit)


def passes(one: Account, amount: Amount, at_ms: int) -> bool:
    """Ask, and count it if there is room."""
    if one.over(amount, at_ms, at_ms) is not None:
        return False
    one.add(amount)
    return True


@given(calls, st.integers(5, 20), st.sampled_from([0.5, 1.0, 10.0, 60.0]))
@settings(max_examples=150, deadline=None)
def test_no_span_of_a_window_ever_holds_more_than_the_ceiling(
    wanted: list[tuple[int, int]], limit: int, window_s: float
) -> None:
    one, at_ms, passed = account(requests(limit, window_s)), 0, list[tuple[int, int]]()
    for gap_ms, amount in wanted:
        at_ms += gap_ms
        if passes(one, Amount(amount), at_ms):
            passed.append((at_ms, amount))

    for start_ms, _ in passed:
        assert sum(n for t, n in passed if start_ms <= t < start_ms + window_s * 1000) <= limit


@given(calls, st.integers(7, 20))
@settings(max_examples=100, deadline=None)
def test_after_the_wait_that_is_told_there_is_room(wanted: list[tuple[int, int]], limit: int) -> None:
    one, at_ms = account(requests(limit)), 0
    for gap_ms, amount in wanted:
        at_ms += gap_ms
        over = one.over(Amount(amount), at_ms, at_ms)
        if over is not None:
            assert 0 < over.wait_s <= 66
            assert one.over(Amount(amount), 0, at_ms + round(over.wait_s * 1000) - 1) is not None
            at_ms += round(over.wait_s * 1000)
        assert passes(one, Amount(amount), at_ms)


def test_each_ceiling_counts_its_own_unit_and_the_first_that_is_full_is_told() -> None:
    one = account(requests(2), Rate("t", "tokens", 60, 100), Rate("u", "nano_usd", 60, 1000))

    assert passes(one, Amount(1, 50, 100), 0)
    told = [one.over(amount, 0, 0) for amount in (Amount(2, 0, 0), Amount(1, 51, 0), Amount(1, 0, 901))]

    assert [over and over.ceiling.rule for over in told] == ["r", "t", "u"]


def test_a_day_is_that_of_the_calendar_whatever_the_other_clock_says() -> None:
    one = account(requests(1, 86_400))

    assert passes(one, Amount(1), 5 * DAY_MS + 1)

    late = one.over(Amount(1), 6 * DAY_MS - 1000, 0)
    assert late is not None
    assert late.wait_s == 1
    assert one.over(Amount(1), 6 * DAY_MS, 0) is None


def test_a_correction_counts_where_it_was_added_and_never_below_nothing() -> None:
    one = account(Rate("t", "tokens", 60, 100))
    assert passes(one, Amount(1, 100), 0)

    one.correct(one.shape, Amount(0, -70), 0, 0)
    assert one.over(Amount(1, 70), 0, 0) is None
    assert one.over(Amount(1, 71), 0, 0) is not None

    one.correct(one.shape, Amount(0, -1000), 0, 0)
    one.correct(one.shape, Amount(0, 50), 0, 90_000)  # of a time that has not come
    assert one.over(Amount(1, 100), 0, 0) is None


def test_a_correction_of_what_is_forgotten_changes_nothing() -> None:
    one = account(Rate("t", "tokens", 60, 100))
    assert passes(one, Amount(1, 100), 0)
    assert passes(one, Amount(1, 100), 66_000)

    one.correct(one.shape, Amount(0, -100), 0, 0)

    assert one.over(Amount(1, 1), 0, 66_000) is not None


def test_time_that_goes_back_frees_nothing() -> None:
    one = account(requests(1))
    assert passes(one, Amount(1), 1_000_000)

    assert one.over(Amount(1), 0, 0) is not None


def test_a_wall_clock_that_was_a_year_ahead_fills_no_day_but_this_one() -> None:
    one = account(requests(2, window_s=86_400))
    assert one.over(Amount(2), 365 * DAY_MS, 0) is None
    one.add(Amount(2))

    today = [one.over(Amount(1), wall_ms, 0) is None for wall_ms in (5 * DAY_MS, 6 * DAY_MS - 1, 6 * DAY_MS)]

    assert today == [False, False, True]


def test_what_was_counted_stays_when_ceilings_change() -> None:
    windows, before, after = Windows(), (requests(5),), (Rate("t", "tokens", 60, 10), requests(2))
    assert passes(windows.account("k", before), Amount(2, 10), 0)
    changed = windows.account("k", after)

    assert changed.over(Amount(1), 0, 0) is not None
    assert changed.over(Amount(0, 10), 0, 0) is None  # nobody counted tokens before
    assert windows.account("k", after) is changed


def test_a_correction_from_before_the_change_takes_nothing_from_what_came_after() -> None:
    windows, before, after = Windows(), (requests(5),), (Rate("t", "tokens", 60, 100), requests(5))
    old = windows.account("k", before)
    assert passes(old, Amount(1, 100), 0)
    shape = old.shape
    changed = windows.account("k", after)
    assert changed is old, "calls under way settle with it"
    assert passes(changed, Amount(1, 100), 0)

    changed.correct(shape, Amount(-1, -100), 0, 0)

    assert changed.over(Amount(1, 1), 0, 0) is not None
    assert changed.over(Amount(4, 0), 0, 0) is None


def test_keys_do_not_share_a_ceiling_and_those_not_used_lately_are_forgotten() -> None:
    windows, ceilings = Windows(most=10), (requests(1),)

    for number in range(100):
        assert passes(windows.account(f"k{number}", ceilings), Amount(1), 0)

    assert len(windows) <= 20
    assert not passes(windows.account("k99", ceilings), Amount(1), 0)


def test_more_than_the_ceiling_at_once_never_fits() -> None:
    over = account(requests(100)).over(Amount(101), 0, 0)

    assert over is not None
    assert over.wait_s == NEVER
