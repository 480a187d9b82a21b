"""Columns and the model agree: on every verdict, and on every cell of every row."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np
import orjson
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.event import UsageEvent
from schemas.redact import looks_secret, redact
from sources.batch import RawRecord
from sources.columns import ColumnBuilder, Origin
from sources.doubt import Doubt
from sources.envelope import Refusal, open_value
from sources.lines import lines_of
from sources.raw_columns import RawColumns
from sources.verdict import judge, to_native
from tests.sources.events import NOW_MS, PRICES, PROVIDER_KEY, event, fingerprinter, parser

LATEST_MS = NOW_MS + 300_000
READER = RawColumns()
BUILDER = ColumnBuilder(fingerprinter=fingerprinter(), prices=PRICES)
PARSER, BY_BYTES = parser(), parser(max_future_s=300)
FREE_TEXTS = ("provider", "model", "endpoint", "error", "country", "user_agent", "user_id", "team", "app", "env")

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(
        ["NaN", "x" * 256, "x" * 257, "y" * 1024, "y" * 1025, "é" * 256, PROVIDER_KEY, f"to {PROVIDER_KEY}", "a\x00"]
    ),
)
times = st.one_of(
    st.integers(-1, 5 * 10**12),
    st.floats(0, 5e12),
    st.integers(1_420_070_390, 1_420_070_410),
    st.integers(NOW_MS - 10**10, NOW_MS),
    st.floats(NOW_MS / 1000 - 10**7, NOW_MS / 1000),
    st.floats(NOW_MS - 10**10, NOW_MS),
    st.integers(NOW_MS + 299_990, NOW_MS + 300_010),
    st.builds(
        "{}{}{:02}:{:02}:{:02}{}{}".format,
        st.sampled_from(
            ["2026-11-23", "2024-02-29", "2023-02-29", "2014-12-31", "2015-01-01", "20261123", "2099-12-31"]
        ),
        st.sampled_from(["T", " ", "t", ""]),
        st.integers(0, 25),
        st.integers(0, 60),
        st.integers(0, 61),
        st.sampled_from(["", ".1", ".12", ".123", ".0005", ".1234", ".0015", ".123456", ".9999999", ",5", "."]),
        st.sampled_from(["Z", "z", "", "+00:00", "-11:30", "+24:00", "+0100", " Z"]),
    ),
)
addresses = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(["", "::ffff:1.2.3.4", "fe80::1%eth0", "1.2.3", "01.2.3.4", "::1", "1.2.3.4%1", "2001:DB8::"]),
)
numbers = st.one_of(
    st.integers(-2, 1001),
    st.sampled_from(
        [2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**10, 10**10 + 1, 10**9, 10**6]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
)
anything = st.one_of(st.none(), st.booleans(), numbers, texts, times, addresses, st.just([]), st.just({"a": 1}))
FITTING = {
    "event_id": texts,
    "ts": times,
    "provider": texts,
    "model": st.one_of(texts, st.sampled_from(["gpt-4o", "openai/gpt-4o", "deepseek-chat", "claude-sonnet-4-6"])),
    "key_id": st.one_of(texts, st.none()),
    "key": st.one_of(texts, st.none(), st.just("k" * 4097)),
    "ip": addresses,
    **dict.fromkeys(["endpoint", "error", "country", "user_agent", "user_id", "team", "app", "env"], texts),
    **dict.fromkeys(
        ["requests", "input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"],
        st.integers(0, 10_000),
    ),
    "status": st.integers(0, 999),
    "asn": st.integers(0, 2**32 - 1),
    "cost_usd": st.floats(0, 1e6),
    "latency_ms": st.one_of(st.integers(0, 10**9), st.floats(0, 1e9)),
}
COORDINATES = ["raw_partition", "raw_offset", "raw_index"]
names = st.sampled_from(sorted([*FITTING, "unknown"]))


@st.composite
def near_valid(draw: st.DrawFn) -> dict[str, Any]:
    """A valid event with a few fields changed to what fits, or to anything; through JSON, as the ingest sees it."""
    doc = event()
    if draw(st.booleans()):
        doc["key"] = doc.pop("key_id")
    for name in draw(st.lists(names, max_size=6)):
        doc[name] = draw(FITTING.get(name, anything) if draw(st.integers(0, 3)) else anything)
    for name in draw(st.lists(names, max_size=1)):
        doc.pop(name, None)
    decoded = orjson.loads(json.dumps(doc))
    assert isinstance(decoded, dict)
    return decoded


def origin(count: int) -> Origin:
    zeros = np.zeros(count, np.int64)
    return Origin(zeros, np.arange(count), zeros)


def row_of(found: UsageEvent) -> dict[str, Any]:
    """The row of a valid event, cell by cell and without columns: what the fast path is held to."""
    secret = found.key.get_secret_value() if found.key else found.key_id
    assert secret is not None
    known = found.cost_usd is not None
    nano = round(found.cost_usd * 1e9) if found.cost_usd is not None else table_price(found)
    row = found.model_dump(exclude={"key", "ts", "cost_usd", "ip"})
    row |= {name: hidden(row[name]) for name in FREE_TEXTS}
    row |= address(found.ip)
    row["key_id"] = fingerprinter().of(secret) if found.key or looks_secret(secret) else secret
    row["event_id"] = fingerprinter().of(found.event_id) if looks_secret(found.event_id) else found.event_id
    row["event_hash"] = xxhash.xxh3_64_intdigest(row["event_id"].encode())
    row["latency_ms"] = None if found.latency_ms is None else float(np.float32(found.latency_ms))
    return row | {"ts_ms": found.ts, "cost_nano_usd": nano or 0, "priced": known or nano is not None}


def table_price(found: UsageEvent) -> int | None:
    return PRICES.cost_nano_usd(
        str(hidden(found.provider)),
        str(hidden(found.model)),
        input_tokens=found.input_tokens,
        cached=found.cached_input_tokens,
        cache_write=found.cache_write_tokens,
        output=found.output_tokens,
        ts_ms=found.ts,
    )


def hidden(value: str | None) -> str | None:
    return redact(value)[:256] if value is not None and looks_secret(value) else value


def address(text: str | None) -> dict[str, str | None]:
    if text is None:
        return {"ip": None, "network": None}
    found = ip_address(text.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return {"ip": str(found), "network": str(ip_network((found, 24 if found.version == 4 else 48), strict=False))}


@settings(max_examples=400, deadline=None)
@given(near_valid())
def test_columns_take_exactly_what_the_model_takes_and_give_its_row(doc: dict[str, Any]) -> None:
    verdict = judge(doc, 0, LATEST_MS)
    try:
        frame = BUILDER.build(READER.read(lines_of([encoded(doc)])), origin(1), LATEST_MS)
    except Doubt:
        assert not isinstance(verdict, UsageEvent)
    else:
        assert isinstance(verdict, UsageEvent)
        (row,) = frame.drop_columns(COORDINATES).to_pylist()
        assert row == row_of(verdict)


@settings(max_examples=150, deadline=None)
@given(st.lists(near_valid(), max_size=8))
def test_a_batch_gives_what_its_events_give_alone(docs: list[dict[str, Any]]) -> None:
    records = [RawRecord(0, offset, encoded(doc), "native") for offset, doc in enumerate(docs)]
    alone = [PARSER.parse([record], topic="t", now_ms=NOW_MS) for record in records]
    together = PARSER.parse(records, topic="t", now_ms=NOW_MS)
    assert together.frame.to_pylist() == [row for parsed in alone for row in parsed.frame.to_pylist()]
    assert together.dead == [dead for parsed in alone for dead in parsed.dead]
    assert together.frame.num_rows + len(together.dead) == len(docs)


def encoded(doc: Any) -> bytes:
    return json.dumps(doc).encode()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=8).map(lambda junk: orjson.dumps(event()) + junk)))
def test_bytes_of_any_sort_end_in_rows_or_dead_letters(value: bytes) -> None:
    parsed = PARSER.parse([RawRecord(0, 0, value, None)], topic="t", now_ms=NOW_MS)
    assert parsed.frame.num_rows or parsed.dead or orjson.loads(value) == []


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        anything, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | texts, inner, max_size=4)
    )
)
def test_json_of_any_shape_ends_in_rows_or_dead_letters(value: Any) -> None:
    for forced in (None, "native", "litellm"):
        parsed = PARSER.parse([RawRecord(0, 0, encoded(value), forced)], topic="t", now_ms=NOW_MS)
        assert parsed.frame.num_rows or parsed.dead or value == []


JUNK = [
    *rb"""NaN -Infinity Inf 1e400 1e5 1.0 -0 007 18446744073709551616 null true " { } [ ] , : },{ // "a":1, "ts":1,
    "event_id":null, \ \u0000 \ud83d \ude00 \ud83d\ude00""".split(),
    *(b"\n", b"}\n{", b"\x00", b"\x0b", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
]
ways_to_write = st.sampled_from(
    [
        encoded,
        orjson.dumps,
        lambda doc: json.dumps(doc, ensure_ascii=False).encode(),
        lambda doc: b" " + orjson.dumps(doc) + b"\r\n",
        lambda doc: json.dumps(doc, indent=1).encode(),
        lambda doc: orjson.dumps(doc)[:-1] + b',"unknown":{"unknown":[1,{}]}}',
    ]
)
written = st.builds(lambda doc, write: bytes(write(doc)), near_valid(), ways_to_write)
of_several = st.builds(
    lambda values, between, around: around[0] + between.join(values) + around[1],
    st.lists(written, min_size=1, max_size=4),
    st.sampled_from([b"\n", b"\n\n", b"\r\n", b",", b""]),
    st.sampled_from([(b"", b""), (b"[", b"]"), (b"\n", b"\n"), (b"", b"\n")]),
)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """What one producer with a bug, or a bad mind, may send."""
    value = draw(written)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        value = value[:start] + draw(st.sampled_from(JUNK)) + value[start + draw(st.integers(0, 4)) :]
    return value


def by_the_model(records: list[RawRecord]) -> tuple[list[dict[str, Any]], list[tuple[int, int, str, str]]]:
    """Rows, and (offset, index, reason, field) of what is dead: record by record, event by event, without columns."""
    rows: list[dict[str, Any]] = []
    dead: list[tuple[int, int, str, str]] = []
    for record in records:
        docs, refused = open_value(record.value)
        for index, doc in docs:
            native = to_native(doc, record.format)
            verdict = judge(native, index, LATEST_MS) if isinstance(native, dict) else Refusal(index, native[0])
            if isinstance(verdict, UsageEvent):
                place = dict(zip(COORDINATES, (record.partition, record.offset, index), strict=True))
                rows.append(place | row_of(verdict))
            else:
                refused.append(verdict)
        in_order = sorted(refused, key=lambda one: one.index)
        dead += [(record.offset, one.index, one.reason.value, one.field) for one in in_order]
    return rows, dead


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(written, spoiled(), of_several, st.binary(max_size=4)), max_size=6))
def test_bytes_end_as_the_model_says_whichever_way_they_are_read(values: list[bytes]) -> None:
    records = [RawRecord(3, 100 + number, value, None) for number, value in enumerate(values)]
    rows, dead = by_the_model(records)
    parsed = BY_BYTES.parse(records, topic="t", now_ms=NOW_MS)
    assert parsed.frame.to_pylist() == rows
    assert [(one.offset, one.index, one.reason.value, one.field) for one in parsed.dead] == dead
