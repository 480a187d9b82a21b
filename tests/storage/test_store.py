from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.records import (
    AuditRow,
    Command,
    DeadLetter,
    DeadReason,
    Finding,
    Incident,
    IncidentState,
    KeyFacts,
    Outcome,
    StepState,
)
from storage.answers import KeyUse, Reconciliation, Totals, UsePoint
from storage.errors import Rejected
from storage.rows import StoredRecord, record_row
from storage.store import Store
from tests.marks import NOW_MS, expected, false_positive, withdrawn
from tests.storage.frames import HOUR_MS, MINUTE_MS, T0, Use, archive_uses

FACTS = KeyFacts(provider="openai", team="search", app="web", env="production")


def incident(incident_id: str, seq: int, *, state: IncidentState = "open") -> Incident:
    return Incident(
        incident_id=incident_id, seq=seq, key_id="fp1:a", state=state, severity="critical", families=("velocity",),
        headline="40 times its normal spend", opened_at_ms=T0, updated_at_ms=T0 + seq, last_finding_at_ms=T0,
        findings=seq, usd_per_min=40.0, expected_usd_per_min=1.0, lost_usd=12.5, acceptable_loss_usd=50.0,
        mode="approve", facts=FACTS, transition="opened",
    )  # fmt: skip


def finding(nth: int) -> Finding:
    return Finding(
        finding_id=f"fnd_{nth}", at_ms=T0 + nth * 1000, key_id="fp1:a", family="velocity", detector="spend",
        severity="warning", score=6.5, certain=False, reason="40 times its normal spend", evidence={"usd": 40.0},
        usd_per_min=40.0, expected_usd_per_min=1.0, facts=FACTS,
    )  # fmt: skip


def command(at_ms: int = T0, *, approvals: tuple[str, ...] = ()) -> Command:
    return Command(
        command_id="cmd_1", at_ms=at_ms, incident_id="inc_1", key_id="fp1:a", step="block", automatic=False,
        reversible=True, mode="approve", by="keyfuse", approvals=approvals, reason="spend", facts=FACTS,
    )  # fmt: skip


def outcome(state: StepState, at_ms: int) -> Outcome:
    return Outcome(command_id="cmd_1", incident_id="inc_1", key_id="fp1:a", step="block", state=state, at_ms=at_ms)


def audit_row(audit_id: str, at_ms: int, result: str = "ok", incident_id: str = "inc_1") -> AuditRow:
    return AuditRow(
        audit_id=audit_id, at_ms=at_ms, actor="ada", action="approve", key_id="fp1:a", incident_id=incident_id,
        command_id="cmd_1", result=result, detail={"from": "console"},
    )  # fmt: skip


def dead_letter(offset: int, *, size: int = 10) -> DeadLetter:
    return DeadLetter(
        topic="usage.raw", partition=1, offset=offset, index=-1, reason=DeadReason.NOT_JSON, bytes=size,
        at_ms=T0 + offset,
    )  # fmt: skip


def put(store: Store, *records: StoredRecord) -> None:
    for record in records:
        table, row = record_row(record)
        store.insert_records(table, [row])


def test_usage_is_added_up_per_key_dearest_first(store: Store) -> None:
    archive_uses(
        store,
        [
            Use("a", 0, key_id="fp1:cheap", cost_nano_usd=1_500_000_000),
            Use("b", 1, key_id="fp1:dear", cost_nano_usd=2_000_000_000, team="ads", requests=3, status=429),
            Use("c", 2, key_id="fp1:dear", cost_nano_usd=1, ts_ms=T0 + 5, team="search"),
            Use("d", 3, key_id="fp1:before", ts_ms=T0 - 2 * MINUTE_MS),
        ],
    )
    assert store.keys(T0 - MINUTE_MS) == [
        KeyUse("fp1:dear", "openai", "search", "", "production", 4, 3, 2.000000001, T0 + 5),
        KeyUse("fp1:cheap", "openai", "search", "", "production", 1, 0, 1.5, T0),
    ]
    assert [use.key_id for use in store.keys(T0 - HOUR_MS, by="hour", limit=3)][2:] == ["fp1:before"]


def test_one_key_over_time(store: Store) -> None:
    uses = [
        Use("a", 0),
        Use("b", 1, ts_ms=T0 + 59_999, network="203.0.113.0/24"),
        Use("c", 2, ts_ms=T0 + MINUTE_MS, network=None),
        Use("other", 3, key_id="fp1:b"),
    ]
    archive_uses(store, uses)
    assert store.key_use("fp1:a", T0, T0 + HOUR_MS) == [
        UsePoint(T0, 2, 0, 200, 40, 0.002, 2),
        UsePoint(T0 + MINUTE_MS, 1, 0, 100, 20, 0.001, 0),
    ]
    assert store.key_use("fp1:a", T0, T0 + HOUR_MS, by="hour") == [UsePoint(T0, 3, 0, 300, 60, 0.003, 2)]


def test_of_named_keys_those_in_use_are_known_by_their_latest_use(store: Store) -> None:
    archive_uses(store, [Use("a", 0), Use("b", 1, ts_ms=T0 + 25 * HOUR_MS), Use("other", 2, key_id="fp1:b")])
    (known,) = store.uses_of(["fp1:a", "nobody's"])
    assert (known.key_id, known.requests, known.last_seen_ms) == ("fp1:a", 2, T0 + 25 * HOUR_MS)
    assert [use.key_id for use in store.uses_of(["fp1:b", "fp1:a"])] == ["fp1:a", "fp1:b"]
    assert store.uses_of([]) == []


