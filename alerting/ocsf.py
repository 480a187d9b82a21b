"""An incident as an OCSF Detection Finding (class 2004), for a SIEM. Pure.

OCSF 1.4.0. Times are milliseconds since 1970, as the schema wants them.
"""

from __future__ import annotations

from typing import Any, Final

from alerting.message import message
from alerting.runbook import RUNBOOKS
from alerting.words import clean
from schemas.records import CERTAIN, CLOSED, Incident, IncidentState, Severity

_CLASS: Final = 2004
_SEVERITIES: Final[dict[Severity, tuple[int, str]]] = {
    "info": (1, "Informational"), "warning": (3, "Medium"), "critical": (5, "Critical"),
}  # fmt: skip
_STATUSES: Final[dict[IncidentState, tuple[int, str]]] = {
    "open": (1, "New"), "acknowledged": (2, "In Progress"), "contained": (2, "In Progress"),
    "resolved": (4, "Resolved"), "false_positive": (3, "Suppressed"),
}  # fmt: skip
_ACTIVITIES: Final = {1: "Create", 2: "Update", 3: "Close"}


def detection_finding(incident: Incident, runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """This version of the incident. Versions of one incident share `finding_info.uid`."""
    content = message(incident, runbooks)
    activity = 3 if incident.state in CLOSED else (1 if incident.seq <= 1 else 2)
    severity_id, severity = _SEVERITIES[incident.severity]
    status_id, status = _STATUSES[incident.state]
    return {
        "activity_id": activity, "activity_name": _ACTIVITIES[activity],
        "category_uid": 2, "category_name": "Findings", "class_uid": _CLASS, "class_name": "Detection Finding",
        "type_uid": _CLASS * 100 + activity, "type_name": f"Detection Finding: {_ACTIVITIES[activity]}",
        "time": incident.updated_at_ms, "start_time": incident.opened_at_ms, "end_time": incident.last_finding_at_ms,
        "count": max(incident.findings, 1), "is_alert": activity != 3, "message": content.title,
        "severity_id": severity_id, "severity": severity, "status_id": status_id, "status": status,
        "status_detail": content.latest, "confidence_id": _confidence(incident),
        "metadata": {
            "version": "1.4.0", "uid": f"{incident.incident_id}.{incident.seq}", "sequence": incident.seq,
            "product": {"name": "Keyfuse", "vendor_name": "Keyfuse"},
        },
        "finding_info": _finding(incident, content.headline, content.reasons),
        "resources": [_resource(incident)],
        "remediation": {"desc": "; ".join(content.steps) or "Look at the runbook.", "references": [content.runbook]},
        "unmapped": {
            "state": incident.state, "mode": incident.mode, "by": clean(incident.by, 80),
            "usd_per_min": incident.usd_per_min,
            "expected_usd_per_min": incident.expected_usd_per_min, "lost_usd": incident.lost_usd,
            "acceptable_loss_usd": incident.acceptable_loss_usd,
        },
    }  # fmt: skip


def _finding(incident: Incident, headline: str, reasons: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    return {
        "uid": incident.incident_id, "title": headline, "desc": " ".join(sentence for _, sentence in reasons),
        "types": list(incident.families), "created_time": incident.opened_at_ms,
        "modified_time": incident.updated_at_ms, "first_seen_time": incident.opened_at_ms,
        "last_seen_time": incident.last_finding_at_ms,
    }  # fmt: skip


def _resource(incident: Incident) -> dict[str, Any]:
    facts = incident.facts
    if incident.budget is not None:
        view = incident.budget
        return {
            "uid": clean(incident.key_id, 80), "type": "Budget", "name": clean(view.budget, 80),
            "group": {"name": clean(facts.team, 80)},
        }  # fmt: skip
    return {
        "uid": clean(incident.key_id, 80), "type": "API key", "name": clean(facts.app, 80),
        "group": {"name": clean(facts.team, 80)},
        "labels": [f"provider:{clean(facts.provider, 80)}", f"env:{clean(facts.env, 80)}"],
    }  # fmt: skip


def _confidence(incident: Incident) -> int:
    """High for a certain limit or a proved leak, medium for what is learned."""
    return 3 if set(incident.families) & CERTAIN or any(leak.verified for leak in incident.leaks) else 2
