"""From raw records to one frame: the hot path of the ingest.

Whole batches are turned into columns at once. Only where that leaves a doubt are events taken in small chunks, and
only a doubtful chunk event by event through the model, which names what is bad. So one bad producer does not slow
down the others much, and the rows are the same whichever way they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.event import UsageEvent
from schemas.fingerprint import Fingerprinter
from schemas.frame import FRAME_SCHEMA
from schemas.records import DeadLetter
from sources.cells import Doubt
from sources.columns import ColumnBuilder, Origin
from sources.envelope import Opened, Positions, RawRecord, Refusal, open_records
from sources.formats import NATIVE
from sources.pricing import PriceBook
from sources.verdict import judge, to_native

__all__ = ["BatchParser", "ParsedBatch", "RawRecord"]

_CHUNK: Final = 256  # events the model looks at for one bad one among them

Refused = list[tuple[int, Refusal]]  # position of the record in the batch


class ParsedBatch(NamedTuple):
    """Good rows in input order, and a dead letter for each event or record that could not be taken."""

    frame: pa.RecordBatch
    dead: list[DeadLetter]


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
        self._columns = ColumnBuilder(fingerprinter=fingerprinter, prices=prices)
        self._max_future_s = max_future_s

    def parse(self, records: Sequence[RawRecord], *, topic: str, now_ms: int) -> ParsedBatch:
        """Every event of every record ends in the frame or in a dead letter; nothing is raised for bad input."""
        latest_ms = None if self._max_future_s is None else now_ms + self._max_future_s * 1000
        opened = open_records(records)
        rows, unknown = _translate(opened, records)
        frame, refused = self._frame(rows, records, latest_ms)
        every = sorted(opened.refused + unknown + refused, key=lambda item: (item[0], item[1].index))
        dead = [_dead_letter(records[at], refusal, topic=topic, now_ms=now_ms) for at, refusal in every]
        return ParsedBatch(frame, dead)

    def _frame(
        self, rows: _Rows, records: Sequence[RawRecord], latest_ms: int | None
    ) -> tuple[pa.RecordBatch, Refused]:
        try:
            return self._columns.build(rows.docs, _origin(rows, records), latest_ms), []
        except Doubt:
            pass
        frames: list[pa.RecordBatch] = []
        refused: Refused = []
        for start in range(0, len(rows.docs), _CHUNK):
            frame, bad = self._chunk(rows.part(start, start + _CHUNK), records, latest_ms)
            frames.append(frame)
            refused += bad
        return _joined(frames), refused

    def _chunk(
        self, rows: _Rows, records: Sequence[RawRecord], latest_ms: int | None
    ) -> tuple[pa.RecordBatch, Refused]:
        try:
            return self._columns.build(rows.docs, _origin(rows, records), latest_ms), []
        except Doubt:
            good, refused = self._one_by_one(rows, latest_ms)
            return self._columns.build(good.docs, _origin(good, records), latest_ms), refused

    def _one_by_one(self, rows: _Rows, latest_ms: int | None) -> tuple[_Rows, Refused]:
        good: list[int] = []
        refused: Refused = []
        for number, doc in enumerate(rows.docs):
            verdict = judge(doc, int(rows.index[number]), latest_ms)
            if isinstance(verdict, UsageEvent):
                good.append(number)
            else:
                refused.append((int(rows.record[number]), verdict))
        return _Rows([rows.docs[number] for number in good], rows.record[good], rows.index[good]), refused


def _translate(opened: Opened, records: Sequence[RawRecord]) -> tuple[_Rows, Refused]:
    """Every event in native shape, not yet checked; events of unknown shape apart."""
    docs, record, index = opened.docs, opened.record, opened.index
    if {raw.format for raw in records} <= {None, NATIVE} and all(type(d) is dict and "event_id" in d for d in docs):
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


def _origin(rows: _Rows, records: Sequence[RawRecord]) -> Origin:
    partition = np.array([record.partition for record in records], np.int32)
    offset = np.array([record.offset for record in records], np.int64)
    return Origin(partition[rows.record], offset[rows.record], rows.index)


def _joined(frames: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch with one dictionary per column."""
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
