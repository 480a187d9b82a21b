"""Held events outlive the retention; all others do not. With real TTL merges, in the process and over HTTP."""

from __future__ import annotations

from dataclasses import replace

from schemas.evidence import Hold
from schemas.records import AuditRow, Incident, IncidentState
from storage.archiving import resume, write
from storage.audit import append
from storage.client import open_store
from storage.history import events_of, usage
from storage.holds import AFTER_MS, GRACE_MS, OPEN_MS, keep, scopes, versions
from storage.migrate import migrate, shipped
from storage.rows import record_row
from storage.store import Store
from storage.testing import fresh_dsn
from tests.storage.frames import HOUR_MS, MINUTE_MS, T0, Use, archive_uses, frame
from tests.storage.test_store import incident, put

DAY_MS = 86_400_000
OLD = T0 - 3000 * DAY_MS  # far beyond the retention below
RETENTION_DAYS = 1000
USES = [
    Use("before", 0, ts_ms=OLD - 30 * HOUR_MS),
    Use("a1", 1, ts_ms=OLD), Use("a2", 2, ts_ms=OLD + MINUTE_MS), Use("a3", 3, ts_ms=OLD + 2 * HOUR_MS),
    Use("b1", 4, ts_ms=OLD, key_id="fp1:b"), Use("b2", 5, ts_ms=OLD + MINUTE_MS, key_id="fp1:b"),
]  # fmt: skip
HOLD = Hold(
    hold_id=Hold.id_of("inc_1", "ann", "matter 12"), at_ms=T0, by="ann", reason="matter 12", incident_id="inc_1",
    key_id="fp1:a", from_ms=OLD - 24 * HOUR_MS,
)  # fmt: skip
RELEASED = HOLD.model_copy(update={"at_ms": T0 + DAY_MS, "by": "bo", "reason": "settled", "released": True})


def of(state: IncidentState, *, ended_ms: int = OLD + 10 * MINUTE_MS) -> Incident:
    return incident("inc_1", 1, state=state).model_copy(
        update={"opened_at_ms": OLD, "updated_at_ms": ended_ms, "last_finding_at_ms": OLD}
    )


def said(store: Store, *holds: Hold, now_ms: int = T0) -> tuple[list[AuditRow], int]:
    """The words reach the archive, which acts on them and tells the audit."""
    for hold in holds:
        store.insert_records("holds", [record_row(hold)[1]])
    rows, missing = keep(store, now_ms=now_ms)
    append(store, "keyfuse.audit:0", [record_row(row)[1] for row in rows])
    return rows, missing


def expire(store: Store, days: int = RETENTION_DAYS) -> None:
    """What time does: the retention passes and parts are merged."""
    migrate(store, retention_days=days)
    store.connection.command("ALTER TABLE usage_events MATERIALIZE TTL", settings={"mutations_sync": 1})
    for table in ("usage_events", "usage_held"):
        store.connection.command(f"OPTIMIZE TABLE {table} FINAL")


def ids(store: Store, key_id: str = "fp1:a") -> list[str]:
    """What an archive of evidence would have of the key."""
    return [str(name) for name in events_of(store, key_id, 0, OPEN_MS).column("event_id").to_pylist()]


def actions(rows: list[AuditRow]) -> list[str]:
    return sorted(row.action for row in rows)


def test_the_events_of_a_held_incident_outlive_the_retention_and_no_others_do(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("resolved"))
    rows, _ = said(store, HOLD)
    expire(store)
    assert ids(store) == ["a1", "a2"]  # until an hour after its end; `before` is older than what was asked for
    assert ids(store, "fp1:b") == []
    assert store.connection.rows("SELECT count() FROM usage_events") == [(0,)]
    assert actions(rows) == ["hold.kept", "hold.place"]
    assert next(row for row in rows if row.action == "hold.place").detail["events"] == 2


def test_a_changed_retention_drops_nothing_that_is_held(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("resolved"))
    said(store, HOLD)
    for days in (RETENTION_DAYS, 1, 5000, 2):
        expire(store, days)
        assert ids(store) == ["a1", "a2"]


