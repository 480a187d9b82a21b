"""Records in, rows and dead letters out: every event ends in exactly one of the two."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import orjson
import pytest
import xxhash

from schemas.frame import FRAME_SCHEMA, decode_frame, encode_frame
from sources.batch import RawRecord
from sources.envelope import MAX_EVENTS, MAX_RECORD_BYTES
from tests.sources.events import NOW_MS, PROVIDER_KEY, event, fingerprinter, parse, parser


def test_a_full_event_becomes_one_row_with_its_coordinates() -> None:
    parsed = parse(event())
    assert parsed.dead == []
    assert parsed.frame.schema.equals(FRAME_SCHEMA)
    (row,) = parsed.frame.to_pylist()
    assert row == {
        "raw_partition": 3,
        "raw_offset": 0,
        "raw_index": 0,
        "event_hash": xxhash.xxh3_64_intdigest(b"req-1"),
        "event_id": "req-1",
        "ts_ms": NOW_MS - 1750,
        "key_id": "fp1:0123456789abcdef0123456789abcdef",
        "provider": "openai",
        "model": "gpt-4o",
        "endpoint": "/v1/chat/completions",
        "requests": 1,
        "input_tokens": 1000,
        "cached_input_tokens": 200,
        "cache_write_tokens": 0,
        "output_tokens": 100,
        "reasoning_tokens": 0,
        "cost_nano_usd": 800 * 2500 + 200 * 1250 + 100 * 10000,
        "priced": True,
        "status": 200,
        "error": None,
        "latency_ms": 812.5,
        "ip": "203.0.113.7",
        "network": "203.0.113.0/24",
        "country": "DE",
        "asn": None,
        "user_agent": "openai-python/1.50.0",
        "user_id": None,
        "team": "growth",
        "app": "batch-eval",
        "env": "production",
    }


def test_an_object_an_array_and_ndjson_say_the_same() -> None:
    events = [event(event_id=f"e{n}", model=f"m{n}") for n in range(3)]
    lines = [orjson.dumps(one) for one in events]
    array = parse(orjson.dumps(events)).frame
    ndjson = parse(b"\n".join(lines)).frame
    singles = parse(*lines).frame
    spaced = parse(b"\n\n" + b"\r\n\n".join(lines) + b"\n \n").frame
    assert array.to_pylist() == ndjson.to_pylist() == spaced.to_pylist()
    assert array.column("raw_index").to_pylist() == [0, 1, 2]
    coordinates = ["raw_offset", "raw_index"]
    assert singles.drop_columns(coordinates).to_pylist() == array.drop_columns(coordinates).to_pylist()
    assert singles.column("raw_offset").to_pylist() == [0, 1, 2]


def test_what_is_absent_or_null_takes_its_default() -> None:
    bare = {"event_id": "e", "ts": 1_795_428_000, "provider": "p", "model": "m", "key_id": "k"}
    nulls = bare | dict.fromkeys(
        ["key", "requests", "status", "input_tokens", "latency_ms", "ip", "asn", "team", "cost_usd"]
    )
    parsed = parse(bare, nulls)
    assert parsed.dead == []
    first, second = parsed.frame.drop_columns(["raw_offset"]).to_pylist()
    assert first == second
    assert (first["requests"], first["status"], first["input_tokens"]) == (1, 200, 0)
    assert (first["latency_ms"], first["ip"], first["network"], first["asn"], first["team"]) == (None,) * 5
    assert (first["cost_nano_usd"], first["priced"]) == (0, False)


@pytest.mark.parametrize(
    ("ts", "ms_after_now"),
    [
        ("2026-11-23T10:00:00Z", 0),
        ("2026-11-23T11:00:00.5+01:00", 500),
        ("2026-11-23T10:00:00.123456Z", 123),
        ("2026-11-23T10:00:00.123456789Z", 123),
        (1_795_428_000, 0),
        (1_795_428_000.25, 250),
        (1_795_428_000_250, 250),
        (1_795_428_000_250.5, 250),
    ],
)
def test_times_are_read_in_every_spelling(ts: object, ms_after_now: int) -> None:
    assert parse(event(ts=ts)).frame.column("ts_ms").to_pylist() == [NOW_MS + ms_after_now]


def test_a_mix_of_spellings_in_one_batch_is_read_too() -> None:
    assert parse(event(), event(ts=1_795_428_000)).frame.column("ts_ms").to_pylist() == [NOW_MS - 1750, NOW_MS]


@pytest.mark.parametrize(
    ("text", "spelling", "network"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.0/24"),
        ("2001:DB8:1:2::3", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::1", "fe80::/48"),
        ("", None, None),
    ],
)
def test_an_address_has_one_spelling_and_one_network(text: str, spelling: str | None, network: str | None) -> None:
    (row,) = parse(event(ip=text)).frame.to_pylist()
    assert (row["ip"], row["network"]) == (spelling, network)


def test_a_dictionary_holds_each_value_once() -> None:
    addresses = ["203.0.113.7", "::ffff:203.0.113.7", "203.0.113.9", "198.51.100.1"]
    frame = parse(*[event(event_id=f"e{n}", ip=ip) for n, ip in enumerate(addresses)]).frame
    assert sorted(frame.column("ip").dictionary.to_pylist()) == ["198.51.100.1", "203.0.113.7", "203.0.113.9"]
    assert sorted(frame.column("network").dictionary.to_pylist()) == ["198.51.100.0/24", "203.0.113.0/24"]


def test_a_cost_that_is_given_is_taken_and_a_missing_one_is_looked_up() -> None:
    costs = [event(cost_usd=0.5), event(), event(model="no-such-model"), event(model="no-such-model", cost_usd=0)]
    frame = parse(*costs).frame
    assert frame.column("cost_nano_usd").to_pylist() == [500_000_000, 3_250_000, 0, 0]
    assert frame.column("priced").to_pylist() == [True, True, False, True]


def test_frames_of_doubtful_batches_can_be_encoded() -> None:
    events: list[bytes | dict[str, Any]] = [event(event_id=f"e{n}", user_id=f"u{n}") for n in range(600)]
    events[300] = event(status="200")
    parsed = parse(*events)
    assert [dead.offset for dead in parsed.dead] == [300]
    frame = decode_frame(encode_frame(parsed.frame))
    assert frame.column("raw_offset").to_pylist() == [n for n in range(600) if n != 300]
    assert frame.column("user_id").to_pylist() == [f"u{n}" for n in range(600) if n != 300]


def test_no_records_give_an_empty_frame() -> None:
    for parsed in (parse(), parse(b"[]"), parse(b"{}")):
        assert parsed.frame.num_rows == 0
        assert parsed.frame.schema.equals(FRAME_SCHEMA)


NOT_JSON = [
    ("empty", b""),
    ("white space", b" \n\t "),
    ("cut off", orjson.dumps(event())[:-20]),
    ("cut off array", b"[" + orjson.dumps(event()) + b","),
    ("NaN", json.dumps(event(cost_usd=math.nan)).encode()),
    ("a number beyond floats", orjson.dumps(event()).replace(b"812.5", b"1e400")),
    ("deep nesting", b'{"event_id":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    ("a lone surrogate", orjson.dumps(event()).replace(b"growth", b"\\ud800")),
    ("two objects on one line", orjson.dumps(event()) * 2),
    ("pretty-printed and cut off", json.dumps(event(), indent=2).encode()[:-5]),
]


@pytest.mark.parametrize("value", [value for _, value in NOT_JSON], ids=[name for name, _ in NOT_JSON])
def test_a_record_that_is_no_json_is_dead_as_a_whole(value: bytes) -> None:
    parsed = parse(event(), value, event())
    (dead,) = parsed.dead
    assert (dead.reason, dead.index, dead.offset, dead.bytes) == ("not_json", -1, 1, len(value))
    assert (dead.topic, dead.partition, dead.at_ms) == ("usage.raw", 3, NOW_MS)
    assert parsed.frame.column("raw_offset").to_pylist() == [0, 2]


def test_bytes_that_are_no_text_are_named_so() -> None:
    (dead,) = parse(orjson.dumps(event()).replace(b"growth", b"gr\xffwth")).dead
    assert (dead.reason, dead.index) == ("not_utf8", -1)


def test_two_broken_records_never_make_a_whole_one() -> None:
    whole = orjson.dumps(event())
    parsed = parse(whole[:50], whole[50:])
    assert parsed.frame.num_rows == 0
    assert [dead.reason for dead in parsed.dead] == ["not_json", "not_json"]


@pytest.mark.parametrize(
    "value", [b"42", b'"text"', b"null", b"true", b"[1]", b"[[]]", b"{}", b'{"id":"x"}', b"[null]"]
)
def test_an_unknown_shape_is_named_so(value: bytes) -> None:
    (dead,) = parse(value).dead
    assert (dead.reason, dead.index) == ("unknown_format", 0)


BAD_FIELDS: list[tuple[str, Any]] = [
    ("event_id", ""),
    ("event_id", 7),
    ("event_id", "x" * 257),
    ("event_id", "a\x00b"),
    ("event_id", ["e"]),
    ("provider", {}),
    ("model", "m\x00"),
    ("key_id", ""),
    ("key_id", 1),
    ("key", ""),
    ("key", 5),
    ("key", "k" * 5000),
    ("ts", True),
    ("ts", "yesterday"),
    ("ts", "2026-11-23T10:00:00"),
    ("ts", [1]),
    ("requests", 0),
    ("requests", 2_000_000_000),
    ("input_tokens", -1),
    ("input_tokens", "100"),
    ("input_tokens", 1.5),
    ("input_tokens", 5.0),
    ("input_tokens", True),
    ("input_tokens", 10**20),
    ("input_tokens", 2**63),
    ("input_tokens", 10_000_000_001),
    ("output_tokens", -(2**70)),
    ("cost_usd", -0.01),
    ("cost_usd", 1e308),
    ("cost_usd", "1"),
    ("cost_usd", True),
    ("status", 1000),
    ("status", "200"),
    ("latency_ms", -1),
    ("latency_ms", 1e10),
    ("latency_ms", "12"),
    ("ip", "203.0.113.7/24"),
    ("ip", "localhost"),
    ("ip", 3405803783),
    ("asn", -1),
    ("asn", 2**32),
    ("asn", "AS1"),
    ("country", 49),
    ("user_agent", "x" * 1025),
    ("team", "x" * 257),
    ("team", {"name": "x"}),
    ("env", "\x00"),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=[f"{f}={str(v)[:20]!r}" for f, v in BAD_FIELDS])
def test_a_bad_field_is_named_and_spares_its_neighbours(field: str, value: object) -> None:
    changed = event(**{field: value}) if field != "key" else event(key_id=None, key=value)
    parsed = parse(event(), json.dumps(changed).encode(), event())
    (dead,) = parsed.dead
    assert (dead.reason, dead.field, dead.index, dead.offset) == ("invalid_field", field, 0, 1)
    assert dead.detail
    assert parsed.frame.column("raw_offset").to_pylist() == [0, 2]


@pytest.mark.parametrize("missing", ["event_id", "ts", "provider", "model", "key_id"])
def test_a_missing_field_is_named(missing: str) -> None:
    (dead,) = parse(event(**{missing: None})).dead
    assert (dead.reason, dead.field) == ("invalid_field", missing)


def test_both_names_of_a_key_are_one_too_many() -> None:
    (dead,) = parse(event(key="sk-anything-at-all-12345")).dead
    assert (dead.reason, dead.field) == ("invalid_field", "key_id")


@pytest.mark.parametrize(
    "ts", [0, 1e308, -5, "1970-01-01T00:00:00Z", "2999-01-01T00:00:00Z", 1_795_428_030.001, 4_102_444_800]
)
def test_a_time_that_cannot_be_is_named_so(ts: object) -> None:
    (dead,) = parse(event(ts=ts)).dead
    assert (dead.reason, dead.field) == ("time_out_of_range", "ts")


def test_the_future_is_bounded_only_where_a_bound_is_given() -> None:
    assert parse(event(ts=1_795_428_030)).dead == []
    assert parse(event(ts=1_900_000_000), max_future_s=None).dead == []


def test_the_last_of_duplicate_fields_counts() -> None:
    value = orjson.dumps(event()).replace(b'"status":200', b'"status":"x","status":503')
    assert parse(value).frame.column("status").to_pylist() == [503]


def test_bad_events_of_one_record_are_named_by_their_index() -> None:
    events = [event(event_id="a"), event(event_id="b", status=-1), event(event_id="c"), 5]
    parsed = parse(orjson.dumps(events))
    assert [(dead.index, dead.reason) for dead in parsed.dead] == [(1, "invalid_field"), (3, "unknown_format")]
    assert parsed.frame.column("event_id").to_pylist() == ["a", "c"]
    assert parsed.frame.column("raw_index").to_pylist() == [0, 2]


def test_a_cut_off_last_line_costs_only_that_line() -> None:
    lines = [orjson.dumps(event(event_id=f"e{n}")) for n in range(3)]
    parsed = parse(b"\n".join(lines)[:-10])
    assert [(dead.index, dead.reason) for dead in parsed.dead] == [(2, "not_json")]
    assert parsed.frame.column("event_id").to_pylist() == ["e0", "e1"]


def test_a_huge_record_is_refused_unread() -> None:
    value = b'{"event_id":"' + b"x" * (2 * MAX_RECORD_BYTES)
    (dead,) = parse(value).dead
    assert (dead.reason, dead.index) == ("too_large", -1)


@pytest.mark.parametrize(
    "value", [b"[" + b"1," * MAX_EVENTS + b"1]", b"{}\n" * (MAX_EVENTS + 1)], ids=["array", "lines"]
)
def test_too_many_events_are_refused_together(value: bytes) -> None:
    (dead,) = parse(value).dead
    assert (dead.reason, dead.index) == ("too_many_events", -1)


def test_a_format_that_nobody_knows_is_named_so() -> None:
    (dead,) = parse(event(), fmt="kong").dead
    assert (dead.reason, dead.detail) == (
        "unknown_format",
        "the record's format header names none of the known formats: native, litellm",
    )


def test_a_secret_becomes_a_fingerprint_and_is_gone() -> None:
    parsed = parse(
        event(event_id="a", key_id=None, key=PROVIDER_KEY),
        event(event_id="b", key_id=PROVIDER_KEY),
        event(event_id="c"),
    )
    name = fingerprinter().of(PROVIDER_KEY)
    assert parsed.frame.column("key_id").to_pylist() == [name, name, "fp1:0123456789abcdef0123456789abcdef"]
    assert PROVIDER_KEY.encode() not in encode_frame(parsed.frame)


@pytest.mark.parametrize(
    "field",
    ["event_id", "provider", "model", "endpoint", "error", "country", "user_agent", "user_id", "team", "app", "env"],
)
def test_a_secret_in_any_text_is_hidden(field: str) -> None:
    for value in (PROVIDER_KEY, f"401 for {PROVIDER_KEY}"):
        (row,) = parse(event(**{field: value})).frame.to_pylist()
        assert PROVIDER_KEY not in str(row)
        assert row[field]


@pytest.mark.parametrize("field", ["key", *event(), "requests", "cost_usd", "asn"])
def test_a_secret_in_a_bad_place_is_in_no_dead_letter(field: str) -> None:
    shapes = (PROVIDER_KEY, [PROVIDER_KEY], {PROVIDER_KEY: PROVIDER_KEY}, PROVIDER_KEY + "\x00", PROVIDER_KEY * 300)
    for value in shapes:
        parsed = parse(event(**({"key_id": None} if field == "key" else {}), **{field: value}))
        assert PROVIDER_KEY not in "".join(dead.model_dump_json() for dead in parsed.dead)
        assert PROVIDER_KEY not in str(parsed.frame.to_pylist())


def test_a_name_of_a_key_is_kept_as_it_is() -> None:
    for name in ("apikey_01Rj2N8SVvo6BePZj99NhmiT", "key_abc123", "f" * 64, "fp1:" + "a" * 32):
        assert parse(event(key_id=name)).frame.column("key_id").to_pylist() == [name]


def test_rows_do_not_depend_on_where_batches_are_cut() -> None:
    values = [orjson.dumps(event(event_id=f"e{n}", user_id=f"u{n % 7}", ip=f"10.0.{n % 3}.1")) for n in range(700)]
    values[123] = b"broken"
    values[456] = orjson.dumps(event(input_tokens=-4))
    records = [RawRecord(0, offset, value, None) for offset, value in enumerate(values)]
    rows: list[dict[str, Any]] = []
    cutter = parser()
    for start, stop in zip([0, 1, 100, 457], [1, 100, 457, 700], strict=True):
        rows += cutter.parse(records[start:stop], topic="t", now_ms=NOW_MS).frame.to_pylist()
    assert rows == parser().parse(records, topic="t", now_ms=NOW_MS).frame.to_pylist()


def test_hashes_of_different_events_differ() -> None:
    frame = parse(*[event(event_id=f"e{n}") for n in range(500)]).frame
    assert len(np.unique(frame.column("event_hash").to_numpy())) == 500
