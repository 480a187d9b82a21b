"""The audit as a chain: each row carries the hash of the one before, so that a change to the past shows. Pure.

    hash = SHA-256(prev_hash + canonical JSON of {chain, seq, record})

A chain alone proves that nothing within it was changed, removed, inserted or moved. That its end was not cut off is
what a `Head` says, written down from time to time and signed: who can rewrite the store cannot sign.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import Field

from schemas.records import AuditRow, Record, rfc3339

GENESIS: Final = "0" * 64
"""What stands in place of a hash before the first row."""
Kind = Literal["changed", "missing", "moved", "inserted", "cut", "head", "outside", "unreadable"]


class Link(Record):
    """One row of the audit in its chain. `record` is the row's JSON as it was stored, kept as it is."""

    chain: str
    seq: int  # from 1
    prev_hash: str
    hash: str
    record: str

    @property
    def row(self) -> AuditRow:
        """Raises pydantic's ValidationError when the text is no audit row any more."""
        return AuditRow.from_bytes(self.record.encode())

    @property
    def name(self) -> str:
        """How a person finds the row: its id where one can be read."""
        try:
            return f"{self.row.audit_id} (row {self.seq} of {self.chain})"
        except ValueError:
            return f"row {self.seq} of {self.chain}"


class Head(Record):
    """Where a chain stood at a time, signed by who wrote it; without a key both last fields are empty."""

    type: Literal["audit_head"] = "audit_head"
    chain: str
    seq: int = Field(ge=1)
    hash: str
    at_ms: int
    public_key: str = ""  # Ed25519, hexadecimal
    signature: str = ""  # of `to_sign`, hexadecimal

    def to_sign(self) -> bytes:
        return canonical({"chain": self.chain, "seq": self.seq, "hash": self.hash, "at_ms": self.at_ms})


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written: what kind, which row, and the sentence for people."""

    kind: Kind
    chain: str
    seq: int
    words: str


def canonical(value: Mapping[str, Any]) -> bytes:
    """The one form of a JSON object that is hashed and signed.

    >>> canonical({"b": 1, "a": {"d": None, "c": "é"}}).decode()
    '{"a":{"c":"é","d":null},"b":1}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def hash_of(chain: str, seq: int, prev_hash: str, record: str) -> str:
    """ValueError when the record is no JSON object, or says a field twice."""
    said = json.loads(record, object_pairs_hook=_once)
    body = canonical({"chain": chain, "seq": seq, "record": said})
    return hashlib.sha256(prev_hash.encode() + body).hexdigest()


def link(records: Iterable[str], *, chain: str, seq: int = 0, prev_hash: str = GENESIS) -> Iterator[Link]:
    """The records as the next rows of a chain whose newest row is `seq` with this hash.

    It depends on nothing but its arguments: who links the same rows again, after a crash or beside another, makes the
    same chain.
    """
    for record in records:
        seq += 1
        made = hash_of(chain, seq, prev_hash, record)
        yield Link(chain=chain, seq=seq, prev_hash=prev_hash, hash=made, record=record)
        prev_hash = made


def problems(links: Iterable[Link], *, heads: Sequence[Head] = (), part: bool = False) -> Iterator[Problem]:
    """What is wrong with rows given chain by chain in the order of their seq; nothing when all is as it was written.

    Each fault is told at the row where it is seen, and the row after it is judged by what that row says of itself: one
    changed row is one problem, not a thousand.

    Args:
        links: The rows. A file's are given in the file's order, so that moved lines show.
        heads: Where the chains stood once. The signatures are not looked at here.
        part: The rows are a part cut out by time: each chain may begin and end anywhere.
    """
    wanted = {(head.chain, head.seq): head for head in heads}
    ends: dict[str, Link] = {}
    for one in links:
        before = ends.get(one.chain)
        yield from _place(one, before, part=part)
        yield from _content(one)
        head = wanted.pop((one.chain, one.seq), None)
        if head is not None and head.hash != one.hash:
            yield _problem("head", one, f"{one.name} is not the row that the head of {rfc3339(head.at_ms)} names")
        ends[one.chain] = one
    if not part:
        yield from _cut(wanted.values(), ends)


def _place(one: Link, before: Link | None, *, part: bool) -> Iterator[Problem]:
    if before is None and part:
        return
    seq, prev_hash = (before.seq, before.hash) if before else (0, GENESIS)
    after = f"after row {seq}" if before else "at the beginning"
    if one.seq > seq + 1:
        gone = f"row {seq + 1} is" if one.seq == seq + 2 else f"rows {seq + 1} to {one.seq - 1} are"
        yield _problem("missing", one, f"{gone} missing before {one.name}")
    elif one.seq <= seq:
        yield _problem("moved", one, f"{one.name} stands {after}: moved here or put in twice")
    elif one.prev_hash != prev_hash:
        yield _problem("inserted", one, f"{one.name} does not follow {before.name if before else 'the beginning'}")


def _content(one: Link) -> Iterator[Problem]:
    try:
        right = hash_of(one.chain, one.seq, one.prev_hash, one.record) == one.hash
    except ValueError:
        yield _problem("unreadable", one, f"{one.name} cannot be read any more: it was changed")
        return
    if not right:
        yield _problem("changed", one, f"{one.name} was changed after it was written")


def _cut(unseen: Iterable[Head], ends: Mapping[str, Link]) -> Iterator[Problem]:
    """A head whose row was not met: told once a chain, by the furthest. Rows missing in between are told already."""
    furthest: dict[str, Head] = {}
    for head in unseen:
        end = ends.get(head.chain)
        if (end is None or head.seq > end.seq) and head.seq > getattr(furthest.get(head.chain), "seq", 0):
            furthest[head.chain] = head
    for chain, head in furthest.items():
        last = ends[chain].seq if chain in ends else 0
        words = f"the end of {chain} is cut off: its last row is {last}, the head of {rfc3339(head.at_ms)} names row "
        yield Problem("cut", chain, head.seq, f"{words}{head.seq}")


def _problem(kind: Kind, one: Link, words: str) -> Problem:
    return Problem(kind, one.chain, one.seq, words)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is said twice")
    return found
