"""Brings a store's tables up to this version: forward only, in order, each file once."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from storage.errors import Rejected
from storage.sql import Migration, statements
from storage.store import Store

ROLLUP_HOURS_KEPT_DAYS: Final = 400  # a year and a month: this week against the same one last year
_JOURNAL: Final = """
CREATE TABLE IF NOT EXISTS schema_migrations
(version UInt32, name String, digest String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3))
ENGINE = ReplacingMergeTree ORDER BY version"""


def shipped() -> list[Migration]:
    """The files that come with this version, in order."""
    folder = files("storage") / "migrations"
    found = [Migration.of(file.name, file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted(found, key=lambda migration: migration.version)


def migrate(store: Store, *, retention_days: int, migrations: list[Migration] | None = None) -> list[str]:
    """Apply what is missing, set how long usage is kept, and return the names of the files applied.

    Every statement can be repeated without harm, so a crash in the middle or a second process doing the same leads to
    the same tables. Rejected when a file that was applied has changed since: then tables and files disagree.
    """
    connection = store.connection
    connection.command(_JOURNAL)
    applied = dict(connection.rows("SELECT version, digest FROM schema_migrations FINAL"))
    done: list[str] = []
    for migration in shipped() if migrations is None else migrations:
        digest = applied.get(migration.version)
        if digest is not None and digest != migration.digest:
            raise Rejected(f"{migration.name} has changed since it was applied; put the change into a new file")
        if digest is None:
            for statement in statements(migration.text):
                connection.command(statement)
            _record(store, migration)
            done.append(migration.name)
    _keep(store, retention_days)
    return done


def _record(store: Store, migration: Migration) -> None:
    row = {"version": migration.version, "name": migration.name, "digest": migration.digest}
    store.insert_records("schema_migrations", [row], token=f"migration:{migration.version}")


def _keep(store: Store, retention_days: int) -> None:
    """Retention is a setting, not a migration: it is compared with the tables at each start.

    `usage_held` is not among them: see storage/holds.py.
    """
    wanted = {
        "usage_events": ("ts", retention_days),
        "usage_minute": ("at", retention_days),
        "usage_hour": ("at", max(retention_days, ROLLUP_HOURS_KEPT_DAYS)),
        "dead_letters": ("at", retention_days),
    }
    created = dict(
        store.connection.rows("SELECT name, create_table_query FROM system.tables WHERE database = currentDatabase()")
    )
    for table, (column, days) in wanted.items():
        # Seconds in 64 bits: a far date plus a long retention would wrap around to 1970 and be dropped at once.
        rule = f"toDateTime(least(toUnixTimestamp({column}) + toUInt64({days * 86_400}), toUInt64(4294967295)))"
        if table in created and f"TTL {rule}" not in created[table]:
            # What is stored carries its date of expiry: without the new one it is dropped on the old.
            store.connection.command(f"ALTER TABLE {table} MODIFY SETTING materialize_ttl_recalculate_only = 1")
            store.connection.command(
                f"ALTER TABLE {table} MODIFY TTL {rule}", settings={"materialize_ttl_after_modify": 1}
            )
