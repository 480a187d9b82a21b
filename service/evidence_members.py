"""The members of an archive of evidence: an incident's records, its story and the configuration as files. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from schemas.records import rfc3339
from service.config_shown import of_key, shown
from service.config_tree import Folder
from service.evidence_config import as_json as as_periods
from service.evidence_facts import Evidence
from service.evidence_page import page
from service.evidence_state import Live, state_members, state_notes, state_words
from service.evidence_story import as_json, pace, timeline
from service.postmortem import draft

_NUMBERS: Final = re.compile(r"\[[-\d.,eE+\s]*(?:null[-\d.,eE+\s]*)*\]")
_OF_NOW: Final = (
    "config.json is what the folder said when this archive was made; what workers followed then is in "
    "config_in_force.json."
)


def members(evidence: Evidence, folder: Folder, live: Live) -> dict[str, bytes]:
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
        "config.json": _json(of_key(shown(folder), evidence.incident.key_id)),
        "config_in_force.json": _json(as_periods(evidence.configs)),
        "holds.ndjson": _lines(evidence.holds),
        "state.json": _NUMBERS.sub(_on_one_line, _json(state_words(evidence.state, live)).decode()).encode(),
        **state_members(evidence.state, live),
        "timeline.json": _json({"pace": pace(evidence).__dict__, "entries": as_json(entries)}),
        "timeline.html": page(evidence, entries).encode(),
        "postmortem.md": draft(evidence).encode(),
    }


def about(evidence: Evidence, live: Live, *, made_at_ms: int, version: str) -> dict[str, Any]:
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
            "commands": len(evidence.commands), "outcomes": len(evidence.outcomes), "holds": len(evidence.holds),
        },
        "notes": [_OF_NOW, *evidence.configs.unknown, *state_notes(evidence.state, live)],
    }  # fmt: skip


def _lines(records: Iterable[BaseModel]) -> bytes:
    return b"".join(record.model_dump_json().encode() + b"\n" for record in records)


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _on_one_line(found: re.Match[str]) -> str:
    return " ".join(found[0].split())
