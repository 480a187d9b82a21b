"""What one record of `usage.raw` holds: one JSON object, an array of objects, or NDJSON.

Records are decoded one by one and never joined: in a joined text the end of a broken record could complete the
start of the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from schemas.records import DeadReason
from sources.raw_records import RawRecord, RawRecords

MAX_RECORD_BYTES: Final = 5 * 1024 * 1024
MAX_EVENTS: Final = 100_000  # in one record

Positions = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an event or a whole record (index -1) is not taken; never holds what was in it."""

    index: int
    reason: DeadReason
    field: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """The events of many records in order, each with its record's position and its own index in that record."""

    docs: list[Any]
    record: Positions
    index: Positions
    refused: list[tuple[int, Refusal]]  # position of the record


def open_records(records: RawRecords, max_bytes: int = MAX_RECORD_BYTES) -> Opened:
    """All events of all records; whatever cannot be decoded is named in `refused`."""
    count = len(records)
    if max(map(len, records.values), default=0) <= max_bytes:
        try:
            docs = list(map(orjson.loads, records.values))
        except orjson.JSONDecodeError:
            pass
        else:
            if set(map(type, docs)) <= {dict}:
                return Opened(docs, np.arange(count, dtype=np.int64), np.zeros(count, np.int64), [])
    return _open_each(records, max_bytes)


def _open_each(records: Sequence[RawRecord], max_bytes: int) -> Opened:
    docs: list[Any] = []
    indices: list[int] = []
    counts: list[int] = []
    refused: list[tuple[int, Refusal]] = []
    for position, record in enumerate(records):
        found, bad = open_value(record.value, max_bytes)
        docs.extend(doc for _, doc in found)
        indices.extend(index for index, _ in found)
        counts.append(len(found))
        refused.extend((position, refusal) for refusal in bad)
    position_of = np.repeat(np.arange(len(records), dtype=np.int64), counts)
    return Opened(docs, position_of, np.array(indices, np.int64), refused)


def open_value(value: bytes, max_bytes: int = MAX_RECORD_BYTES) -> tuple[list[tuple[int, Any]], list[Refusal]]:
    """The (index, event) pairs of one record, and what could not be decoded."""
    if len(value) > max_bytes:
        detail = f"the record has {len(value)} bytes, more than {max_bytes}"
        return [], [Refusal(-1, DeadReason.TOO_LARGE, detail=detail)]
    try:
        decoded = orjson.loads(value)
    except orjson.JSONDecodeError:
        return _open_lines(value)
    docs = decoded if isinstance(decoded, list) else [decoded]
    return ([], [_too_many(len(docs))]) if len(docs) > MAX_EVENTS else (list(enumerate(docs)), [])


def _open_lines(value: bytes) -> tuple[list[tuple[int, Any]], list[Refusal]]:
    """NDJSON when at least one line of several is an object by itself; otherwise the record as a whole is broken."""
    lines = [line for line in value.split(b"\n") if line and not line.isspace()]
    if len(lines) > MAX_EVENTS:
        return [], [_too_many(len(lines))]
    docs: list[tuple[int, Any]] = []
    refused: list[Refusal] = []
    for index, line in enumerate(lines):
        try:
            docs.append((index, orjson.loads(line)))
        except orjson.JSONDecodeError:
            refused.append(_not_json(index, line))
    if len(lines) > 1 and any(isinstance(doc, dict) for _, doc in docs):
        return docs, refused
    return [], [_not_json(-1, value)]


def _too_many(count: int) -> Refusal:
    return Refusal(-1, DeadReason.TOO_MANY_EVENTS, detail=f"{count} events in one record, more than {MAX_EVENTS}")


def _not_json(index: int, text: bytes) -> Refusal:
    """The decoder's own message may quote the text, so it is not used."""
    if not text or text.isspace():
        return Refusal(index, DeadReason.NOT_JSON, detail="empty")
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return Refusal(index, DeadReason.NOT_UTF8, detail="not UTF-8 text")
    return Refusal(index, DeadReason.NOT_JSON, detail="neither JSON nor NDJSON")
