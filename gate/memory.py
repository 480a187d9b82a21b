"""What a gate keeps on its disk, so that it answers after a restart though the broker is away.

One line of JSON for the head (version, when, how much, a checksum of the rest), then what was known, packed. What is
damaged in any bit is refused as a whole: a gate that knows nothing says so, one that believes half of it does not.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import orjson

from gate.kept import Place, Said
from gate.known import Known
from schemas.exception import PolicyException
from schemas.key_record import KeyRecord
from schemas.records import Record
from schemas.spend import BudgetStatus
from schemas.verdict import GateVerdict

_VERSION: Final = 2
_MOST: Final = 500_000
"""Records kept. Refusals come first, then keys, exceptions and budgets; last what lets pass: an older refusal that is
read again after a restart would be believed until then."""
_AT_ONCE: Final = 40
"""Less than a millisecond of work."""


class Damaged(ValueError):
    """The bytes are not what was written."""


class Remembered(NamedTuple):
    """What was known at a time of the wall clock."""

    at_ms: int
    verdicts: tuple[Said, ...]
    records: tuple[KeyRecord, ...]
    exceptions: tuple[PolicyException, ...]
    statuses: tuple[BudgetStatus, ...]


def packing(known: Known, exceptions: Iterable[PolicyException]) -> Iterator[bytes]:
    """What is known now, a few records at a time: between two of them calls can be answered."""
    verdicts = sorted(known.said(), key=lambda said: -said.hardness)
    refusals = sum(said.hardness > 0 for said in verdicts)
    groups = (("refusals", verdicts[:refusals]), ("records", list(known.records())), ("exceptions", list(exceptions)),
              ("statuses", list(known.statuses())), ("passes", verdicts[refusals:]))  # fmt: skip
    return _pieces(groups)


def _pieces(groups: Iterable[tuple[str, Sequence[Record | Said]]]) -> Iterator[bytes]:
    left, opens = _MOST, b"{"
    for name, records in groups:
        yield b'%b"%b":[' % (opens, name.encode())
        kept = min(left, len(records))
        for at in range(0, kept, _AT_ONCE):
            some = [_plain(record) for record in records[at : min(kept, at + _AT_ONCE)]]
            yield (b"," if at else b"") + orjson.dumps(some)[1:-1]
        left, opens = left - kept, b"],"
    yield b"]}"


def _plain(record: Record | Said) -> object:
    """As JSON has it; of a verdict its place besides."""
    if isinstance(record, Said):
        return record.verdict.model_dump(), record.place and [*record.place]
    return record.model_dump()


def _said(verdict: object, place: list[int] | None) -> Said:
    return Said(GateVerdict.model_validate(verdict), None if place is None else Place(*place))


def sealed(pieces: Iterable[bytes], at_ms: int) -> bytes:
    """The file, of all that was packed."""
    packer = zlib.compressobj(1)
    rest = b"".join([*map(packer.compress, pieces), packer.flush()])
    head = {"version": _VERSION, "at_ms": at_ms, "bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()}
    return orjson.dumps(head) + b"\n" + rest


def packed(known: Known, exceptions: Iterable[PolicyException], at_ms: int) -> bytes:
    """All of it at once, where nobody waits meanwhile."""
    return sealed(packing(known, exceptions), at_ms)


def unpacked(data: bytes) -> Remembered:
    """Raises Damaged."""
    head_bytes, _, rest = data.partition(b"\n")
    try:
        head = orjson.loads(head_bytes)
        if head["version"] != _VERSION:
            raise Damaged(f"written by another version ({head['version']})")
        if len(rest) != head["bytes"] or hashlib.sha256(rest).hexdigest() != head["sha256"]:
            raise Damaged("it is not whole")
        body = orjson.loads(zlib.decompress(rest))
        return Remembered(
            head["at_ms"],
            tuple(_said(*each) for each in [*body["refusals"], *body["passes"]]),
            tuple(KeyRecord.model_validate(each) for each in body["records"]),
            tuple(PolicyException.model_validate(each) for each in body["exceptions"]),
            tuple(BudgetStatus.model_validate(each) for each in body["statuses"]),
        )
    except Damaged:
        raise
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Damaged(f"it cannot be read: {type(error).__name__}") from error
