"""Alertmanager's webhook, version 4: each version of an incident is one POST, to whatever takes Alertmanager's.

This speaks to a receiver and not to an Alertmanager: its own API would end an alert that is not repeated every few
minutes, and would group and hold back what is urgent here.
"""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import SecretStr

from alerting.channels.base import DeliveryState, shows
from alerting.channels.http import Receiver
from alerting.message import message
from alerting.runbook import RUNBOOKS, as_link
from alerting.words import clean
from schemas.config.routes import ChannelConfig
from schemas.records import CLOSED, Incident, rfc3339, stable_id

__all__ = ["KIND", "AlertmanagerChannel", "build"]

KIND: Final = "alertmanager"
_STILL_FIRING: Final = "0001-01-01T00:00:00Z"  # what Alertmanager itself says of an alert without an end


class AlertmanagerChannel:
    """One URL that takes Alertmanager's webhook."""

    kind = KIND

    def __init__(self, name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> None:
        self.name = name
        self._secret = secret
        self._runbooks = runbooks
        self._receiver = Receiver(name, config.base_url or config.target, config)

    def __repr__(self) -> str:
        return f"AlertmanagerChannel({self.name!r}, host={self._receiver.host!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """POST this version; any 2xx is a yes, as it is for Alertmanager."""
        body = json.dumps(payload(incident, receiver=self.name, runbooks=self._runbooks), separators=(",", ":"))
        headers = {"content-type": "application/json"}
        if self._secret.get_secret_value():
            headers["authorization"] = f"Bearer {self._secret.get_secret_value()}"
        await self._receiver.post(body.encode(), headers)
        return shows(self, incident)

    async def close(self) -> None:
        """Close the connections."""
        await self._receiver.close()


def build(name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> AlertmanagerChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return AlertmanagerChannel(name, config, secret, runbooks=runbooks)


def payload(incident: Incident, *, receiver: str, runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """The body: a group of one alert. Labels are the same for the incident's whole life, so that it is one alert."""
    content = message(incident, runbooks)
    status = "resolved" if incident.state in CLOSED else "firing"
    labels = {
        "alertname": "KeyfuseIncident", "incident_id": incident.incident_id, "key_id": clean(incident.key_id, 80),
        "provider": clean(incident.facts.provider, 80),
        "team": clean(incident.facts.team, 80), "app": clean(incident.facts.app, 80),
        "env": clean(incident.facts.env, 80),
    }  # fmt: skip
    annotations = {
        "summary": content.title, "description": content.headline, "severity": incident.severity,
        "state": incident.state, "latest": content.latest, "runbook_url": content.runbook,
        **{f"reason_{family}": sentence for family, sentence in content.reasons},
        **{f"step_{number}": step for number, step in enumerate(content.steps, start=1)},
    }  # fmt: skip
    alert = {
        "status": status, "labels": labels, "annotations": annotations,
        "startsAt": rfc3339(incident.opened_at_ms),
        "endsAt": rfc3339(incident.updated_at_ms) if incident.state in CLOSED else _STILL_FIRING,
        "generatorURL": as_link(content.runbook) or "", "fingerprint": stable_id("f", incident.incident_id)[2:18],
    }  # fmt: skip
    group = {"alertname": labels["alertname"], "incident_id": incident.incident_id}
    return {
        "version": "4", "groupKey": f'{{}}:{{incident_id="{incident.incident_id}"}}', "truncatedAlerts": 0,
        "status": status, "receiver": receiver, "groupLabels": group, "commonLabels": labels,
        "commonAnnotations": annotations, "externalURL": "", "alerts": [alert],
    }  # fmt: skip
