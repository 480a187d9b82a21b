"""A backlog of several partitions comes out in the order of time, each partition in its own order, nothing lost."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.frame import FRAME_SCHEMA
from sources.alignment import Aligned, Alignment


def rows(*items: tuple[int, int, int]) -> pa.RecordBatch:
    """(raw partition, offset, second) each."""
    blank = {
        field.name: None if field.nullable else False if pa.types.is_boolean(field.type) else 0
        for field in FRAME_SCHEMA
    } | dict.fromkeys(("event_id", "key_id", "provider", "model"), "x")
    return pa.RecordBatch.from_pylist(
        [blank | {"raw_partition": p, "raw_offset": o, "ts_ms": s * 1000} for p, o, s in items], schema=FRAME_SCHEMA
    )


def places(aligned: Aligned) -> list[tuple[int, int]]:
    batch = aligned.among.take(pa.array(aligned.order))
    return list(zip(batch["raw_partition"].to_pylist(), batch["raw_offset"].to_pylist(), strict=True))


def test_when_nobody_is_behind_everything_goes_on_in_the_order_of_time() -> None:
    aligned = Alignment().add(rows((0, 1, 30), (0, 2, 31), (1, 7, 10), (1, 8, 40)), behind=())
    assert places(aligned) == [(1, 7), (0, 1), (0, 2), (1, 8)]
    assert aligned.resume == {}


def test_a_partition_that_runs_ahead_waits_for_the_one_behind() -> None:
    """
    partition 0   10 . . . . . . . . . 90   read at once
    partition 1   11  (behind)              then 50
    """
    alignment = Alignment()
    first = alignment.add(rows((0, 1, 10), (0, 2, 90), (1, 1, 11)), behind=(1,))
    assert (places(first), first.resume) == ([(0, 1), (1, 1)], {0: 2})
    second = alignment.add(rows((1, 2, 50)), behind=(1,))
    assert (places(second), second.resume) == ([(1, 2)], {0: 2})
    third = alignment.add(rows(), behind=())
    assert (places(third), third.resume) == ([(0, 2)], {})


def test_rows_of_one_partition_keep_their_order_whatever_their_times_say() -> None:
    aligned = Alignment().add(rows((0, 1, 50), (0, 2, 10), (1, 1, 20)), behind=())
    assert [place for place in places(aligned) if place[0] == 0] == [(0, 1), (0, 2)]


def test_a_partition_nobody_has_heard_of_holds_everything_back_until_memory_is_short() -> None:
    alignment = Alignment(max_held_rows=2)
    assert alignment.add(rows((0, 1, 10), (0, 2, 11)), behind=(5,)).order.size == 0
    assert places(alignment.add(rows((0, 3, 12)), behind=(5,))) == [(0, 1), (0, 2), (0, 3)]
    assert alignment.held_rows == 0


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=8), st.sets(st.integers(0, 2))),
        max_size=6,
    )
)
def test_nothing_is_lost_or_doubled_and_resume_covers_what_is_held(
    steps: list[tuple[list[tuple[int, int]], set[int]]],
) -> None:
    alignment = Alignment()
    came: list[tuple[int, int]] = []
    went: list[tuple[int, int]] = []
    for items, behind in [*steps, ([], set())]:
        new = [(partition, len(came) + at, second) for at, (partition, second) in enumerate(items)]
        came += [(p, o) for p, o, _ in new]
        aligned = alignment.add(rows(*new), behind=behind)
        went += places(aligned)
        held = set(came) - set(went)
        assert aligned.resume == {p: min(o for q, o in held if q == p) for p in {p for p, _ in held}}
    assert sorted(went) == sorted(came)
    for partition in range(3):
        mine = [offset for p, offset in went if p == partition]
        assert mine == sorted(mine)
