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
_OPEN = ("triggered", "acknowledged")
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
    """One service. `calls` are the webhooks it has yet to send, in order; people act on the newest incident."""

    now_ms: int
    calls: list[bytes] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)  # by dedup_key, of the newest incident that it opened
    titles: dict[str, str] = field(default_factory=dict)
    pages: int = 0
    events: int = 0
    _ids: count[int] = field(default_factory=count)

    @property
    def state(self) -> str:
        return self.states[self._newest] if self.states else "none"

    @property
    def _newest(self) -> str:
        return list(self.states)[-1]

    def enqueue(self, event: dict[str, Any]) -> None:
        """`POST /v2/enqueue`."""
        self.events += 1
        action, key = event["event_action"], event["dedup_key"]
        state = self.states.get(key, "none")
        if action == "trigger" and state in ("none", "resolved"):
            self.pages, self.titles[key] = self.pages + 1, event["payload"]["summary"]
            self._become(key, "triggered", "incident.triggered", INTEGRATION)
        elif action == "acknowledge" and state in _OPEN:
            self._become(key, "acknowledged", "incident.acknowledged", INTEGRATION)
        elif action == "resolve" and state in _OPEN:
            self._become(key, "resolved", "incident.resolved", INTEGRATION)

    def acknowledge(self, user_id: str) -> None:
        if self.state in _OPEN:
            self._become(self._newest, "acknowledged", "incident.acknowledged", user(user_id))

    def resolve(self, user_id: str) -> None:
        if self.state in _OPEN:
            self._become(self._newest, "resolved", "incident.resolved", user(user_id))

    def time_out(self) -> None:
        """Nobody has done anything for as long as the service allows."""
        if self.state == "acknowledged":
            self.pages += 1
            self._become(self._newest, "triggered", "incident.unacknowledged", None)

    def _become(self, key: str, state: str, event_type: str, agent: Any) -> None:
        self.states[key] = state
        event_id, title = f"01EVENT{next(self._ids)}", self.titles[key]
        self.calls.append(call(event_type, self.now_ms, agent=agent, event_id=event_id, title=title, status=state))
