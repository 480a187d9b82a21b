"""All that is stored of one incident, as one value that travels from a worker to the command line as JSON."""

from __future__ import annotations

import io
from typing import Final

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from schemas.audit_chain import Head, Link
from schemas.records import Command, Finding, Incident, Mark, Outcome
from storage.audit import heads, of_incident
from storage.history import events_of
from storage.store import Store

AFTER_MS: Final = 3_600_000
"""So much after the incident's last sign is taken along: whether the key was quiet then is part of the story."""
_FINDINGS_MOST: Final = 100_000


class Minute(BaseModel):
    """What the key used within one minute that begins at `at_ms`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_ms: int
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    usd: float
    networks: int


class Evidence(BaseModel):
    """One incident with all around it, from `from_ms` to before `until_ms`; records oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    from_ms: int
    until_ms: int
    versions: tuple[Incident, ...]
    findings: tuple[Finding, ...]
    commands: tuple[Command, ...]
    outcomes: tuple[Outcome, ...]
    marks: tuple[Mark, ...]
    audit: tuple[Link, ...]
    heads: tuple[Head, ...]
    minutes: tuple[Minute, ...]
    events: int
    parquet: bytes  # the events themselves

    @property
    def incident(self) -> Incident:
        """Its newest version."""
        return self.versions[-1]


def gather(store: Store, incident_id: str, *, before_ms: int) -> Evidence | None:
    """From so long before the incident's first sign. None for an incident that nobody knows. Raises StoreError."""
    versions = store.incident_history(incident_id)
    if not versions:
        return None
    newest = versions[-1]
    key_id, opened_ms = newest.key_id, versions[0].opened_at_ms
    from_ms = max(0, opened_ms - before_ms)
    until_ms = max(newest.updated_at_ms, newest.last_finding_at_ms) + AFTER_MS
    table = events_of(store, key_id, from_ms, until_ms)
    found = store.findings(key_id, since_ms=from_ms, limit=_FINDINGS_MOST)
    return Evidence(
        from_ms=from_ms,
        until_ms=until_ms,
        versions=tuple(versions),
        findings=tuple(finding for finding in reversed(found) if finding.at_ms < until_ms),
        commands=tuple(store.commands(incident_id)),
        outcomes=tuple(store.outcomes(incident_id)),
        marks=tuple(mark for mark in store.marks() if key_id == mark.key_id or incident_id == mark.incident_id)[::-1],
        audit=tuple(of_incident(store, incident_id, key_id)),
        heads=tuple(heads(store)),
        minutes=tuple(Minute(**point.__dict__) for point in store.key_use(key_id, from_ms, until_ms)),
        events=table.num_rows,
        parquet=_parquet(table),
    )


def _parquet(table: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