def test_totals_of_an_empty_store_are_zero(store: Store) -> None:
    assert store.usage_totals() == Totals(0, 0, 0, 0, 0, 0.0, 0, 0)
    assert store.rollup_vs_raw() == Reconciliation(0, 0, 0)


def test_totals_count_an_event_once_however_often_it_was_sent(store: Store) -> None:
    archive_uses(store, [Use("a", 0), Use("a", 1), Use("b", 2, ts_ms=T0 + 25 * HOUR_MS, requests=7)])
    assert store.usage_totals() == Totals(2, 8, 1, 200, 40, 0.002, T0, T0 + 25 * HOUR_MS)
    assert store.rollup_vs_raw().difference == 0
    assert store.rollup_vs_raw(T0 + 25 * HOUR_MS) == Reconciliation(1, 1, 1)


def test_reconciliation_shows_a_rollup_that_lost_something(store: Store) -> None:
    archive_uses(store, [Use("a", 0), Use("b", 1, ts_ms=T0 + 3 * HOUR_MS)])
    store.connection.command("TRUNCATE TABLE usage_hour")
    assert store.rollup_vs_raw() == Reconciliation(2, 2, 0)
    assert store.rollup_vs_raw().difference == -2


def test_absent_values_are_stored_as_empty_and_present_ones_as_they_are(store: Store) -> None:
    archive_uses(store, [Use("a", 7, raw_partition=3, raw_index=2, network=None, status=429)])
    assert store.connection.rows(
        "SELECT endpoint, network, asn, latency_ms, error, priced, raw_partition, raw_offset, raw_index"
        " FROM usage_events"
    ) == [("", "", 0, None, "rate_limited", True, 3, 7, 2)]


def test_a_record_delivered_twice_is_stored_once(store: Store) -> None:
    letters, states = dead_letter(5), outcome(StepState.CONFIRMED, T0)
    for record in (finding(1), incident("inc_1", 1), command(), states, expected(), audit_row("aud_1", T0), letters):
        put(store, record, record)
        table, _ = record_row(record)
        assert store.connection.rows(f"SELECT record FROM {table} FINAL") == [(record.model_dump_json(),)]


def test_the_latest_version_of_an_incident_is_what_people_see(store: Store) -> None:
    versions = [incident("inc_1", 1), incident("inc_1", 2, state="contained")]
    put(store, *reversed(versions), incident("inc_2", 1))
    assert store.incident("inc_1") == versions[1]
    assert store.incident_history("inc_1") == versions
    assert store.incidents() == [versions[1], incident("inc_2", 1)]
    assert store.incidents("open") == [incident("inc_2", 1)]
    assert store.incidents(limit=1) == [versions[1]]
    assert store.incident("inc_9") is None


def test_a_command_that_was_approved_replaces_itself_and_its_outcomes_stay_apart(store: Store) -> None:
    approved = command(T0 + 9, approvals=("ada",))
    states = [outcome(StepState.IN_FLIGHT, T0), outcome(StepState.CONFIRMED, T0 + 900)]
    put(store, approved, command(), *reversed(states))
    assert store.commands("inc_1") == [approved]
    assert store.outcomes("inc_1") == states


def test_of_several_versions_of_a_mark_the_newest_is_kept_whichever_came_last(store: Store) -> None:
    one, other = false_positive("fp1:a"), expected("fp1:b", at_ms=NOW_MS + 9)
    put(store, withdrawn(one), other, one, one)
    store.connection.command("OPTIMIZE TABLE marks FINAL")
    assert store.marks() == [other, withdrawn(one)]
    assert store.marks(limit=1) == [other]


def test_an_audit_row_is_never_changed_by_a_later_one_with_its_id(store: Store) -> None:
    first, forged = audit_row("aud_1", T0, "refused"), audit_row("aud_1", T0 + 1, "ok")
    other = audit_row("aud_2", T0 - 5, incident_id="inc_2")
    put(store, first, forged, other)
    store.connection.command("OPTIMIZE TABLE audit FINAL")
    assert store.audit("inc_1") == [first]
    assert store.audit() == [other, first]


def test_findings_and_dead_letters_come_newest_first(store: Store) -> None:
    put(store, finding(1), finding(3), finding(2), dead_letter(1), dead_letter(2), dead_letter(2, size=99))
    assert store.findings("fp1:a", since_ms=T0 + 2000) == [finding(3), finding(2)]
    assert store.findings("fp1:b") == []
    assert [(letter.offset, letter.bytes) for letter in store.dead_letters()][2:] == [(1, 10)]
    assert len(store.dead_letters(limit=2)) == 2


def test_a_value_that_the_table_cannot_hold_is_rejected(store: Store) -> None:
    _, row = record_row(finding(1))
    with pytest.raises(Rejected):
        store.insert_records("findings", [row | {"score": "high"}])


def test_many_threads_may_use_one_store(store: Store) -> None:
    def use(nth: int) -> int:
        put(store, finding(nth), dead_letter(nth))
        return len(store.findings("fp1:a")) + store.usage_totals().events

    with ThreadPoolExecutor(8) as pool:
        assert min(pool.map(use, range(24))) >= 1
    assert len(store.findings("fp1:a")) == 24
    assert len(store.dead_letters()) == 24
