"""All that is stored of one incident, as one value that travels from a worker to the command line as JSON."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from schemas.audit_chain import Head, Link
from schemas.evidence import STATE_EVERY_MS, Hold, KeyState
from schemas.records import Command, Finding, Incident, Mark, Outcome
from service.evidence_config import Configs, configs_of
from service.evidence_windows import Minute, minutes_of
from storage.audit import heads, of_incident
from storage.history import events_of
from storage.holds import AFTER_MS, end_of
from storage.holds import versions as holds_of
from storage.kept import key_state
from storage.store import Store

_FINDINGS_MOST: Final = 100_000
_PAUSE_MS: Final = 600_000


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
    holds: tuple[Hold, ...] = ()  # every word on each
    configs: Configs = Configs()
    state: KeyState | None = None  # of the key when it was first spoken of

    @property
    def incident(self) -> Incident:
        """Its newest version."""
        return self.versions[-1]


def gather(store: Store, incident_id: str, *, before_ms: int, now_ms: int) -> Evidence | None:
    """From so long before the incident's first sign. None for an incident that nobody knows. Raises StoreError."""
    versions = store.incident_history(incident_id)
    if not versions:
        return None
    newest = versions[-1]
    key_id, opened_ms = newest.key_id, versions[0].opened_at_ms
    from_ms, until_ms = max(0, opened_ms - before_ms), end_of(newest)
    table = events_of(store, key_id, from_ms, until_ms)
    found = store.findings(key_id, since_ms=from_ms, limit=_FINDINGS_MOST)
    findings = tuple(finding for finding in reversed(found) if finding.at_ms < until_ms)
    return Evidence(
        from_ms=from_ms,
        until_ms=until_ms,
        versions=tuple(versions),
        findings=findings,
        commands=tuple(store.commands(incident_id)),
        outcomes=tuple(store.outcomes(incident_id)),
        marks=tuple(mark for mark in store.marks() if key_id == mark.key_id or incident_id == mark.incident_id)[::-1],
        audit=tuple(of_incident(store, incident_id, key_id)),
        heads=tuple(heads(store)),
        minutes=minutes_of(table),
        events=table.num_rows,
        parquet=_parquet(table),
        holds=tuple(holds_of(store, incident_id)),
        configs=configs_of(store, key_id, _first_sign(findings, opened_ms), until_ms - AFTER_MS, now_ms=now_ms),
        state=key_state(store, key_id, opened_ms - STATE_EVERY_MS, opened_ms),
    )


def _first_sign(findings: Sequence[Finding], opened_ms: int) -> int:
    """The first finding of those that lead to the incident, without a pause of more than ten minutes."""
    first_ms = opened_ms
    for finding in reversed([each for each in findings if each.at_ms < opened_ms]):
        if first_ms - finding.at_ms > _PAUSE_MS:
            break
        first_ms = finding.at_ms
    return first_ms


def _parquet(table: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
