"""The store as the rest of Keyfuse sees it: inserts that may be repeated, and the questions screens ask. Blocking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa

from schemas.key_record import KeyRecord
from schemas.records import AuditRow, Command, DeadLetter, Finding, Incident, IncidentState, Mark, Outcome
from storage.answers import KeyUse, Reconciliation, Totals, UsePoint

if TYPE_CHECKING:
    from storage.connection import ClickHouseConnection

# Every one of these has another default in some supported version.
_INSERT: Final = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "materialized_views_ignore_errors": 0,
    "input_format_null_as_default": 1,
    "max_partitions_per_insert_block": 0,  # a backfill of many days is slow, not wrong
    "wait_end_of_query": 1,  # over HTTP: a failure at the end must not look like success
}
_ROLLUP: Final = {"minute": "usage_minute", "hour": "usage_hour"}


class Store:
    """Made by `open_store`. Every method raises Unreachable or Rejected."""

    def __init__(self, connection: ClickHouseConnection) -> None:
        self.connection = connection

    def close(self) -> None:
        self.connection.close()

    def insert_usage(self, table: pa.Table, token: str) -> None:
        """Insert rows of `usage_columns`. The same token inserts nothing twice, in the rollups neither."""
        if table.num_rows:
            self.connection.insert("usage_events", table, settings=_INSERT | {"insert_deduplication_token": token})

    def insert_records(self, table: str, rows: Sequence[Mapping[str, Any]], token: str = "") -> None:
        """Insert rows of `record_row`, all of one table. Without a token, repeated rows replace themselves by id."""
        if rows:
            settings = _INSERT | ({"insert_deduplication_token": token} if token else {"insert_deduplicate": 0})
            self.connection.insert(table, pa.Table.from_pylist([dict(row) for row in rows]), settings=settings)

    def keys(self, since_ms: int, *, by: Literal["minute", "hour"] = "minute", limit: int = 1000) -> list[KeyUse]:
        """Keys used since then, those that spent most first. `by` hour reads sixty times fewer rows."""
        rows = self.connection.rows(
            f"""
            SELECT key_id, argMax(provider, u.last_seen), argMax(team, u.last_seen), argMax(app, u.last_seen),
                argMax(env, u.last_seen), sum(u.requests), sum(u.errors), sum(u.cost_nano_usd) / 1e9 AS usd,
                toUnixTimestamp64Milli(max(u.last_seen))
            FROM {_ROLLUP[by]} AS u WHERE at >= toDateTime(intDiv({{since:Int64}}, 1000))
            GROUP BY key_id ORDER BY usd DESC, key_id LIMIT {{limit:UInt32}}""",  # noqa: S608 - one of two names
            {"since": since_ms, "limit": limit},
        )
        return [KeyUse(*row) for row in rows]

    def uses_of(self, key_ids: Sequence[str]) -> list[KeyUse]:
        """These keys, as far as they are in the archive, by all of their use there."""
        rows = self.connection.rows(
            """
            SELECT key_id, argMax(provider, u.last_seen), argMax(team, u.last_seen), argMax(app, u.last_seen),
                argMax(env, u.last_seen), sum(u.requests), sum(u.errors), sum(u.cost_nano_usd) / 1e9,
                toUnixTimestamp64Milli(max(u.last_seen))
            FROM usage_hour AS u WHERE key_id IN {keys:Array(String)} GROUP BY key_id ORDER BY key_id""",
            {"keys": list(key_ids)},
        )
        return [KeyUse(*row) for row in rows]

    def key_use(
        self, key_id: str, since_ms: int, until_ms: int, *, by: Literal["minute", "hour"] = "minute"
    ) -> list[UsePoint]:
        """One key over time, oldest first; minutes or hours without use are absent."""
        rows = self.connection.rows(
            f"""
            SELECT toUnixTimestamp(at) * 1000, sum(u.requests), sum(u.errors), sum(u.input_tokens),
                sum(u.output_tokens), sum(u.cost_nano_usd) / 1e9, uniqCombinedMerge(12)(u.networks)
            FROM {_ROLLUP[by]} AS u
            WHERE key_id = {{key:String}} AND at >= toDateTime(intDiv({{since:Int64}}, 1000))
                AND at < toDateTime(intDiv({{until:Int64}}, 1000))
            GROUP BY at ORDER BY at""",  # noqa: S608 - one of two names
            {"key": key_id, "since": since_ms, "until": until_ms},
        )
        return [UsePoint(*row) for row in rows]

    def usage_totals(self) -> Totals:
        """All that was counted, from the hourly rollup."""
        [row] = self.connection.rows(
            """
            SELECT sum(u.events), sum(u.requests), uniqExact(key_id), sum(u.input_tokens), sum(u.output_tokens),
                sum(u.cost_nano_usd) / 1e9, toUnixTimestamp(min(at)) * 1000, toUnixTimestamp64Milli(max(u.last_seen))
            FROM usage_hour AS u"""
        )
        return Totals(*row)

    def rollup_vs_raw(self, since_ms: int = 0) -> Reconciliation:
        """Count the events of the archive one by one from the full hour of `since_ms` on, against the rollups.

        An event id that comes back with a time more than 15 minutes off is another use to the rollups.
        """
        [row] = self.connection.rows(
            """
            WITH toStartOfHour(toDateTime(intDiv({since:Int64}, 1000), 'UTC')) AS since
            SELECT (SELECT uniqExact(key_id, event_id) FROM usage_events WHERE ts >= since),
                (SELECT sum(events) FROM usage_minute WHERE at >= since),
                (SELECT sum(events) FROM usage_hour WHERE at >= since)""",
            {"since": since_ms},
        )
        return Reconciliation(*row)

    def findings(self, key_id: str, *, since_ms: int = 0, limit: int = 100) -> list[Finding]:
        """What was said of a key, newest first."""
        where = "key_id = {key:String} AND at >= fromUnixTimestamp64Milli({since:Int64}) ORDER BY at DESC"
        return [Finding.from_bytes(r) for r in self._records("findings", where, limit, key=key_id, since=since_ms)]

    def incidents(self, state: IncidentState | None = None, *, limit: int = 100) -> list[Incident]:
        """The latest version of each incident, newest first; only those in `state` if given."""
        where = "({state:String} = '' OR state = {state:String}) ORDER BY updated_at DESC, incident_id"
        return [Incident.from_bytes(r) for r in self._records("incidents_now", where, limit, state=state or "")]

    def incident(self, incident_id: str) -> Incident | None:
        """Its latest version."""
        versions = self.incident_history(incident_id)
        return versions[-1] if versions else None

    def incident_history(self, incident_id: str) -> list[Incident]:
        """Every version, oldest first."""
        where = "incident_id = {id:String} ORDER BY seq"
        return [Incident.from_bytes(r) for r in self._records("incidents", where, 10_000, id=incident_id)]

    def commands(self, incident_id: str) -> list[Command]:
        where = "incident_id = {id:String} ORDER BY at, command_id"
        return [Command.from_bytes(r) for r in self._records("commands", where, 1000, id=incident_id)]

    def outcomes(self, incident_id: str) -> list[Outcome]:
        """Every state its commands went through, oldest first."""
        where = "incident_id = {id:String} ORDER BY at, command_id"
        return [Outcome.from_bytes(r) for r in self._records("outcomes", where, 1000, id=incident_id)]

    def marks(self, *, limit: int = 100_000) -> list[Mark]:
        """The newest version of each mark, withdrawn ones too, newest first."""
        return [Mark.from_bytes(r) for r in self._records("marks", "1 ORDER BY at DESC, mark_id", limit)]

    def key_history(self, key_id: str) -> list[KeyRecord]:
        """Every version of a key that commands made or changed, oldest first."""
        where = "key_id = {id:String} ORDER BY seq, at"
        return [KeyRecord.from_bytes(r) for r in self._records("key_records", where, 100_000, id=key_id)]

    def key_records(self, *, limit: int = 1_000_000) -> list[KeyRecord]:
        """The newest version of each."""
        where = "1 ORDER BY key_id, seq DESC, at DESC LIMIT 1 BY key_id"
        return [KeyRecord.from_bytes(r) for r in self._records("key_records", where, limit)]

    def audit(self, incident_id: str = "", *, limit: int = 1000) -> list[AuditRow]:
        """Who did what, oldest first; of all incidents when none is named."""
        where = "({id:String} = '' OR incident_id = {id:String}) ORDER BY at, audit_id"
        return [AuditRow.from_bytes(r) for r in self._records("audit", where, limit, id=incident_id)]

    def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Newest first."""
        where = "1 ORDER BY at DESC, offset DESC"
        return [DeadLetter.from_bytes(r) for r in self._records("dead_letters", where, limit)]

    def _records(self, table: str, where: str, limit: int, **parameters: object) -> list[bytes]:
        final = "" if table == "incidents_now" else "FINAL"
        sql = f"SELECT record FROM {table} {final} WHERE {where} LIMIT {{limit:UInt32}}"  # noqa: S608 - both are ours
        return [row[0].encode() for row in self.connection.rows(sql, {"limit": limit, **parameters})]
