"""Frames and records as rows of the store's tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.audit_chain import Head
from schemas.evidence import ConfigInForce, ConfigText, Hold, KeyState
from schemas.exception import PolicyException
from schemas.follow_up import FollowUp
from schemas.frame import INDEX_BITS
from schemas.key_record import KeyRecord
from schemas.records import AuditRow, Command, DeadLetter, Finding, Incident, Mark, Outcome

Kept = Hold | ConfigText | ConfigInForce | KeyState | KeyRecord | PolicyException | FollowUp
StoredRecord = Finding | Incident | Command | Outcome | Mark | AuditRow | DeadLetter | Kept

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SAME: Final = (
    "key_id",
    "event_id",
    "event_hash",
    "provider",
    "model",
    "endpoint",
    "requests",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "priced",
    "status",
    "error",
    "latency_ms",
    "ip",
    "network",
    "country",
    "asn",
    "user_agent",
    "user_id",
    "team",
    "app",
    "env",
)


def usage_columns(
    frames: pa.Table, *, partition: int, log_start: int, positions: npt.NDArray[np.uint64], retry: npt.NDArray[np.bool_]
) -> pa.Table:
    """Rows of `usage_events` from rows of frames: one chunk, times as times, coordinates packed.

    `positions` says for each row where it stands in the frame log; `retry` that the same event was counted before.
    """
    raw = raw_coords(frames)
    columns = {name: frames.column(name) for name in _SAME}
    columns["ts"] = frames.column("ts_ms").cast(pa.timestamp("ms", "UTC"))
    columns["retry"] = pa.array(retry.astype(np.uint8))
    columns["frame_partition"] = pa.repeat(pa.scalar(partition, pa.uint16()), frames.num_rows)
    columns["log_start"] = pa.repeat(pa.scalar(log_start, pa.uint64()), frames.num_rows)
    columns["position"] = pa.array(positions)
    columns["raw_partition"] = frames.column("raw_partition").cast(pa.uint16())
    columns["raw_coord"] = pa.array(raw.astype(np.uint64))
    return pa.table(columns).unify_dictionaries().combine_chunks()


def raw_coords(frames: pa.Table) -> npt.NDArray[np.int64]:
    """One ordered number per row for its place within its raw partition."""
    offsets = pc.shift_left(frames.column("raw_offset"), INDEX_BITS)
    coords: npt.NDArray[np.int64] = pc.add(offsets, frames.column("raw_index").cast(pa.int64())).to_numpy()
    return coords


def record_row(record: StoredRecord) -> tuple[str, dict[str, Any]]:
    """The table a record belongs to and its row: the columns people search by, and the record whole."""
    table, columns = _columns(record)
    return table, columns | {"record": record.model_dump_json()}


def head_row(head: Head) -> dict[str, Any]:
    """The row of `audit_heads` for a head."""
    row = head.model_dump(include={"chain", "seq", "hash", "public_key"})
    return row | {"at": time_of(head.at_ms), "record": head.model_dump_json()}


def _columns(record: StoredRecord) -> tuple[str, dict[str, Any]]:
    found: tuple[str, dict[str, Any]]
    match record:
        case Finding():
            row = _picked(record, "finding_id", "key_id", "family", "detector", "severity", "score")
            found = "findings", row | {"at": time_of(record.at_ms)}
        case Incident():
            row = _picked(record, "incident_id", "seq", "key_id", "state", "severity", "lost_usd")
            times = {"opened_at": time_of(record.opened_at_ms), "updated_at": time_of(record.updated_at_ms)}
            found = "incidents", row | times
        case Command():
            row = _picked(record, "command_id", "incident_id", "key_id", "step", "automatic")
            found = "commands", row | {"at": time_of(record.at_ms)}
        case Outcome():
            row = _picked(record, "command_id", "incident_id", "key_id", "step")
            found = "outcomes", row | {"state": record.state.value, "at": time_of(record.at_ms)}
        case Mark():
            row = _picked(record, "mark_id", "verdict", "scope", "key_id", "incident_id", "by", "withdrawn")
            found = "marks", row | {"version": record.at_ms, "at": time_of(record.at_ms)}
        case AuditRow():
            row = _picked(record, "audit_id", "actor", "action", "key_id", "incident_id", "command_id", "result")
            found = "audit", row | {"at": time_of(record.at_ms)}
        case DeadLetter():
            row = _picked(record, "topic", "partition", "offset", "field", "bytes")
            place = {"event_index": record.index, "reason": record.reason.value, "at": time_of(record.at_ms)}
            found = "dead_letters", row | place
        case _:
            found = _kept(record)
    return found


def _kept(record: Kept) -> tuple[str, dict[str, Any]]:
    """What is kept for those who come later."""
    found: tuple[str, dict[str, Any]]
    match record:
        case Hold():
            row = _picked(record, "hold_id", "incident_id", "key_id", "by", "released")
            found = "holds", row | {"version": record.at_ms, "at": time_of(record.at_ms)}
        case ConfigText():
            found = "config_texts", _picked(record, "sha256", "file")
        case ConfigInForce():
            found = "config_in_force", _picked(record, "worker", "version") | {"at": time_of(record.at_ms)}
        case KeyState():
            found = "key_states", _picked(record, "key_id", "finding_id") | {"at": time_of(record.at_ms)}
        case PolicyException():
            row = _picked(record, "exception_id", "seq", "state", "rule", "by", "approved_by")
            times = {"from_time": time_of(record.from_ms), "until_time": time_of(record.until_ms)}
            row |= {"rule_of": record.of}
            found = "policy_exceptions", row | times | {"at": time_of(record.at_ms)}
        case FollowUp():
            row = _picked(record, "follow_up_id", "seq", "state", "incident_id", "key_id", "owner", "by")
            due = None if record.due_ms is None else time_of(record.due_ms)
            found = "follow_ups", row | {"due": due, "at": time_of(record.at_ms)}
        case KeyRecord():
            row = _picked(record, "key_id", "seq", "by", "state", "kind", "owner", "team", "env", "request_id")
            found = "key_records", row | {"at": time_of(record.at_ms)}
    return found


def _picked(record: StoredRecord, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def time_of(ms: int) -> datetime:
    """As the driver takes times."""
    return _EPOCH + timedelta(milliseconds=ms)
