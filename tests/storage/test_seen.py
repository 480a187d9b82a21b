from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from storage.seen import RETRY_WINDOW_MS, SeenEvents, repeats

# Few hashes and times around the window's edge, so that collisions and near misses are common.
_ROW = st.tuples(st.integers(0, 3), st.sampled_from([0, 1, RETRY_WINDOW_MS - 1, RETRY_WINDOW_MS, RETRY_WINDOW_MS + 1]))
_ROWS = st.lists(_ROW, max_size=30)


def _columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([r[0] for r in rows], np.uint64), np.array([r[1] for r in rows], np.int64)


def _near(row: tuple[int, int], earlier: list[tuple[int, int]]) -> bool:
    return any(row[0] == other[0] and abs(row[1] - other[1]) <= RETRY_WINDOW_MS for other in earlier)


@given(_ROWS)
def test_a_repeat_has_an_earlier_row_of_its_hash_within_the_window(rows: list[tuple[int, int]]) -> None:
    assert repeats(*_columns(rows)).tolist() == [_near(row, rows[:nth]) for nth, row in enumerate(rows)]


@given(st.lists(_ROWS, max_size=6), _ROWS)
def test_near_finds_what_was_added_in_any_number_of_runs(
    added: list[list[tuple[int, int]]], asked: list[tuple[int, int]]
) -> None:
    seen = SeenEvents()
    for rows in added:
        seen.add(*_columns(rows))
    everything = [row for rows in added for row in rows]
    assert len(seen) == len(everything)
    assert seen.near(*_columns(asked)).tolist() == [_near(row, everything) for row in asked]


def test_memory_stops_growing_and_the_floor_says_what_is_still_known() -> None:
    seen = SeenEvents(max_hashes=1000)
    rng = np.random.default_rng(7)
    hashes, ts_ms = rng.integers(0, 2**63, 20_000).astype(np.uint64), np.arange(20_000, dtype=np.int64)
    for begin in range(0, 20_000, 100):
        seen.add(hashes[begin : begin + 100], ts_ms[begin : begin + 100])
        seen.forget_before(0)
        assert len(seen) <= 1000
    known = ts_ms >= seen.floor_ms
    assert 0 < known.sum() <= 1000
    assert seen.near(hashes[known], ts_ms[known]).all()


def test_what_is_older_than_the_floor_is_let_go() -> None:
    seen = SeenEvents()
    for minute in range(100):
        seen.add(np.arange(100, dtype=np.uint64), np.full(100, minute * 60_000, np.int64))
        seen.forget_before((minute - 20) * 60_000)
    assert seen.floor_ms == 79 * 60_000
    assert len(seen) < 100 * 100 / 2
