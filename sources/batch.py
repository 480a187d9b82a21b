"""From raw records to one frame: the hot path of the ingest.

Whole batches are turned into columns at once. Only where that leaves a doubt are records decoded, and only a doubtful
chunk of them goes event by event through the model, which names what is bad. So one bad producer does not slow down the
others much, and the rows are the same whichever way they came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import pyarrow as pa

from schemas.event import UsageEvent, parse_ts_ms
from schemas.fingerprint import Fingerprinter
from schemas.frame import FRAME_SCHEMA
from schemas.records import DeadLetter
from sources.columns import ColumnBuilder, Origin
from sources.doubt import Doubt
from sources.envelope import Opened, Positions, Refusal, open_records
from sources.formats import NATIVE
from sources.lines import Lines, lines_of
from sources.pricing import PriceBook
from sources.raw_columns import RawColumns, read_docs
from sources.raw_records import RawRecord, RawRecords
from sources.texts import TextColumns
from sources.verdict import given, judge, to_native

__all__ = ["BatchParser", "ParsedBatch", "RawRecord", "RawRecords"]

_PIECE: Final = 2048  # records that are read again for one doubtful one among them
_CHUNK: Final = 256  # those of them that are decoded, and events that the model looks at

Refused = list[tuple[int, Refusal]]  # position of the record in the batch


class ParsedBatch(NamedTuple):
    """Good rows in input order, and a dead letter for each event or record that could not be taken."""

    frame: pa.RecordBatch
    dead: list[DeadLetter]


class Read(NamedTuple):
    """Records, and their columns before any check; None where they cannot be read at once."""

    records: RawRecords
    found: tuple[Lines, pa.RecordBatch] | None


@dataclass(frozen=True, slots=True)
class _Rows:
    docs: list[dict[str, Any]]
    record: Positions
    index: Positions

    def part(self, start: int, stop: int) -> _Rows:
        return _Rows(self.docs[start:stop], self.record[start:stop], self.index[start:stop])


class BatchParser:
    """Native and foreign records to frames. Keeps caches of names and prices, no state that changes a result.

    Times later than `max_future_s` after `now_ms` are refused; None takes any time the model takes (replays).
    """

    def __init__(self, *, fingerprinter: Fingerprinter, prices: PriceBook, max_future_s: int | None = 30) -> None:
        self._raw = RawColumns()
        self._columns = ColumnBuilder(fingerprinter=fingerprinter, prices=prices)
        self._texts = TextColumns(fingerprinter)
        self._max_future_s = max_future_s

    def parse(self, records: Sequence[RawRecord], *, topic: str, now_ms: int) -> ParsedBatch:
        """Every event of every record ends in the frame or in a dead letter; nothing is raised for bad input."""
        return self.build(self.read(RawRecords.of(records)), topic=topic, now_ms=now_ms)

    def read(self, records: RawRecords) -> Read:
        """The first half of `parse`. Most of it needs no lock of the interpreter: it may run in a thread of its own."""
        if not _unnamed(records):
            return Read(records, None)
        try:
            lines = lines_of(records.values)
            return Read(records, (lines, self._raw.read(lines)))
        except Doubt:
            return Read(records, None)

    def build(self, read: Read, *, topic: str, now_ms: int) -> ParsedBatch:
        """The second half of `parse`."""
        latest_ms = None if self._max_future_s is None else now_ms + self._max_future_s * 1000
        frames: list[pa.RecordBatch] = []
        dead: list[DeadLetter] = []
        for piece in self._doubtful(read, latest_ms, frames):
            more, refused = self._decoded(piece, latest_ms)
            frames += more
            ordered = sorted(refused, key=lambda item: (item[0], item[1].index))
            dead += [_dead_letter(piece[at], refusal, topic=topic, now_ms=now_ms) for at, refusal in ordered]
        return ParsedBatch(_joined(frames), dead)

    def _doubtful(self, read: Read, latest_ms: int | None, frames: list[pa.RecordBatch]) -> Iterator[RawRecords]:
        """Appends the frames of what can be taken at once; yields, in between, what cannot."""
        records = read.records
        try:
            frames.append(self._at_once(read, latest_ms))
        except Doubt:
            size = _PIECE if len(records) > _PIECE else _CHUNK
            if len(records) <= size or (size == _CHUNK and not _looks_native(records[0])):
                yield records
                return
            for start in range(0, len(records), size):
                yield from self._doubtful(self.read(records[start : start + size]), latest_ms, frames)

    def _at_once(self, read: Read, latest_ms: int | None) -> pa.RecordBatch:
        if read.found is None:
            raise Doubt
        lines, columns = read.found
        return self._columns.build(columns, _origin(read.records, lines.record, lines.index), latest_ms)

    def _decoded(self, records: RawRecords, latest_ms: int | None) -> tuple[list[pa.RecordBatch], Refused]:
        opened = open_records(records)
        rows, unknown = _translate(opened, records)
        frames, refused = self._frames(rows, records, latest_ms)
        return frames, opened.refused + unknown + refused

    def _frames(self, rows: _Rows, records: RawRecords, latest_ms: int | None) -> tuple[list[pa.RecordBatch], Refused]:
        origin = _origin(records, rows.record, rows.index)
        try:
            return [self._columns.build(read_docs(_of_one_time(rows.docs)), origin, latest_ms)], []
        except Doubt:
            pass
        if len(rows.docs) <= _CHUNK:
            return self._one_by_one(rows, records, latest_ms)
        frames: list[pa.RecordBatch] = []
        refused: Refused = []
        for start in range(0, len(rows.docs), _CHUNK):
            more, bad = self._frames(rows.part(start, start + _CHUNK), records, latest_ms)
            frames += more
            refused += bad
        return frames, refused

    def _one_by_one(
        self, rows: _Rows, records: RawRecords, latest_ms: int | None
    ) -> tuple[list[pa.RecordBatch], Refused]:
        good: list[int] = []
        docs: list[dict[str, Any]] = []
        refused: Refused = []
        for number, doc in enumerate(rows.docs):
            verdict = judge(doc, int(rows.index[number]), latest_ms)
            if isinstance(verdict, UsageEvent):
                good.append(number)
                docs.append(given(verdict))
            else:
                refused.append((int(rows.record[number]), verdict))
        if not good:
            return [], refused
        self._texts.clean(docs)
        origin = _origin(records, rows.record[good], rows.index[good])
        return [self._columns.build(read_docs(docs), origin, latest_ms)], refused


def _looks_native(record: RawRecord) -> bool:
    """Whether it may be one bad record among others; else all are written in another way."""
    return record.format in {None, NATIVE} and record.value[:1] == b"{" and b'"event_id"' in record.value


def _of_one_time(docs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Times of several spellings in milliseconds; what is no time stays, for the model to refuse."""
    if len({type(doc.get("ts")) for doc in docs}) <= 1:
        return docs
    return [doc | {"ts": _ms(doc.get("ts"))} for doc in docs]


