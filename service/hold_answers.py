"""What the store tells of legal holds, as JSON: the same from a worker and from the store itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from schemas.evidence import Hold
from storage.holds import OPEN_MS, Scope, held_events, newest, scopes, versions
from storage.store import Store


class Standing(BaseModel):
    """One hold as it stands: what was said of it, and what is held by it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hold: Hold  # the newest word
    said: tuple[Hold, ...]  # every word on it, oldest first
    since_ms: int  # wall clock: in force without a gap from then on; of a released one, when it was placed last
    until_ms: int | None  # event time; None while its incident goes on
    events: int  # held now
    missing: int  # were held once, and are gone
    kept: bool  # whether the archive has acted on the newest word
    checks: int  # how often since then the audit says that it was kept: once a day


def holds_answer(store: Store, incident_id: str = "") -> list[Standing]:
    """Newest first; of all incidents when none is named."""
    said, known = versions(store, incident_id), scopes(store)
    found = [
        _standing(store, hold, [each for each in said if each.hold_id == hold.hold_id], known) for hold in newest(said)
    ]
    return sorted(found, key=lambda standing: (-standing.hold.at_ms, standing.hold.hold_id))


def _standing(store: Store, hold: Hold, said: list[Hold], known: dict[str, Scope]) -> Standing:
    scope = known.get(hold.hold_id)
    events = held_events(store, scope) if scope is not None else 0
    since_ms = _since(said)
    checks = store.connection.rows(
        "SELECT count() FROM audit FINAL WHERE action = 'hold.kept' AND toUnixTimestamp64Milli(at) >= {since:Int64}"
        " AND JSONExtractString(record, 'detail', 'hold_id') = {id:String}",
        {"id": hold.hold_id, "since": since_ms},
    )
    return Standing(
        hold=hold, said=tuple(said), since_ms=since_ms,
        until_ms=scope.until_ms if scope is not None and scope.until_ms < OPEN_MS else None,
        events=events, missing=max(0, scope.events - events) if scope is not None and scope.in_force else 0,
        kept=scope is not None and scope.in_force != hold.released, checks=int(checks[0][0]),
    )  # fmt: skip


def _since(said: list[Hold]) -> int:
    """The first word after the last release that came before another one."""
    since_ms, released = said[0].at_ms, False
    for hold in said:
        if not hold.released and released:
            since_ms = hold.at_ms
        released = hold.released
    return since_ms
