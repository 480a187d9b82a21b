"""A signed webhook (Standard Webhooks 1.0.0): each version of an incident is one POST.

The id of a message is the same for each try, so a receiver can drop what it has. A secret of several parts, separated
by spaces, signs with each of them: that is how a secret is changed without a gap.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import SecretStr
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import Reason, Refused
from alerting.channels.http import Receiver, Resolve, resolve
from alerting.runbook import RUNBOOKS, runbook
from schemas.config.routes import ChannelConfig
from schemas.records import Incident, rfc3339, stable_id

__all__ = ["KIND", "WebhookChannel", "build"]

KIND: Final = "webhook"


class WebhookChannel:
    """One URL that is told."""

    kind = KIND

    def __init__(
        self,
        name: str,
        config: ChannelConfig,
        secret: SecretStr,
        *,
        now: Callable[[], datetime],
        runbooks: str = RUNBOOKS,
        resolve: Resolve = resolve,
    ) -> None:
        self.name = name
        self._signers = _signers(name, secret)
        self._receiver = Receiver(name, config.base_url or config.target, config, resolve=resolve)
        self._now = now
        self._runbooks = runbooks

    def __repr__(self) -> str:
        return f"WebhookChannel({self.name!r}, host={self._receiver.host!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """POST this version; any 2xx is a yes."""
        message_id = stable_id("msg", incident.incident_id, incident.seq)
        body = json.dumps(payload(incident, self._runbooks), separators=(",", ":"))
        await self._receiver.post(body.encode(), self._headers(message_id, body))
        return shows(self, incident, {"webhook_id": message_id})

    async def close(self) -> None:
        """Close the connections."""
        await self._receiver.close()

    def _headers(self, message_id: str, body: str) -> dict[str, str]:
        now = self._now().astimezone(UTC)
        return {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signer.sign(message_id, now, body) for signer in self._signers),
        }


def build(
    name: str, config: ChannelConfig, secret: SecretStr, *, now: Callable[[], datetime], runbooks: str = RUNBOOKS
) -> WebhookChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return WebhookChannel(name, config, secret, now=now, runbooks=runbooks)


def payload(incident: Incident, runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """The body: what happened, when (event time), the page that says what to do, and the whole incident."""
    return {
        "type": f"incident.{incident.state}",
        "timestamp": rfc3339(incident.updated_at_ms),
        "runbook": runbook(incident, runbooks),
        "data": incident.model_dump(mode="json"),
    }


def _signers(name: str, secret: SecretStr) -> tuple[Webhook, ...]:
    try:
        signers = tuple(Webhook(part) for part in secret.get_secret_value().split())
    except (ValueError, EmptyWebhookSecretError):
        signers = ()
    if not signers:
        words = "a signing secret is needed: `whsec_` and 24 to 64 bytes in base64, from secret_env or secret_file"
        raise Refused(name, Reason.MISCONFIGURED, words)
    return signers
