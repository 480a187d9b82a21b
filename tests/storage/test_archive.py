from __future__ import annotations

import pyarrow as pa
import pytest

from storage.archive import BatchLimits, Flush, PartitionArchive
from storage.checkpoint import Checkpoint
from storage.seen import SeenEvents
from tests.storage.frames import HOUR_MS, MINUTE_MS, T0, Use, frame

LIMITS = BatchLimits(min_rows=3, max_rows=5, max_age_s=1.0)


def new(checkpoint: Checkpoint | None = None, *, seen: SeenEvents | None = None) -> PartitionArchive:
    return PartitionArchive(
        "usage.frames", 2, checkpoint or Checkpoint(10, T0), seen=SeenEvents() if seen is None else seen, limits=LIMITS
    )


def one(offset: int, **changes: object) -> pa.RecordBatch:
    """A frame of one event that nothing else resembles."""
    return frame([Use(f"e{offset}", offset, **changes)])  # type: ignore[arg-type] # changes are fields of Use


def column(archive: PartitionArchive, name: str) -> list[object]:
    values: list[object] = archive.batch().table.column(name).to_pylist()
    return values


@pytest.mark.parametrize(
    ("frames", "now_s", "end", "expected"),
    [
        (0, 100.0, None, None),
        (1, 0.9, None, None),
        (1, 1.0, None, Flush.AGE),
        (2, 0.9, None, None),
        (3, 0.0, None, Flush.ROWS),
        (1, 100.0, 12, None),  # announced are 10 and 11: 11 has not come
        (2, 0.0, 12, Flush.INTENT),
        (3, 0.0, 12, Flush.INTENT),
    ],
)
def test_when_to_insert(frames: int, now_s: float, end: int | None, expected: Flush | None) -> None:
    archive = new(Checkpoint(10, T0, end=end))
    for offset in range(10, 10 + frames):
        archive.add(offset, one(offset), now_s=0.0)
    assert archive.ready(now_s) == expected


def test_an_announced_end_that_the_log_no_longer_has_is_reached_by_a_later_offset() -> None:
    archive = new(Checkpoint(10, T0, end=12))
    archive.add(10, one(10), now_s=0)
    archive.add(15, one(15), now_s=0)
    assert archive.ready(0) == Flush.INTENT
    assert column(archive, "event_id") == ["e10"]
    archive.done()
    assert archive.checkpoint.offset == 12
    assert archive.waiting_rows == 1


def test_the_intent_fixes_the_edges_before_the_insert_and_names_them_in_the_token() -> None:
    archive = new()
    for offset in (10, 11, 13):
        archive.add(offset, one(offset), now_s=0)
    intent = archive.intent()
    archive.add(14, one(14), now_s=0)
    assert intent.offset == 10
    assert Checkpoint.read(10, intent.metadata) == Checkpoint(10, T0, end=14)
    assert archive.intent() == intent
    assert archive.batch().token == f"usage.frames:2:{T0}:10-14"
    assert column(archive, "event_id") == ["e10", "e11", "e13"]


def test_done_goes_on_behind_the_batch_with_its_coordinates() -> None:
    archive = new()
    archive.add(10, frame([Use("a", 7, raw_index=1), Use("b", 3, raw_partition=1)]), now_s=0)
    archive.intent()
    done = archive.done()
    assert done.offset == 11
    assert Checkpoint.read(11, done.metadata) == Checkpoint(11, T0, None, {0: 7 << 20 | 1, 1: 3 << 20}, T0)
    assert archive.ready(100) is None


def test_after_an_outage_a_batch_is_bounded() -> None:
    archive = new()
    for offset in range(10, 30):
        archive.add(offset, one(offset), now_s=0)
    archive.intent()
    assert column(archive, "event_id") == ["e10", "e11", "e12", "e13", "e14"]


def test_a_new_owner_makes_the_announced_batch_again_to_the_byte() -> None:
    first = new()
    for offset in (10, 11, 12):
        first.add(offset, one(offset), now_s=0)
    intent = first.intent()
    second = new(Checkpoint.read(10, intent.metadata))
    for offset in (10, 11, 12, 13, 14):
        second.add(offset, one(offset), now_s=50)
    assert second.batch().token == first.batch().token
    assert second.batch().table.equals(first.batch().table)