def test_events_that_come_after_the_hold_are_held_as_they_come_however_old(store: Store) -> None:
    archive_uses(store, USES[1:2])
    put(store, of("resolved"))
    said(store, HOLD)
    expire(store)
    late = [Use("late", 9, ts_ms=OLD + 5), Use("after", 10, ts_ms=OLD + 5 * HOUR_MS), Use("b9", 11, OLD, "fp1:b")]
    archive_uses(store, late, topic="another", now_ms=T0 + 1)
    expire(store)
    assert ids(store) == ["a1", "late"]


def test_an_insert_that_comes_twice_and_a_later_word_on_an_event_are_held_once(store: Store) -> None:
    put(store, of("open"))
    said(store, HOLD)
    archive_uses(store, USES[1:3])
    archive_uses(store, USES[1:3])  # the same token
    archive_uses(store, [replace(USES[1], raw_offset=20, status=429)], topic="again", now_ms=T0 + 5)
    expire(store)
    found = events_of(store, "fp1:a", 0, OPEN_MS)
    assert found.column("event_id").to_pylist() == ["a1", "a2"]
    assert found.column("status").to_pylist() == [429, 200]


def test_while_the_incident_goes_on_all_that_its_key_does_is_held(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("open"))
    said(store, HOLD)
    assert scopes(store)[HOLD.hold_id].until_ms == OPEN_MS
    expire(store)
    assert ids(store) == ["a1", "a2", "a3"]
    put(store, of("resolved").model_copy(update={"seq": 2}))
    said(store, now_ms=T0 + 1)
    assert scopes(store)[HOLD.hold_id].until_ms == OLD + 10 * MINUTE_MS + AFTER_MS


def test_what_is_in_the_store_and_held_is_read_once(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("open"))
    said(store, HOLD)
    assert ids(store) == ["before", "a1", "a2", "a3"]
    frames = list(usage(store, 0, OPEN_MS, held_of="fp1:a"))
    assert sum(frame.num_rows for frame in frames) == len(USES)


def test_only_who_asks_for_held_events_plays_them(store: Store) -> None:
    """A backtest over a population of one key would mislead."""
    archive_uses(store, USES)
    put(store, of("open"))
    said(store, HOLD)
    expire(store)
    assert list(usage(store, 0, OPEN_MS)) == []
    [held] = [frame["event_id"].to_pylist() for frame in usage(store, OLD, OLD + HOUR_MS, held_of="fp1:a")]
    assert held == ["a1", "a2"]


def test_a_release_takes_effect_after_a_grace_and_the_audit_says_so_first(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("resolved"))
    said(store, HOLD)
    expire(store)
    rows, _ = said(store, RELEASED, now_ms=RELEASED.at_ms)
    assert (actions(rows), rows[0].actor, ids(store)) == (["hold.release"], "bo", ["a1", "a2"])
    assert said(store, now_ms=RELEASED.at_ms + GRACE_MS - 1)[0] == []
    rows, _ = said(store, now_ms=RELEASED.at_ms + GRACE_MS)
    assert (actions(rows), rows[0].detail["events"], ids(store)) == (["hold.drop"], 2, ["a1", "a2"])
    said(store, now_ms=RELEASED.at_ms + GRACE_MS + 1)
    assert ids(store) == []


def test_a_slip_is_taken_back_within_the_grace(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("resolved"))
    again = HOLD.model_copy(update={"at_ms": RELEASED.at_ms + 1})
    said(store, HOLD)
    said(store, RELEASED)
    expire(store)
    said(store, again, now_ms=RELEASED.at_ms + 2 * GRACE_MS)
    said(store, now_ms=RELEASED.at_ms + 3 * GRACE_MS)
    assert ids(store) == ["a1", "a2"]
    assert [hold.released for hold in versions(store)] == [False, True, False]


