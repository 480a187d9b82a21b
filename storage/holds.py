"""Legal holds: what they cover is copied to a table without a TTL, and stays there until it is released. Blocking.

`holds` has what people said, `hold_scopes` what follows from it: which events of which key. The order matters: first
the scope, with which the store compares whatever comes in, then the copy of what is there. So there is no moment in
which an event is in neither. Everything here may be repeated, after a crash or beside another archive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from schemas.evidence import Hold
from schemas.records import CLOSED, AuditRow, Incident, rfc3339, stable_id
from storage.rows import time_of
from storage.store import Store

AFTER_MS: Final = 3_600_000
"""So much after an incident's last sign belongs to it: whether the key was quiet then is part of the story."""
OPEN_MS: Final = 4_102_444_800_000
"""2100: the end of what is held while the incident goes on."""
GRACE_MS: Final = 7 * 86_400_000
"""So long after a release the copies are still there: a slip can be taken back."""
_DAY_MS: Final = 86_400_000
_PLACE: Final = "key_id, toStartOfFiveMinutes(ts), event_id, position"
_WITHIN: Final = (
    "key_id = {key:String} AND ts >= fromUnixTimestamp64Milli({since:Int64})"
    " AND ts < fromUnixTimestamp64Milli({until:Int64})"
)


@dataclass(frozen=True)
class Scope:
    """Which events one hold covers: those of the key in [from_ms, until_ms)."""

    hold_id: str
    key_id: str
    from_ms: int
    until_ms: int
    in_force: bool
    events: int = 0  # so many were held once; fewer now means that somebody removed some
    version: int = 0

    @property
    def named(self) -> dict[str, Any]:
        """The parameters of `_WITHIN`."""
        return {"key": self.key_id, "since": self.from_ms, "until": self.until_ms}


def end_of(newest: Incident) -> int:
    """Up to when, in event time, something belongs to an incident."""
    return max(newest.updated_at_ms, newest.last_finding_at_ms) + AFTER_MS


def versions(store: Store, incident_id: str = "") -> list[Hold]:
    """All that people said, oldest first; of all incidents when none is named.

    What somebody made unreadable is left out, and what it covers goes on being held: only a release ends that.
    """
    rows = store.connection.rows(
        "SELECT record FROM holds FINAL WHERE {id:String} = '' OR incident_id = {id:String} ORDER BY at, hold_id",
        {"id": incident_id},
    )
    return [hold for hold in (_read(row[0]) for row in rows) if hold is not None]


def _read(record: str) -> Hold | None:
    try:
        return Hold.from_bytes(record.encode())
    except ValidationError:
        return None


def newest(said: Iterable[Hold]) -> list[Hold]:
    """What counts of each hold, from versions in the order of their time."""
    return list({hold.hold_id: hold for hold in said}.values())


def scopes(store: Store) -> dict[str, Scope]:
    """By hold."""
    rows = store.connection.rows(
        "SELECT hold_id, key_id, toUnixTimestamp64Milli(since), toUnixTimestamp64Milli(until), in_force, events,"
        " version FROM hold_scopes FINAL"
    )
    return {row[0]: Scope(row[0], row[1], int(row[2]), int(row[3]), bool(row[4]), *map(int, row[5:])) for row in rows}


def held_events(store: Store, scope: Scope) -> int:
    """How many events of the scope are held now."""
    sql = f"SELECT count() FROM usage_held FINAL WHERE {_WITHIN}"  # noqa: S608 - our own words
    [(count,)] = store.connection.rows(sql, scope.named)
    return int(count)


def keep(store: Store, *, now_ms: int) -> tuple[list[AuditRow], int]:
    """Make true what people have said: what the audit has to be told, and how many held events are missing.

    To be called for each new word, and from time to time: an incident may have ended since.
    """
    said, known = versions(store), scopes(store)
    holds, first_ms = newest(said), dict[str, int]()
    for hold in said:  # said again for a shorter time, it still covers what it held before
        first_ms[hold.hold_id] = min(hold.from_ms, first_ms.get(hold.hold_id, hold.from_ms))
    wanted = {hold.hold_id: _scope(store, hold, first_ms[hold.hold_id]) for hold in holds}
    told: list[AuditRow] = [_said(hold, None) for hold in said if hold not in holds]
    missing = 0
    for hold in holds:
        scope, before = wanted[hold.hold_id], known.get(hold.hold_id)
        if hold.released:
            _write(store, before, scope, now_ms)
            told += [_said(hold, None), *_drop(store, hold, scope, _spared(holds, wanted, hold, now_ms), now_ms)]
            continue
        held, there = _hold(store, before, scope, now_ms)
        missing += held.events - there
        told += [_said(hold, there), *_checked(hold, held, there, now_ms)]
    known_ids = _audited(store, told)
    return [row for row in told if row.audit_id not in known_ids], missing


def _scope(store: Store, hold: Hold, from_ms: int) -> Scope:
    incident = store.incident(hold.incident_id)
    until_ms = end_of(incident) if incident is not None and incident.state in CLOSED else OPEN_MS
    return Scope(hold.hold_id, hold.key_id, from_ms, until_ms, in_force=not hold.released)


