"""The stored history read back as frames: what a backtest plays, a warm-up learns from, an explanation looks at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.frame import FRAME_SCHEMA
from schemas.records import AuditRow, Finding
from storage.store import Store

_CHUNK_MS: Final = 3_600_000  # one question an hour of history: the memory of the busiest hour is the most it takes
_FINDINGS_MOST: Final = 1_000_000
_MADE: Final = frozenset({"raw_partition", "raw_offset", "raw_index", "ts_ms"})
_COLUMNS: Final = tuple(name for name in FRAME_SCHEMA.names if name not in _MADE)
_STORED: Final = "*, raw_offset, raw_index"  # two are computed, which a star leaves out
_IN_TIME: Final = "ts >= fromUnixTimestamp64Milli({since:Int64}) AND ts < fromUnixTimestamp64Milli({until:Int64})"
_TABLES: Final = ("findings", "findings_shadow")


class Span(NamedTuple):
    """From the first stored event to the last."""

    first_ms: int
    last_ms: int
    events: int


def span(store: Store, *, held_of: str = "") -> Span | None:
    """None when nothing is stored. With a key in `held_of`, what is held of it counts as well."""
    asked = "SELECT count(), toUnixTimestamp64Milli(min(ts)), toUnixTimestamp64Milli(max(ts)) FROM "
    found = store.connection.rows(f"{asked} usage_events")
    if held_of:
        found += store.connection.rows(f"{asked} usage_held WHERE key_id = {{held:String}}", {"held": held_of})
    some = [(int(events), int(first), int(last)) for events, first, last in found if events]
    if not some:
        return None
    return Span(min(one[1] for one in some), max(one[2] for one in some), sum(one[0] for one in some))


def usage(
    store: Store, from_ms: int, until_ms: int, *, partition: int | None = None, partitions: int = 1,
    chunk_ms: int = _CHUNK_MS, held_of: str = "",
) -> Iterator[pa.RecordBatch]:  # fmt: skip
    """Frames of the events in [from_ms, until_ms), in the order of their time; of one stream partition if named.

    Held events that the retention has dropped else are left out, for they are those of few keys; with a key in
    `held_of` its own come along.

    Their raw coordinates are not those of any topic: one running number in raw partition 0.
    """
    stored = span(store, held_of=held_of)
    if stored is None:
        return
    start, until_ms, offset = max(from_ms, stored.first_ms), min(until_ms, stored.last_ms + 1), 0
    while start < until_ms:
        end = min(until_ms, (start // chunk_ms + 1) * chunk_ms)
        rows = _between(store, start, end, partition, partitions, held_of)
        if rows.num_rows:
            yield _frame(rows, offset)
            offset += rows.num_rows
        start = end


def events_of(store: Store, key_id: str, from_ms: int, until_ms: int) -> pa.Table:
    """The stored and the held events of one key in [from_ms, until_ms), oldest first, with every stored column."""
    return store.connection.arrow(
        f"""
        SELECT toUnixTimestamp64Milli(ts) AS ts_ms, {", ".join(_text(name) for name in _COLUMNS)}, retry,
            raw_partition, raw_offset, raw_index
        FROM {_rows(f"key_id = {{held:String}} AND {_IN_TIME}")}
        ORDER BY ts, position""",  # noqa: S608 - our own columns
        {"held": key_id, "since": from_ms, "until": until_ms},
    )


def _between(
    store: Store, from_ms: int, until_ms: int, partition: int | None, partitions: int, held_of: str
) -> pa.Table:
    where = "" if partition is None else "AND CRC32(toString(key_id)) % {partitions:UInt32} = {partition:UInt32}"
    return store.connection.arrow(
        f"""
        SELECT toUnixTimestamp64Milli(ts) AS ts_ms, {", ".join(_text(name) for name in _COLUMNS)}
        FROM {_rows(f"{_IN_TIME} {where}")}
        ORDER BY ts, position""",  # noqa: S608 - our own columns and clause
        {"since": from_ms, "until": until_ms, "partition": partition or 0, "partitions": partitions, "held": held_of},
    )


def _rows(where: str) -> str:
    """The latest word on each event, and what is held of the key `held` and else stored no more."""
    place = "key_id, toStartOfFiveMinutes(ts), event_id"
    return (
        f"(SELECT {_STORED} FROM usage_events FINAL WHERE {where} UNION ALL "  # noqa: S608 - our own
        f"SELECT {_STORED} FROM usage_held FINAL WHERE key_id = {{held:String}} AND {where} AND ({place}) NOT IN "
        f"(SELECT {place} FROM usage_events WHERE key_id = {{held:String}} AND {where})) AS usage_events"
    )


def _text(name: str) -> str:
    """Texts as plain strings: a low-cardinality dictionary differs from block to block."""
    is_text = pa.types.is_dictionary(FRAME_SCHEMA.field(name).type)
    return f"toString(usage_events.{name}) AS {name}" if is_text else f"usage_events.{name} AS {name}"


def _frame(rows: pa.Table, offset: int) -> pa.RecordBatch:
    zeros = pa.array(np.zeros(rows.num_rows, np.int32))
    made = {
        "raw_partition": zeros, "raw_index": zeros,
        "raw_offset": pa.array(np.arange(offset, offset + rows.num_rows, dtype=np.int64)),
    }  # fmt: skip
    columns = [
        _column(field, made[field.name] if field.name in made else rows.column(field.name)) for field in FRAME_SCHEMA
    ]
    [batch] = pa.Table.from_arrays(columns, schema=FRAME_SCHEMA).combine_chunks().to_batches()
    return batch


def _column(field: pa.Field, values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The table has no nulls; where a frame may hold one, empty text and zero stand for it."""
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if pa.types.is_dictionary(field.type):
        text = array.cast(pa.string())
        if field.nullable:
            text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        return text.dictionary_encode()
    if field.name == "asn":
        array = pc.if_else(pc.equal(array, 0), pa.scalar(None, array.type), array)
    return array.cast(field.type)


