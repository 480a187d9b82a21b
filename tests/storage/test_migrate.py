from __future__ import annotations

from dataclasses import replace

import pytest

from storage.client import open_store
from storage.errors import Rejected
from storage.migrate import migrate, shipped
from storage.sql import Migration
from storage.store import Store
from storage.testing import fresh_dsn
from tests.storage.frames import T0, Use, archive_uses


def test_each_file_is_applied_once() -> None:
    store = open_store(fresh_dsn())
    files = ["0001_usage.sql", "0002_rollups.sql", "0003_records.sql", "0004_marks.sql", "0005_shadow.sql"]
    files += ["0006_audit_chain.sql", "0007_evidence.sql", "0008_keys.sql", "0009_exceptions.sql", "0010_costs.sql"]
    files += ["0011_follow_ups.sql"]
    assert migrate(store, retention_days=90) == files
    assert migrate(store, retention_days=90) == []
    store.close()


def test_two_processes_that_migrate_at_once_make_the_same_tables() -> None:
    dsn = fresh_dsn()
    one, two = open_store(dsn), open_store(dsn)
    first, *rest = shipped()
    assert migrate(one, retention_days=90, migrations=[first]) == [first.name]
    assert migrate(two, retention_days=90) == [migration.name for migration in rest]
    assert migrate(one, retention_days=90) == []
    one.close()
    two.close()


def test_a_crash_in_the_middle_of_a_file_is_made_good_by_the_next_start() -> None:
    store = open_store(fresh_dsn())
    whole = Migration(1, "0001_two.sql", "CREATE TABLE IF NOT EXISTS a (x Int8) ENGINE = Memory; SELECT 1;")
    broken = replace(whole, text=whole.text.replace("SELECT 1", "SELECT nothing_of_this_name"))
    with pytest.raises(Rejected, match="nothing_of_this_name"):
        migrate(store, retention_days=90, migrations=[broken])
    assert migrate(store, retention_days=90, migrations=[whole]) == ["0001_two.sql"]
    store.close()


def test_a_file_changed_after_it_was_applied_is_refused(store: Store) -> None:
    first, *rest = shipped()
    changed = replace(first, text=first.text + "\n-- one more thought")
    with pytest.raises(Rejected, match=r"0001_usage\.sql has changed since it was applied"):
        migrate(store, retention_days=90, migrations=[changed, *rest])


def test_retention_follows_the_setting_and_old_days_are_dropped(store: Store) -> None:
    archive_uses(store, [Use("old", 0, ts_ms=T0 - 86_400_000 * 9000), Use("new", 1)])
    assert store.connection.rows("SELECT count() FROM usage_events") == [(2,)]
    migrate(store, retention_days=7000)
    store.connection.command("ALTER TABLE usage_events MATERIALIZE TTL", settings={"mutations_sync": 1})
    store.connection.command("OPTIMIZE TABLE usage_events FINAL")
    assert store.connection.rows("SELECT event_id FROM usage_events") == [("new",)]


def test_every_usage_table_remembers_ten_thousand_insert_tokens(store: Store) -> None:
    created = store.connection.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()"
        " AND engine LIKE '%MergeTree' AND name LIKE 'usage%' ORDER BY name"
    )
    assert [name for name, _ in created] == ["usage_events", "usage_held", "usage_hour", "usage_minute"]
    for name, query in created:
        assert "non_replicated_deduplication_window = 10000" in query
        assert ("ttl_only_drop_parts = 1" in query) == (name != "usage_held")


def test_a_longer_retention_saves_what_is_stored_already(store: Store) -> None:
    """A part carries the date on which it is dropped whole."""
    mine = "database = currentDatabase() AND table = 'usage_events'"
    expiry = f"SELECT toUnixTimestamp(max(delete_ttl_info_max)) FROM system.parts WHERE active AND {mine}"
    migrate(store, retention_days=10_000)
    archive_uses(store, [Use("old", 0, ts_ms=T0)])
    assert store.connection.rows(expiry) == [(T0 // 1000 + 10_000 * 86_400,)]
    migrate(store, retention_days=12_000)
    for _ in range(10_000):
        if store.connection.rows(f"SELECT count() FROM system.mutations WHERE NOT is_done AND {mine}") == [(0,)]:
            break
    assert store.connection.rows(expiry) == [(T0 // 1000 + 12_000 * 86_400,)]