def test_what_another_hold_covers_stays(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("resolved"))
    other = HOLD.model_copy(update={"hold_id": "hld_2", "by": "cy", "from_ms": OLD + 30_000})
    said(store, HOLD, other, RELEASED)
    expire(store)
    for turn in range(2):
        said(store, now_ms=RELEASED.at_ms + GRACE_MS + turn)
    assert ids(store) == ["a2"]


def test_said_again_for_a_shorter_time_it_still_covers_what_it_held(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("resolved"))
    shorter = HOLD.model_copy(update={"at_ms": HOLD.at_ms + 1, "from_ms": OLD + 30_000})
    said(store, HOLD)
    said(store, shorter)
    expire(store)
    assert ids(store) == ["a1", "a2"]
    gone = shorter.model_copy(update={"at_ms": RELEASED.at_ms, "released": True})
    said(store, gone)
    for turn in range(2):
        said(store, now_ms=RELEASED.at_ms + GRACE_MS + turn)
    assert ids(store) == []


def test_a_clock_that_went_back_does_not_bring_back_an_old_scope(store: Store) -> None:
    put(store, of("open"))
    said(store, HOLD, now_ms=T0 + DAY_MS)
    put(store, of("resolved").model_copy(update={"seq": 2}))
    said(store, now_ms=T0)
    assert scopes(store)[HOLD.hold_id].until_ms < OPEN_MS


def test_what_somebody_removes_by_hand_is_told(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("resolved"))
    assert said(store, HOLD)[1] == 0
    expire(store)
    store.connection.command("ALTER TABLE usage_held DELETE WHERE event_id = 'a1'", settings={"mutations_sync": 1})
    rows, missing = said(store, now_ms=T0 + 1)
    assert (actions(rows), missing) == (["hold.broken"], 1)
    assert rows[0].detail == {"hold_id": HOLD.hold_id, "events": 1, "missing": 1}
    assert said(store, now_ms=T0 + 2) == ([], 1)  # said once, and known as long as it is so


def test_each_day_the_audit_says_that_it_is_kept(store: Store) -> None:
    put(store, of("open"))
    hours = range(0, 49, 6)
    counts = [len(said(store, *([] if hour else [HOLD]), now_ms=T0 + hour * HOUR_MS)[0]) for hour in hours]
    assert sum(counts) == 1 + 3  # the word itself, and three days
    assert len(scopes(store)) == 1


def test_the_usual_upkeep_writes_nothing_new(store: Store) -> None:
    archive_uses(store, USES)
    put(store, of("open"))
    said(store, HOLD)
    parts = "SELECT sum(rows) FROM system.parts WHERE database = currentDatabase() AND table = {t:String}"
    before = [store.connection.rows(parts, {"t": table}) for table in ("usage_held", "hold_scopes")]
    for turn in range(3):
        said(store, now_ms=T0 + turn)
    assert [store.connection.rows(parts, {"t": table}) for table in ("usage_held", "hold_scopes")] == before


def test_an_older_store_whose_events_have_a_ttl_gets_a_table_without_one() -> None:
    opened = open_store(fresh_dsn())
    migrate(opened, retention_days=90, migrations=shipped()[:6])
    migrate(opened, retention_days=90)
    found = opened.connection.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND create_table_query LIKE '% TTL %'"
        " ORDER BY name"
    )
    # Who gives another table a TTL has to think of legal holds: see storage/holds.py.
    assert [name for (name,) in found] == ["dead_letters", "usage_events", "usage_hour", "usage_minute"]
    columns = (
        "SELECT name, type, default_expression FROM system.columns WHERE database = currentDatabase() AND table = "
    )
    assert opened.connection.rows(f"{columns}'usage_held'") == opened.connection.rows(f"{columns}'usage_events'")
    opened.close()


def test_a_retried_write_of_the_archive_is_held_once(store: Store) -> None:
    put(store, of("open"))
    said(store, HOLD)
    archive = resume(store, "usage.frames", 0, offset=0, metadata="", now_ms=T0)
    archive.add(0, frame(USES[1:4]), now_s=0)
    archive.intent()
    write(store, archive)
    write(store, archive)
    assert store.connection.rows("SELECT count() FROM usage_held") == [(3,)]