def _hold(store: Store, before: Scope | None, scope: Scope, now_ms: int) -> tuple[Scope, int]:
    """The scope with the most events that it ever held, and how many it holds now."""
    known = _write(store, before, scope, now_ms)
    store.connection.command(
        f"INSERT INTO usage_held SELECT * FROM usage_events WHERE {_WITHIN}"  # noqa: S608 - our own words
        f" AND ({_PLACE}) NOT IN (SELECT {_PLACE} FROM usage_held WHERE {_WITHIN})",
        parameters=scope.named, settings={"insert_deduplicate": 0, "max_partitions_per_insert_block": 0},
    )  # fmt: skip
    there = held_events(store, scope)
    return _write(store, known, replace(scope, events=max(known.events, there)), now_ms), there


def _write(store: Store, before: Scope | None, scope: Scope, now_ms: int) -> Scope:
    """What is stored afterwards: nothing is written when it says the same. A count outlives all but another span."""
    wanted = scope
    if before is not None:
        same = (before.from_ms, before.until_ms) == (scope.from_ms, scope.until_ms)
        events = max(scope.events, before.events) if same else scope.events
        wanted = replace(scope, events=events, version=before.version)
    if wanted != before:
        wanted = replace(wanted, version=max(now_ms, wanted.version + 1))
        row = {
            "hold_id": wanted.hold_id, "version": wanted.version, "key_id": wanted.key_id,
            "since": time_of(wanted.from_ms), "until": time_of(wanted.until_ms), "in_force": wanted.in_force,
            "events": wanted.events,
        }  # fmt: skip
        store.insert_records("hold_scopes", [row])
    return wanted


def _spared(holds: Sequence[Hold], wanted: Mapping[str, Scope], gone: Hold, now_ms: int) -> list[Scope]:
    """What other holds cover of the key, in force or released so lately that their copies stay."""
    return [
        wanted[hold.hold_id] for hold in holds
        if hold.hold_id != gone.hold_id and hold.key_id == gone.key_id
        and (not hold.released or now_ms - hold.at_ms < GRACE_MS)
    ]  # fmt: skip


def _drop(store: Store, hold: Hold, scope: Scope, spared: Sequence[Scope], now_ms: int) -> list[AuditRow]:
    """When the grace is over: first the audit says so, at the next look the copies go that no other hold covers."""
    if now_ms - hold.at_ms < GRACE_MS:
        return []
    whole = replace(scope, until_ms=OPEN_MS)  # what came in while the incident went on
    others = "".join(
        f" AND NOT (toUnixTimestamp64Milli(ts) >= {other.from_ms} AND toUnixTimestamp64Milli(ts) < {other.until_ms})"
        for other in spared
    )
    where = f"{_WITHIN}{others}"
    [(events,)] = store.connection.rows(f"SELECT count() FROM usage_held FINAL WHERE {where}", whole.named)  # noqa: S608
    if not events:
        return []
    row = _row(hold, now_ms, "hold.drop", str(hold.at_ms), {"events": int(events)})
    if row.audit_id in _audited(store, [row]):
        store.connection.command(
            f"ALTER TABLE usage_held DELETE WHERE {where}", parameters=whole.named, settings={"mutations_sync": 1}
        )
    return [row]


def _said(hold: Hold, events: int | None) -> AuditRow:
    detail: dict[str, Any] = {"hold_id": hold.hold_id, "reason": hold.reason, "from": rfc3339(hold.from_ms)}
    if events is not None:
        detail["events"] = events
    return AuditRow(
        audit_id=stable_id("aud", "hold", hold.hold_id, hold.at_ms), at_ms=hold.at_ms, actor=hold.by,
        action="hold.release" if hold.released else "hold.place", key_id=hold.key_id, incident_id=hold.incident_id,
        command_id="", result="ok", detail=detail,
    )  # fmt: skip


def _checked(hold: Hold, held: Scope, there: int, now_ms: int) -> Iterable[AuditRow]:
    """Once a day that it is kept, so that a gap would show; at once that something of it is gone."""
    yield _row(hold, now_ms, "hold.kept", str(now_ms // _DAY_MS), {"events": there})
    if there < held.events:
        lost = {"events": there, "missing": held.events - there}
        yield _row(hold, now_ms, "hold.broken", str(held.events - there), lost, result="missing")


def _row(hold: Hold, now_ms: int, action: str, once: str, detail: Mapping[str, Any], *, result: str = "ok") -> AuditRow:
    return AuditRow(
        audit_id=stable_id("aud", action, hold.hold_id, once), at_ms=now_ms, actor="keyfuse", action=action,
        key_id=hold.key_id, incident_id=hold.incident_id, command_id="", result=result,
        detail={"hold_id": hold.hold_id, **detail},
    )  # fmt: skip


def _audited(store: Store, rows: Sequence[AuditRow]) -> set[str]:
    found = store.connection.rows(
        "SELECT audit_id FROM audit WHERE audit_id IN {ids:Array(String)}", {"ids": [row.audit_id for row in rows]}
    )
    return {audit_id for (audit_id,) in found}
