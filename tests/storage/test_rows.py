from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from schemas.frame import FRAME_SCHEMA
from storage.rows import raw_coords, record_row, usage_columns
from storage.store import Store
from tests.marks import expected
from tests.storage.frames import T0, Use, frame
from tests.storage.test_store import audit_row, dead_letter, finding, incident


def rows_of(*frames: list[Use]) -> pa.Table:
    table = pa.Table.from_batches([frame(uses) for uses in frames], FRAME_SCHEMA)
    n = table.num_rows
    return usage_columns(
        table, partition=1, log_start=T0, positions=np.arange(n, dtype=np.uint64), retry=np.zeros(n, np.bool_)
    )


def test_frames_with_different_dictionaries_become_one_chunk() -> None:
    table = rows_of([Use("a", 0, key_id="fp1:a")], [Use("b", 1, key_id="fp1:b"), Use("c", 2, key_id="fp1:a")])
    assert table.column("key_id").to_pylist() == ["fp1:a", "fp1:b", "fp1:a"]
    assert {column.num_chunks for column in table.columns} == {1}


def test_every_column_of_a_frame_has_a_place_in_the_table(store: Store) -> None:
    known = {name for (name,) in store.connection.rows("SELECT name FROM system.columns WHERE table = 'usage_events'")}
    table = rows_of([Use("a", 0)])
    assert set(table.column_names) <= known
    renamed = {"ts_ms": "ts"}
    assert {renamed.get(name, name) for name in FRAME_SCHEMA.names} <= known


def test_raw_coordinates_are_ordered_by_offset_then_index() -> None:
    table = pa.Table.from_batches([frame([Use("a", 2**40, raw_index=2**20 - 1), Use("b", 2**40 + 1)])])
    first, second = raw_coords(table).tolist()
    assert second - first == 1


def test_no_rows_are_no_rows() -> None:
    assert rows_of([]).num_rows == 0


@pytest.mark.parametrize(
    ("record", "table", "searchable"),
    [
        (finding(1), "findings", {"finding_id": "fnd_1", "family": "velocity", "score": 6.5}),
        (incident("inc_1", 3), "incidents", {"incident_id": "inc_1", "seq": 3, "lost_usd": 12.5}),
        (expected("fp1:a"), "marks", {"key_id": "fp1:a", "verdict": "expected", "by": "ann", "withdrawn": False}),
        (audit_row("aud_1", T0), "audit", {"audit_id": "aud_1", "at": datetime(2026, 11, 23, 10, tzinfo=UTC)}),
        (dead_letter(5), "dead_letters", {"offset": 5, "event_index": -1, "reason": "not_json"}),
    ],
)
def test_a_record_is_kept_whole_beside_what_people_search_by(record, table, searchable) -> None:  # type: ignore[no-untyped-def] # a table
    place, row = record_row(record)
    assert place == table
    assert type(record).from_bytes(row["record"].encode()) == record
    assert searchable.items() <= row.items()
