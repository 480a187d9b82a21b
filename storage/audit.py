"""The stored audit as a chain: appended by the archive, sealed from time to time, read back to be verified. Blocking.

One topic partition is one chain: its order is the only one there is. What is linked follows from that order and the
chain alone, so an archive that does it again, or two that do it at once after a rebalance, write the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from schemas.audit_chain import GENESIS, Head, Link, Problem, link, problems
from schemas.signing import Signer
from storage.rows import head_row
from storage.store import Store

_PAGE: Final = 20_000
_COLUMNS: Final = "chain, seq, prev_hash, hash, record"
_MIGRATION: Final = 6
_PICKED: Final = ("audit_id", "actor", "action", "key_id", "incident_id", "command_id", "result")


def append(store: Store, chain: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert rows of `record_row` as the next of a chain, in this order; those stored before are left out.

    Returns how many were new. After Unreachable call it again with the same rows.
    """
    by_id = {row["audit_id"]: row for row in reversed(rows)}
    stored = store.connection.rows(
        "SELECT audit_id FROM audit WHERE audit_id IN {ids:Array(String)}", {"ids": list(by_id)}
    )
    known = {audit_id for (audit_id,) in stored}
    new = [row for audit_id, row in reversed(by_id.items()) if audit_id not in known]
    end = last(store, chain)
    seq, prev_hash = (end.seq, end.hash) if end else (0, GENESIS)
    links = link([row["record"] for row in new], chain=chain, seq=seq, prev_hash=prev_hash)
    linked = [{**row, **one.model_dump(exclude={"record"})} for row, one in zip(new, links, strict=True)]
    store.insert_records("audit", linked)
    return len(linked)


def of_incident(store: Store, incident_id: str, key_id: str) -> list[Link]:
    """What was done in an incident or to its key, each row with its place in the chain; 0 for rows without one."""
    rows = store.connection.rows(
        f"SELECT {_COLUMNS} FROM audit FINAL WHERE incident_id = {{id:String}} OR key_id = {{key:String}}"  # noqa: S608
        " ORDER BY at, chain, seq, audit_id",
        {"id": incident_id, "key": key_id},
    )
    return [_link(row) for row in rows]


def last(store: Store, chain: str) -> Link | None:
    """The newest row of a chain."""
    rows = store.connection.rows(
        f"SELECT {_COLUMNS} FROM audit WHERE chain = {{chain:String}} ORDER BY seq DESC LIMIT 1",  # noqa: S608 - our own
        {"chain": chain},
    )
    return _link(rows[0]) if rows else None


def chains(store: Store) -> dict[str, int]:
    """Each chain and the seq of its newest row."""
    rows = store.connection.rows("SELECT chain, max(seq) FROM audit WHERE chain != '' GROUP BY chain ORDER BY chain")
    return {chain: int(seq) for chain, seq in rows}


def links(store: Store, from_ms: int = 0, until_ms: int = 1 << 53) -> Iterator[Link]:
    """Chain by chain: from the first row said within [from_ms, until_ms) to the last, without leaving out any between.

    Times along a chain may go back and forth: several clocks speak.
    """
    ends = store.connection.rows(
        "SELECT chain, min(seq), max(seq) FROM audit FINAL WHERE chain != ''"
        " AND toUnixTimestamp64Milli(at) >= {since:Int64} AND toUnixTimestamp64Milli(at) < {until:Int64}"
        " GROUP BY chain ORDER BY chain",
        {"since": from_ms, "until": until_ms},
    )
    for chain, first, newest in ends:
        yield from _between(store, chain, int(first), int(newest))


def heads(store: Store) -> list[Head]:
    """All that were written and can still be read, oldest first."""
    return [head for head in map(_head, _heads(store)) if head is not None]


