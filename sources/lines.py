"""Many records as one text with an event in each line, so that all are read at once.

In a joined text the end of a broken record could complete the start of the next. Here it cannot. Every line begins
with `{` and ends with `}`, and what stands between two lines, `}` and then `{`, is JSON only where one object has ended
and another begins. So where the text is JSON each line holds one object or more, and where there are as many objects
as lines, each holds one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from sources.doubt import Doubt
from sources.envelope import MAX_EVENTS, MAX_RECORD_BYTES, Positions

_MAX_TEXT_BYTES: Final = 1 << 30  # Arrow counts a block's bytes in 31 bits
_WHITE: Final = b" \t\r\n"  # what JSON takes for white space
_NEWLINE, _OPEN, _CLOSE = b"\n{}"


@dataclass(frozen=True, slots=True)
class Lines:
    """UTF-8 text, and for each line the position of its record and its own place in that record."""

    text: bytes
    stop: Positions  # behind the last byte of each line
    record: Positions
    index: Positions

    def longest(self) -> int:
        return int(np.diff(self.stop, prepend=-1).max()) - 1


def lines_of(values: Sequence[bytes]) -> Lines:
    """One or several events in each record; Doubt where it does not look like that."""
    count = len(values)
    lengths = np.fromiter(map(len, values), np.int64, count)
    if count == 0 or lengths.max() > MAX_RECORD_BYTES or lengths.sum() > _MAX_TEXT_BYTES:
        raise Doubt
    text, stop = b"\n".join(values), np.cumsum(lengths + 1) - 1
    alone = np.count_nonzero(np.frombuffer(text, np.uint8) == _NEWLINE) == count - 1  # each in one line
    if alone and _are_objects(text, stop):
        return Lines(_utf8(text), stop, np.arange(count, dtype=np.int64), np.zeros(count, np.int64))
    return _of_several(values)


def _of_several(values: Sequence[bytes]) -> Lines:
    """Records that are NDJSON, or have white space around."""
    stripped = [value.strip(_WHITE) for value in values]
    counts = np.array([value.count(b"\n") + 1 for value in stripped], np.int64)
    if counts.max() > MAX_EVENTS:
        raise Doubt
    text = b"\n".join(stripped)
    stop = np.append(np.flatnonzero(np.frombuffer(text, np.uint8) == _NEWLINE), len(text))
    if not _are_objects(text, stop):
        raise Doubt
    record = np.repeat(np.arange(len(values), dtype=np.int64), counts)
    index = np.arange(len(record)) - (np.cumsum(counts) - counts)[record]
    return Lines(_utf8(text), stop, record, index)


def _are_objects(text: bytes, stop: Positions) -> bool:
    """Whether each line has the brackets of one."""
    seen = np.frombuffer(text, np.uint8)
    start = np.concatenate(([0], stop[:-1] + 1))
    if (stop - start < 2).any():
        return False
    return bool((seen[start] == _OPEN).all() and (seen[stop - 1] == _CLOSE).all())


def _utf8(text: bytes) -> bytes:
    if not text.isascii():
        try:
            text.decode()
        except UnicodeDecodeError:
            raise Doubt from None
    return text
