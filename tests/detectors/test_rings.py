"""Windows against the plain definition: sum what lies within the window."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import rings
from detectors import rows as r
from detectors.examples import NOW_S, blank
from detectors.state import Array, State

MOVES = st.one_of(st.integers(0, 90), st.sampled_from([600, 3599, 3600, 3660, 3840, 2**22]))
USE = st.tuples(MOVES, st.integers(0, 40), st.integers(0, 10**6), st.booleans())
"""The clock moves, lateness, tokens, and whether the worker starts anew."""


def one_row(second: int, ts: int, tokens: int) -> Array:
    rows = np.zeros((r.WIDTH, 1), np.int64)
    rows[r.SECOND], rows[r.TS], rows[r.REQUESTS], rows[r.TOKENS], rows[r.COST] = second, ts, 1, tokens, tokens * 1000
    return rows


def use(columns: State, second: int, ts: int, tokens: int) -> None:
    rings.turn(columns, np.array([0]), np.array([second]))
    rings.fold(columns, one_row(second, ts, tokens))


@settings(max_examples=60, deadline=None)
@given(uses=st.lists(USE, min_size=1, max_size=80))
def test_sums_equal_what_lies_within_the_window_whatever_restarts_lie_between(
    uses: list[tuple[int, int, int, bool]],
) -> None:
    columns = blank(rings.FIELDS)
    seen: list[tuple[int, int]] = []
    clock = NOW_S
    for moves, late, tokens, restart in uses:
        clock += moves
        if restart:
            columns = rings.restored(rings.stored(columns, clock))
        use(columns, clock, clock - late, tokens)
        seen.append((clock - late, tokens))

    sums = rings.sums(columns, np.array([0]), np.array([clock]))[0]

    fine = [sum(tokens for ts, tokens in seen if ts > clock - window) for window in (10, 60)]
    coarse = [sum(t for ts, t in seen if ts // 60 > clock // 60 - minutes) for minutes in (10, 60)]
    assert sums[4:8].tolist() == [*fine, *coarse]
    assert np.allclose(sums[8:], np.array([*fine, *coarse]) * 1e-6, rtol=1e-12)


def test_what_is_stored_names_the_time_of_each_bucket_and_forgets_what_no_window_reads() -> None:
    columns = blank(rings.FIELDS)
    for at_s in (NOW_S, NOW_S + 40):
        use(columns, at_s, at_s, 5)
    before = {name: values.copy() for name, values in columns.items()}

    kept = rings.stored(columns, NOW_S + 70)

    assert tuple(kept) == rings.STORED
    assert set(kept["fine_stamp"][0].tolist()) == {0, NOW_S + 40}
    assert (kept["fine_tokens"].sum(), kept["minute_tokens"].sum()) == (5, 10)
    assert all((columns[name] == values).all() for name, values in before.items()), "the state itself stays as it was"


def test_rows_older_than_a_ring_stay_out_of_it() -> None:
    columns = blank(rings.FIELDS)
    use(columns, NOW_S, NOW_S - 65, 7)

    sums = rings.sums(columns, np.array([0]), np.array([NOW_S]))[0]

    assert sums[4:8].tolist() == [0, 0, 7, 7]


def test_counts_saturate_instead_of_wrapping() -> None:
    columns = blank(rings.FIELDS)
    for _ in range(3):
        use(columns, NOW_S, NOW_S, 10**10)

    sums = rings.sums(columns, np.array([0]), np.array([NOW_S]))[0]

    assert sums[5] == 2**31 - 1
    assert (sums >= 0).all()


def test_repeated_places_add_up_even_near_the_greatest_number() -> None:
    column = np.array([2**31 - 10, 0], np.int32)

    rings.add_saturating(column, np.array([0, 1, 0, 1]), np.array([4, 5, 9, 5]))

    assert column.tolist() == [2**31 - 1, 10]
