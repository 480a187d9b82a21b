"""A small PagerDuty: one service that takes events (API v2), people who answer, and the webhooks (v3) it sends of both.

By its documentation, and by what is known of real accounts: `incident_key` is null, an event acknowledges in the name
of its integration, who merges two incidents resolves one of them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

SECRET = "webhook-SECRETofTheSubscription"
INTEGRATION = {"id": "PINTEG1", "type": "inbound_integration_reference", "summary": "Keyfuse"}


def user(user_id: str, name: str = "Somebody") -> dict[str, Any]:
    return {
        "html_url": f"https://acme.pagerduty.com/users/{user_id}", "id": user_id,
        "self": f"https://api.pagerduty.com/users/{user_id}", "summary": name, "type": "user_reference",
    }  # fmt: skip


def sign(body: bytes, *secrets: str) -> str:
    """`X-PagerDuty-Signature`."""
    return ",".join(f"v1={hmac.new(each.encode(), body, hashlib.sha256).hexdigest()}" for each in secrets or (SECRET,))


def call(event_type: str, at_ms: int, *, agent: Any = None, event_id: str = "01EVENT", **data: Any) -> bytes:
    """The body of one call, with all that PagerDuty puts there."""
    incident = {
        "id": "PGR0VU2", "type": "incident", "self": "https://api.pagerduty.com/incidents/PGR0VU2",
        "html_url": "https://acme.pagerduty.com/incidents/PGR0VU2", "number": 2, "status": "triggered",
        "incident_key": None, "created_at": "2020-04-09T15:16:27Z", "title": "A little bump in the road [inc_1]",
        "service": {"id": "PF9KMXH", "summary": "API Service", "type": "service_reference"}, "assignees": [],
        "escalation_policy": {"id": "PUS0KTE", "type": "escalation_policy_reference"}, "teams": [], "priority": None,
        "urgency": "high", "conference_bridge": None, "resolve_reason": None,
        "incident_type": {"name": "incident_default"},
    }  # fmt: skip
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {
        "id": event_id, "event_type": event_type, "resource_type": "incident", "occurred_at": at, "agent": agent,
        "client": None, "data": incident | data,
    }  # fmt: skip
    return json.dumps({"event": event}).encode()


@dataclass
class PagerDutyService:
    """One service. `calls` are the webhooks it has yet to send, in order."""

    now_ms: int
    calls: list[bytes] = field(default_factory=list)
    state: str = "none"  # of the newest incident
    title: str = ""
    pages: int = 0
    events: int = 0
    _ids: count[int] = field(default_factory=count)

    def enqueue(self, event: dict[str, Any]) -> None:
        """`POST /v2/enqueue`: all events of this service are of one dedup_key."""
        self.events += 1
        action = event["event_action"]
        if action == "trigger" and self.state in ("none", "resolved"):
            self.state, self.title, self.pages = "triggered", event["payload"]["summary"], self.pages + 1
            self._tell("incident.triggered", INTEGRATION)
        elif action == "acknowledge" and self.state in ("triggered", "acknowledged"):
            self.state = "acknowledged"
            self._tell("incident.acknowledged", INTEGRATION)
        elif action == "resolve" and self.state in ("triggered", "acknowledged"):
            self.state = "resolved"
            self._tell("incident.resolved", INTEGRATION)

    def acknowledge(self, user_id: str) -> None:
        if self.state in ("triggered", "acknowledged"):
            self.state = "acknowledged"
            self._tell("incident.acknowledged", user(user_id))

    def resolve(self, user_id: str) -> None:
        if self.state in ("triggered", "acknowledged"):
            self.state = "resolved"
            self._tell("incident.resolved", user(user_id))

    def time_out(self) -> None:
        """Nobody has done anything for as long as the service allows."""
        if self.state == "acknowledged":
            self.state, self.pages = "triggered", self.pages + 1
            self._tell("incident.unacknowledged", None)

    def _tell(self, event_type: str, agent: Any) -> None:
        event_id = f"01EVENT{next(self._ids)}"
        self.calls.append(
            call(event_type, self.now_ms, agent=agent, event_id=event_id, title=self.title, status=self.state)
        )
