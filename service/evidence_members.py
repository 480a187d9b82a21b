"""The members of an archive of evidence: an incident's records, its story and the configuration as files. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel

from schemas.records import rfc3339
from schemas.redact import redact
from service.config_tree import FILES, Folder
from service.evidence_facts import Evidence
from service.evidence_story import as_json, pace, page, timeline
from service.postmortem import draft

_HIDDEN: Final = "[redacted]"
_NOT_STATE: Final = (
    "The key's learned state is not in here: workers hold it in memory. What each family makes of the key at a time is "
    "played again from the stored events by `keyfuse explain KEY --at TIME`; what was said then is in findings.ndjson."
)
_OF_NOW: Final = "config.json is the configuration when this archive was made, not of the time of the incident."


def members(evidence: Evidence, folder: Folder) -> dict[str, bytes]:
    """File name → content."""
    entries = timeline(evidence)
    return {
        "events.parquet": evidence.parquet,
        "windows.json": _json([minute.model_dump() for minute in evidence.minutes]),
        "findings.ndjson": _lines(evidence.findings),
        "incident.ndjson": _lines(evidence.versions),
        "commands.ndjson": _lines(evidence.commands),
        "outcomes.ndjson": _lines(evidence.outcomes),
        "marks.ndjson": _lines(evidence.marks),
        "audit.ndjson": _lines([*evidence.audit, *evidence.heads]),
        "config.json": _json(config(folder, evidence.incident.key_id)),
        "timeline.json": _json({"pace": pace(evidence).__dict__, "entries": as_json(entries)}),
        "timeline.html": page(evidence, entries).encode(),
        "postmortem.md": draft(evidence).encode(),
    }


def about(evidence: Evidence, *, made_at_ms: int, version: str) -> dict[str, Any]:
    """What the manifest says beside the list of members."""
    incident = evidence.incident
    return {
        "incident_id": incident.incident_id,
        "key_id": incident.key_id,
        "state": incident.state,
        "from": rfc3339(evidence.from_ms),
        "until": rfc3339(evidence.until_ms),
        "made_at": rfc3339(made_at_ms),
        "made_by": f"keyfuse {version}",
        "counts": {
            "events": evidence.events, "findings": len(evidence.findings), "audit_rows": len(evidence.audit),
            "commands": len(evidence.commands), "outcomes": len(evidence.outcomes),
        },
        "notes": [_OF_NOW, _NOT_STATE],
    }  # fmt: skip


def config(folder: Folder, key_id: str) -> dict[str, Any]:
    """All files of the folder; of keys.yaml only this key. Secrets are not in the files; what looks like one goes."""
    told = {file.name: getattr(folder, file.part).model_dump(mode="json") for file in FILES}
    told["keys.yaml"]["keys"] = [key for key in told["keys.yaml"]["keys"] if key["key_id"] == key_id]
    cleaned: dict[str, Any] = _without_secrets(told)
    return cleaned


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Texts through the redactor one by one; what a channel's address says after the host may be a secret as well."""
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {
                name: _address(inner) if name == "target" and isinstance(inner, str) else _without_secrets(inner)
                for name, inner in value.items()
            }
        case list() | tuple():
            return [_without_secrets(inner) for inner in value]
    return value


def _address(text: str) -> str:
    """A webhook's path is often all that keeps others from using it.

    >>> _address("https://hooks.example.com/T1/abc?x=1"), _address("#oncall")
    ('https://hooks.example.com/[redacted]', '#oncall')
    """
    scheme, there, rest = text.partition("://")
    host, slash, _ = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}/{_HIDDEN}" if there and slash else redact(text)


def _lines(records: Iterable[BaseModel]) -> bytes:
    return b"".join(record.model_dump_json().encode() + b"\n" for record in records)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
