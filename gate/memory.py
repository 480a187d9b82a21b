"""What a gate keeps on its disk, so that it answers after a restart though the broker is away.

One line of JSON for the head (version, when, how much, a checksum of the rest), then what was known, packed. What is
damaged in any bit is refused as a whole: a gate that knows nothing says so, one that believes half of it does not.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import orjson

from gate.known import Known
from schemas.exception import PolicyException
from schemas.key_record import KeyRecord
from schemas.spend import BudgetStatus
from schemas.verdict import GateVerdict

_VERSION: Final = 1
_MOST: Final = 500_000
"""Records kept. Refusals come first, then keys, exceptions and budgets."""


class Damaged(ValueError):
    """The bytes are not what was written."""


class Remembered(NamedTuple):
    """What was known at a time of the wall clock."""

    at_ms: int
    verdicts: tuple[GateVerdict, ...]
    records: tuple[KeyRecord, ...]
    exceptions: tuple[PolicyException, ...]
    statuses: tuple[BudgetStatus, ...]


def packed(known: Known, exceptions: Iterable[PolicyException], at_ms: int) -> bytes:
    """A verdict that lets pass says nothing, and is left out."""
    verdicts = sorted((v for v in known.verdicts() if v.state != "allow"), key=lambda v: v.state != "deny")
    groups = (("verdicts", verdicts), ("records", known.records()), ("exceptions", exceptions),
              ("statuses", known.statuses()))  # fmt: skip
    left, body = _MOST, dict[str, list[Any]]()
    for name, records in groups:
        body[name] = [record.model_dump() for record, _ in zip(records, range(left), strict=False)]
        left -= len(body[name])
    rest = zlib.compress(orjson.dumps(body), 1)
    head = {"version": _VERSION, "at_ms": at_ms, "bytes": len(rest), "sha256": hashlib.sha256(rest).hexdigest()}
    return orjson.dumps(head) + b"\n" + rest


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
            tuple(GateVerdict.model_validate(each) for each in body["verdicts"]),
            tuple(KeyRecord.model_validate(each) for each in body["records"]),
            tuple(PolicyException.model_validate(each) for each in body["exceptions"]),
            tuple(BudgetStatus.model_validate(each) for each in body["statuses"]),
        )
    except Damaged:
        raise
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Damaged(f"it cannot be read: {type(error).__name__}") from error
