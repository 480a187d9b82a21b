"""A retry is recognised for one to two generations, however rows are cut."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.retries import RetryFilter

EVENTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40)), min_size=1, max_size=60)


def ask(retries: RetryFilter, hashes: Iterable[int], seconds: Iterable[int]) -> list[int]:
    return retries.repeated(np.array(hashes, "u8"), np.array(seconds))


@given(events=EVENTS, at=st.integers(1, 59))
def test_cuts_cannot_be_seen(events: list[tuple[int, int]], at: int) -> None:
    hashes = [value for value, _ in events]
    seconds = np.cumsum([step for _, step in events]).tolist()
    whole, parts = RetryFilter(60, cap=4), RetryFilter(60, cap=4)
    at = min(at, len(events))

    found = ask(parts, hashes[:at], seconds[:at])
    if hashes[at:]:
        found += [place + at for place in ask(parts, hashes[at:], seconds[at:])]

    assert ask(whole, hashes, seconds) == found
    assert [part.tolist() for part in whole.export()[1:]] == [part.tolist() for part in parts.export()[1:]]


@pytest.mark.parametrize(("later_s", "recognised"), [(0, True), (59, True), (60, True), (119, True), (120, False)])
def test_a_retry_is_recognised_for_at_least_its_time(later_s: int, recognised: bool) -> None:
    retries = RetryFilter(60)
    ask(retries, [7], [6000])

    assert (ask(retries, [7], [6000 + later_s]) == [0]) is recognised


def test_a_full_generation_ends_with_its_second() -> None:
    retries = RetryFilter(900, cap=3)
    ask(retries, [1, 2, 3, 4], [9000] * 4)

    assert ask(retries, [5, 6, 7], [9001] * 3) == []
    assert ask(retries, [1], [9001]) == [0]
    assert ask(retries, [8], [9002]) == []
    assert ask(retries, [1], [9002]) == []


def test_many_of_one_second_are_remembered() -> None:
    retries = RetryFilter(900)
    for start in range(0, 30_000, 700):
        assert ask(retries, range(start, start + 700), [9000] * 700) == []

    again = [*range(29_000, 29_700), 99_999, *range(700), 99_999]
    assert ask(retries, again, [9000] * 1402) == [*range(700), *range(701, 1402)]


@given(events=EVENTS)
def test_state_survives(events: list[tuple[int, int]]) -> None:
    hashes = [value for value, _ in events]
    seconds = np.cumsum([step for _, step in events]).tolist()
    live, restored = RetryFilter(60), RetryFilter(60)
    ask(live, hashes, seconds)

    restored.restore(*live.export())

    later = [seconds[-1] + 5] * 13
    assert ask(restored, range(13), later) == ask(live, range(13), later)
