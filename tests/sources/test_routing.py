"""Rows go where their key lives, in the order they had."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.frame import decode_frame, encode_frame
from schemas.partition import partition_of
from sources.routing import split_by_partition
from tests.sources.events import event, parse


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 8))
def test_every_row_goes_to_the_partition_of_its_key_in_order(keys: list[int], partitions: int) -> None:
    frame = parse(*[event(event_id=f"e{n}", key_id=f"k{key}") for n, key in enumerate(keys)]).frame
    parts = split_by_partition(frame, partitions)
    expected: dict[int, list[dict[str, object]]] = {}
    for row in frame.to_pylist():
        expected.setdefault(partition_of(row["key_id"], partitions), []).append(row)
    assert {number: decode_frame(encode_frame(part)).to_pylist() for number, part in parts.items()} == expected


def test_a_part_does_not_drag_along_the_names_of_the_others() -> None:
    frame = parse(*[event(event_id=f"e{n}", key_id=f"k{n}", user_id=f"u{n}") for n in range(64)]).frame
    for part in split_by_partition(frame, 4).values():
        assert len(part.column("user_id").dictionary) == part.num_rows
        assert len(part.column("key_id").dictionary) == part.num_rows
