"""Microsoft Teams: each version of an incident is a card, posted to a webhook of Teams' Workflows.

The webhook's URL is the secret, and there is no way back to what was posted: no edit, no thread. A workflow answers 202
and nothing else; the older connectors answer 200 and `1`, and report their own failures with status 200 too.
"""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr

from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import Reason, Refused, Retryable
from alerting.channels.http import Receiver
from alerting.message import message
from alerting.runbook import RUNBOOKS, as_link
from schemas.config.routes import ChannelConfig
from schemas.records import Incident, Severity

__all__ = ["KIND", "TeamsChannel", "build"]

KIND: Final = "teams"
_BYTES_MAX: Final = 28_000  # Teams takes no more in one message
_COLORS: Final[dict[Severity, str]] = {"info": "Accent", "warning": "Warning", "critical": "Attention"}
Run = dict[str, Any]


class TeamsChannel:
    """One Teams channel or chat, behind the URL of its webhook."""

    kind = KIND

    def __init__(self, name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> None:
        if not secret.get_secret_value():
            words = "the webhook's whole URL is needed, as a secret: secret_env or secret_file"
            raise Refused(name, Reason.MISCONFIGURED, words)
        self.name = name
        self._runbooks = runbooks
        self._receiver = Receiver(name, _at(secret.get_secret_value(), config.base_url), config)

    def __repr__(self) -> str:
        return f"TeamsChannel({self.name!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Post this version as a card."""
        body = json.dumps(card(incident, self._runbooks), separators=(",", ":")).encode()
        answer = await self._receiver.post(body, {"content-type": "application/json"})
        if answer.status != 202 and answer.body.strip() != b"1":
            raise Retryable(self.name, Reason.BAD_ANSWER, f"the answer with status {answer.status} is not Teams'")
        return shows(self, incident)

    async def close(self) -> None:
        """Close the connections."""
        await self._receiver.close()


def build(name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> TeamsChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return TeamsChannel(name, config, secret, runbooks=runbooks)


def card(incident: Incident, runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """The message with its card.

    All words are text runs, which know no Markdown: nothing in a foreign text can be a link, a mention or a format.
    """
    content = message(incident, runbooks)
    color = "Good" if incident.state in ("resolved", "false_positive") else _COLORS[incident.severity]
    body = [
        _block({"text": content.title, "weight": "Bolder", "size": "Medium", "color": color}),
        _block({"text": content.headline, "weight": "Bolder"}),
        *(_block(_bold(f"{label}: "), {"text": value}) for label, value in content.facts),
        *(_block(_bold(f"{family}: "), {"text": sentence}) for family, sentence in content.reasons),
        *(_block({"text": f"• {step}"}) for step in content.steps),
        _block({"text": content.latest, "isSubtle": True}),
    ]
    while len(json.dumps(body)) > _BYTES_MAX - 2_000:  # the title, the headline and the latest news always fit
        del body[-2]
    link = as_link(content.runbook)
    actions = [{"type": "Action.OpenUrl", "title": "What to do", "url": link}] if link else []
    content_type, schema = (
        "application/vnd.microsoft.card.adaptive",
        "http://adaptivecards.io/schemas/adaptive-card.json",
    )
    shown = {"$schema": schema, "type": "AdaptiveCard", "version": "1.4", "body": body, "actions": actions}
    return {"type": "message", "attachments": [{"contentType": content_type, "contentUrl": None, "content": shown}]}


def _block(*runs: Run) -> dict[str, Any]:
    return {"type": "RichTextBlock", "spacing": "Small", "inlines": [{"type": "TextRun", **run} for run in runs]}


def _bold(text: str) -> Run:
    return {"text": text, "weight": "Bolder"}


def _at(url: str, base_url: str) -> str:
    """The URL, at another address when one is configured."""
    if not base_url:
        return url
    try:
        theirs, ours = urlsplit(url), urlsplit(base_url)
    except ValueError:
        return ""  # the check of the address says what is wrong, without showing it
    return urlunsplit((ours.scheme, ours.netloc, theirs.path, theirs.query, ""))