def seal(store: Store, signer: Signer | None, *, now_ms: int) -> list[Problem]:
    """Write a head for each chain that has grown since its last one; unsigned without a signer.

    Nothing is signed that does not follow the last head: such a chain gets none, and what is wrong is returned.
    """
    done = {head.chain: head for head in sorted(heads(store), key=lambda head: head.seq)}
    wrong: list[Problem] = []
    for chain, newest in chains(store).items():
        since = done.get(chain)
        if since is not None and since.seq >= newest:
            continue
        tail = list(_between(store, chain, since.seq if since else 0, newest))
        told = list(problems(tail, heads=[since] if since else [], part=since is not None))
        if told or not tail or (since is not None and tail[0].seq != since.seq):
            wrong += told
            continue
        head = Head(chain=chain, seq=tail[-1].seq, hash=tail[-1].hash, at_ms=now_ms)
        store.insert_records("audit_heads", [head_row(signed(head, signer))])
    return wrong


def signed(head: Head, signer: Signer | None) -> Head:
    """The head with a signature, where there is a key."""
    if signer is None:
        return head
    return head.model_copy(update={"public_key": signer.public_key, "signature": signer.sign(head.to_sign())})


def beside_the_chain(store: Store) -> Iterator[Problem]:
    """Rows that did not come through the archive, and rows whose columns say other things than the row itself."""
    unreadable = sum(_head(text) is None for text in _heads(store))
    if unreadable:
        yield Problem("unreadable", "", 0, f"{unreadable} of the heads cannot be read any more: they were changed")
    outside = store.connection.rows(
        "SELECT audit_id FROM audit FINAL WHERE chain = ''"
        " AND 18446744073709551615 - first_wins > (SELECT toUnixTimestamp64Micro(toDateTime64(min(applied_at), 6))"
        " FROM schema_migrations WHERE version = {version:UInt32}) ORDER BY audit_id",
        {"version": _MIGRATION},
    )
    for (audit_id,) in outside:
        yield Problem("outside", "", 0, f"{audit_id} stands in the audit but in no chain: it was put in by hand")
    differs = " OR ".join(f"{name} != JSONExtractString(record, '{name}')" for name in _PICKED)
    rows = store.connection.rows(
        f"SELECT chain, seq, audit_id FROM audit FINAL WHERE {differs}"  # noqa: S608 - our own columns
        " OR toUnixTimestamp64Milli(at) != JSONExtractInt(record, 'at_ms') ORDER BY chain, seq"
    )
    for chain, seq, audit_id in rows:
        name = f"{audit_id} (row {seq} of {chain})" if chain else f"{audit_id} (older than the chain)"
        yield Problem("changed", chain, int(seq), f"the columns of {name} say other things than the row itself")


def older(store: Store) -> int:
    """How many rows are from before there was a chain: nothing vouches for them."""
    [(count,)] = store.connection.rows("SELECT count() FROM audit FINAL WHERE chain = ''")
    return int(count)


def _between(store: Store, chain: str, low: int, high: int) -> Iterator[Link]:
    """Page by page from one row to the next, not by numbers: somebody may have made a number huge."""
    after, audit_id = low, ""
    while True:
        rows = store.connection.rows(
            f"SELECT {_COLUMNS}, audit_id FROM audit FINAL WHERE chain = {{chain:String}}"  # noqa: S608 - our own
            " AND (seq, audit_id) > ({after:UInt64}, {id:String}) AND seq <= {high:UInt64}"
            " ORDER BY seq, audit_id LIMIT {page:UInt32}",
            {"chain": chain, "after": after, "id": audit_id, "high": high, "page": _PAGE},
        )
        yield from map(_link, rows)
        if len(rows) < _PAGE:
            return
        after, audit_id = int(rows[-1][1]), rows[-1][-1]


def _heads(store: Store) -> list[str]:
    return [row[0] for row in store.connection.rows("SELECT record FROM audit_heads FINAL ORDER BY at, chain, seq")]


def _head(text: str) -> Head | None:
    try:
        return Head.from_bytes(text.encode())
    except ValidationError:
        return None


def _link(row: Sequence[Any]) -> Link:
    chain, seq, prev_hash, digest, record = row[:5]
    return Link(chain=chain, seq=int(seq), prev_hash=prev_hash, hash=digest, record=record)