def test_a_raw_record_that_the_ingest_sent_again_is_dropped() -> None:
    archive = new(Checkpoint(10, T0, coords={0: 5 << 20}))
    again = [Use("old", 4), Use("edge", 5), Use("new", 5, raw_index=1), Use("other", 1, raw_partition=1)]
    archive.add(10, frame(again), now_s=0)
    archive.add(11, frame([Use("new", 5, raw_index=1), Use("next", 6)]), now_s=0)
    archive.intent()
    assert column(archive, "event_id") == ["new", "other", "next"]
    assert archive.batch().repeated == 3


def test_an_event_sent_again_within_the_window_is_kept_and_not_counted() -> None:
    archive = new()
    uses = [
        Use("a", 1),
        Use("a", 2),
        Use("a", 3, key_id="fp1:b"),  # another key's event may have the same id
        Use("a", 4, ts_ms=T0 + 15 * MINUTE_MS),
        Use("a", 5, ts_ms=T0 - 21 * MINUTE_MS),  # that far apart it is another use
    ]
    archive.add(10, frame(uses), now_s=0)
    archive.intent()
    assert column(archive, "retry") == [0, 1, 0, 1, 0]
    archive.done()
    archive.add(11, frame([Use("a", 6), Use("a", 7, ts_ms=T0 + HOUR_MS)]), now_s=0)
    archive.intent()
    assert column(archive, "retry") == [1, 0]
    assert archive.batch().retries == 1


@pytest.mark.parametrize(
    ("minutes_old", "asked"),
    [(0, False), (25, False), (26, True), (30, True), (600, True)],  # 15 minutes before them is 41 or more ago
)
def test_only_rows_older_than_the_memory_are_asked_of_the_store(minutes_old: int, asked: bool) -> None:
    archive = new(seen=SeenEvents(floor_ms=T0 - 40 * MINUTE_MS))
    ts_ms = T0 - minutes_old * MINUTE_MS
    archive.add(10, frame([Use("now", 1), Use("x", 2, ts_ms=ts_ms, key_id="fp1:b")]), now_s=0)
    archive.intent()
    late = archive.late()
    assert (late is not None) == asked
    if late is not None:
        assert late.key_ids == ["fp1:b"]
        assert late.steps_ms.tolist() == [ts_ms - ts_ms % (5 * MINUTE_MS)]
        assert late.before == (T0 + 10) << 20


def test_one_broken_clock_does_not_age_everything_else() -> None:
    archive = new()
    archive.add(10, frame([Use("far", 1, ts_ms=T0 + 9999 * HOUR_MS), Use("a", 2), Use("b", 3)]), now_s=0)
    archive.intent()
    archive.done()
    assert archive.checkpoint.clock_ms == T0


def test_a_row_says_where_it_came_from_and_positions_grow_along_the_log() -> None:
    archive = new(Checkpoint(10, T0))
    archive.add(10, frame([Use("a", 7, raw_index=3), Use("b", 8)]), now_s=0)
    archive.add(12, frame([Use("c", 9)]), now_s=0)
    archive.intent()
    base = T0 << 20
    assert column(archive, "position") == [base + (10 << 20), base + (10 << 20) + 1, base + (12 << 20)]
    assert column(archive, "raw_coord") == [7 << 20 | 3, 8 << 20, 9 << 20]
    assert column(archive, "frame_partition") == [2, 2, 2]


def test_a_record_that_was_no_frame_is_passed_over() -> None:
    archive = new()
    archive.add(10, None, now_s=0)
    assert archive.ready(1.0) == Flush.AGE
    archive.intent()
    assert archive.batch().table.num_rows == 0
    assert archive.late() is None
    assert archive.done().offset == 11


def test_offsets_before_the_checkpoint_are_ignored_and_falling_ones_refused() -> None:
    archive = new()
    archive.add(9, one(9), now_s=0)
    assert archive.waiting_rows == 0
    archive.add(10, one(10), now_s=0)
    with pytest.raises(ValueError, match="offset 10 comes after 10"):
        archive.add(10, one(10), now_s=0)


def test_the_order_of_steps_is_enforced() -> None:
    archive = new()
    with pytest.raises(ValueError, match="no frame has come"):
        archive.intent()
    archive.add(10, one(10), now_s=0)
    with pytest.raises(ValueError, match="commit an intent first"):
        archive.batch()
    with pytest.raises(ValueError, match="commit an intent first"):
        archive.done()
