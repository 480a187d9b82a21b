"""Records that are read as one text are still records: none is completed by its neighbour, none hides another."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pytest

from sources import raw_columns
from sources.doubt import Doubt
from sources.lines import lines_of
from sources.raw_columns import RawColumns, lines_of_docs
from tests.sources.events import event

ONE = orjson.dumps(event())
CUT = ONE.index(b',"provider"')  # where JSON may have a newline


def read(*values: bytes, reader: RawColumns | None = None) -> pa.RecordBatch:
    return (reader or RawColumns()).read(lines_of(values))


def test_one_event_in_each_record() -> None:
    lines = lines_of([ONE, ONE])
    assert (lines.record.tolist(), lines.index.tolist()) == ([0, 1], [0, 0])
    assert read(ONE, ONE).num_rows == 2


def test_several_events_in_a_record_keep_their_places() -> None:
    lines = lines_of([ONE, b"\n".join([ONE, ONE, ONE]) + b"\n", b" " + ONE])
    assert (lines.record.tolist(), lines.index.tolist()) == ([0, 1, 1, 1, 2], [0, 0, 1, 2, 0])
    assert lines.longest() == len(ONE)
    pair = b"\n".join([ONE, ONE])
    assert read(pair, pair).num_rows == 4


HALVES = [
    ("the next one completes it", [ONE[:-1] + b',"a":{}', b"{}}"]),
    ("two in one", [ONE, ONE + ONE]),
    ("two in one and one in two", [ONE, ONE + ONE, ONE[:CUT], ONE[CUT:]]),
    ("one in two lines of a record", [ONE[:-1] + b',"a":{}\n{}}']),
    ("a comma between", [ONE + b",", ONE]),
    ("nothing", [ONE, b""]),
    ("a bracket", [ONE, b"{"]),
    ("no record", []),
]


@pytest.mark.parametrize("values", [values for _, values in HALVES], ids=[name for name, _ in HALVES])
def test_a_record_that_is_no_event_is_left_to_others(values: list[bytes]) -> None:
    with pytest.raises(Doubt):
        read(*values)


HIDDEN = [
    ("not a number", b"NaN"),
    ("infinite", b"-Infinity"),
    ("not UTF-8", b'"\xff"'),
    ("nested too deeply", b"[" * 1100 + b"]" * 1100),
    ("twice", b'1,"ts":1'),
    ("too big", b"1e400"),
    ("half a pair", b'"\\ud800"'),
]


@pytest.mark.parametrize("value", [value for _, value in HIDDEN], ids=[name for name, _ in HIDDEN])
def test_what_the_decoder_would_refuse_is_not_passed_over_in_a_field_that_is_ignored(value: bytes) -> None:
    reader = RawColumns()
    for before in ([ONE], [ONE, ONE]):  # whether the first record has the field or a later one
        with pytest.raises(Doubt):
            read(*before[1:], ONE[:-1] + b',"more":' + value + b"}", reader=reader)


def test_a_field_that_is_ignored_may_be_anything_else() -> None:
    more = ONE[:-1] + b',"more":{"a":[1,null,{"b":"c"}]}}'
    assert read(ONE, more, ONE).schema.names == read(more).schema.names


def test_words_in_texts_are_no_numbers() -> None:
    values = [orjson.dumps(event(app="Inference", user_agent=agent, more=1)) for agent in ("NaN", "aInf/1")]
    assert read(*values)["user_agent"].to_pylist() == ["NaN", "aInf/1"]


def test_fields_come_when_the_first_producer_uses_them() -> None:
    reader = RawColumns()
    read(ONE, reader=reader)
    assert "user_id" not in read(ONE, reader=reader).schema.names
    with_user = orjson.dumps(event(user_id="u1"))
    assert read(ONE, with_user, reader=reader)["user_id"].to_pylist() == [None, "u1"]
    assert read(ONE, with_user, reader=reader)["user_id"].to_pylist() == [None, "u1"]


def test_numbers_that_json_cannot_hold_are_left_to_the_model() -> None:
    for value in (float("inf"), float("nan"), 2**70):
        with pytest.raises(Doubt):
            lines_of_docs([event(input_tokens=value)])


def test_the_types_are_those_of_the_event() -> None:
    assert {*raw_columns.TEXTS, *raw_columns.WHOLES, *raw_columns.FRACTIONS, "ts"} == raw_columns._NAMES