def _ms(value: object) -> object:
    try:
        return parse_ts_ms(value)
    except ValueError:
        return value


def _translate(opened: Opened, records: RawRecords) -> tuple[_Rows, Refused]:
    """Every event in native shape, not yet checked; events of unknown shape apart."""
    docs, record, index = opened.docs, opened.record, opened.index
    if _unnamed(records) and all(type(d) is dict and "event_id" in d for d in docs):
        return _Rows(docs, record, index), []
    native: list[dict[str, Any]] = []
    known: list[int] = []
    refused: Refused = []
    for number, doc in enumerate(docs):
        at = int(record[number])
        found = to_native(doc, records[at].format)
        if isinstance(found, dict):
            native.append(found)
            known.append(number)
        else:
            reason, detail = found
            refused.append((at, Refusal(int(index[number]), reason, detail=detail)))
    return _Rows(native, record[known], index[known]), refused


def _origin(records: RawRecords, record: Positions, index: Positions) -> Origin:
    return Origin(records.partition[record], records.offset[record], index)


def _unnamed(records: RawRecords) -> bool:
    """Whether no producer insists on a foreign format."""
    return set(records.formats.values()) <= {NATIVE}


def _joined(frames: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch with one dictionary per column."""
    if len(frames) == 1:
        return frames[0]
    table = pa.Table.from_batches(frames, schema=FRAME_SCHEMA).unify_dictionaries().combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema=FRAME_SCHEMA)


def _dead_letter(record: RawRecord, refusal: Refusal, *, topic: str, now_ms: int) -> DeadLetter:
    return DeadLetter(
        topic=topic,
        partition=record.partition,
        offset=record.offset,
        index=refusal.index,
        reason=refusal.reason,
        field=refusal.field,
        detail=refusal.detail,
        bytes=len(record.value),
        at_ms=now_ms,
    )