def acts(store: Store, action: str) -> list[AuditRow]:
    """What the audit says was done of one kind, oldest first."""
    rows = store.connection.rows(
        "SELECT record FROM audit FINAL WHERE action = {action:String} ORDER BY at, audit_id", {"action": action}
    )
    return [AuditRow.from_bytes(row[0].encode()) for row in rows]


def exceptions(store: Store) -> list[PolicyException]:
    """The newest version of each exception from policies."""
    rows = store.connection.rows("SELECT record FROM policy_exceptions FINAL ORDER BY exception_id, seq")
    return PolicyException.newest(PolicyException.from_bytes(row[0].encode()) for row in rows)


def follow_ups(store: Store) -> list[FollowUp]:
    """The newest version of each follow-up of an incident, in the order of their ids."""
    rows = store.connection.rows(
        "SELECT record FROM follow_ups FINAL ORDER BY follow_up_id, seq DESC, at DESC LIMIT 1 BY follow_up_id"
    )
    return [FollowUp.from_bytes(row[0].encode()) for row in rows]


def findings(store: Store, table: str, from_ms: int, until_ms: int) -> list[Finding]:
    """What was said within [from_ms, until_ms), oldest first. ValueError for a table that holds no findings."""
    if table not in _TABLES:
        raise ValueError(f"{table} holds no findings")
    rows = store.connection.rows(
        f"""
        SELECT record FROM {table} FINAL
        WHERE at >= fromUnixTimestamp64Milli({{since:Int64}}) AND at < fromUnixTimestamp64Milli({{until:Int64}})
        ORDER BY at, key_id, family, detector LIMIT {{limit:UInt32}}""",  # noqa: S608 - one of two names
        {"since": from_ms, "until": until_ms, "limit": _FINDINGS_MOST},
    )
    return [Finding.from_bytes(row[0].encode()) for row in rows]


def cut_seconds(store: Store) -> dict[str, float]:
    """Provider → seconds from the order until a cut was in effect, nine in ten of five or more."""
    rows = store.connection.rows(
        """
        SELECT JSONExtractString(c.record, 'facts', 'provider') AS provider,
               quantileExact(0.9)(JSONExtractFloat(o.record, 'seconds_to_effective')) AS seconds
        FROM (SELECT command_id, record FROM outcomes FINAL
              WHERE state = 'confirmed' AND step IN ('block', 'disable', 'revoke')) AS o
        INNER JOIN (SELECT command_id, record FROM commands FINAL) AS c USING (command_id)
        GROUP BY provider HAVING count() >= 5 ORDER BY provider"""
    )
    return {str(provider): float(seconds) for provider, seconds in rows}
