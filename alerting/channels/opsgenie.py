"""Opsgenie, and Jira Service Management with the same API: one alert per incident, its alias is the incident's id.

An alert that somebody has acknowledged wakes nobody again, and what is sent is worked off in no certain order, so it
cannot be closed and opened anew. When an incident turns critical, or a step has failed and a person must act now, there
is a further alert with an alias of its own. All of them are closed with the incident.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pydantic import SecretStr

from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import Reason, Refused, Retryable
from alerting.channels.http import Receiver
from alerting.message import message
from alerting.runbook import RUNBOOKS
from alerting.words import clean
from schemas.config.routes import ChannelConfig
from schemas.records import CLOSED, Incident, Severity, StepState

__all__ = ["KIND", "OpsgenieChannel", "build"]

KIND: Final = "opsgenie"
_API: Final = "https://api.opsgenie.com"
_PRIORITIES: Final[dict[Severity, str]] = {"info": "P5", "warning": "P3", "critical": "P1"}
_MESSAGE_MAX: Final = 130  # Opsgenie's limits, in characters
_DESCRIPTION_MAX: Final = 15_000
_NOTE_MAX: Final = 25_000
_TAG_MAX: Final = 50
_ENTITY_MAX: Final = 512


class Call(NamedTuple):
    """One request to make."""

    path: str
    body: dict[str, Any]


class Plan(NamedTuple):
    """What one version needs."""

    aliases: tuple[str, ...]  # of all alerts of the incident, its own first
    causes: tuple[str, ...]  # what somebody has been woken for
    calls: tuple[Call, ...]  # in order


class OpsgenieChannel:
    """One API integration, named by its key."""

    kind = KIND

    def __init__(self, name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> None:
        if not secret.get_secret_value():
            words = "the key of an API integration is needed: secret_env or secret_file"
            raise Refused(name, Reason.MISCONFIGURED, words)
        self.name = name
        self._secret = secret
        self._runbooks = runbooks
        self._receiver = Receiver(name, config.base_url or _API, config)

    def __repr__(self) -> str:
        return f"OpsgenieChannel({self.name!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Create, acknowledge, note or close. Sent twice it does no harm, but for a note that stands there twice."""
        told = plan(incident, previous, runbooks=self._runbooks)
        for call in told.calls:
            await self._send(call)
        return shows(self, incident, {"aliases": " ".join(told.aliases), "causes": " ".join(told.causes)})

    async def close(self) -> None:
        """Close the connections."""
        await self._receiver.close()

    async def _send(self, call: Call) -> None:
        headers = {
            "content-type": "application/json",
            "authorization": f"GenieKey {self._secret.get_secret_value()}",
        }
        answer = await self._receiver.post(json.dumps(call.body).encode(), headers, path=call.path)
        said = answer.json_object() or {}
        if not isinstance(said.get("requestId"), str):
            words = f"the answer with status {answer.status} is not Opsgenie's"
            raise Retryable(self.name, Reason.BAD_ANSWER, words)


def build(name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> OpsgenieChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return OpsgenieChannel(name, config, secret, runbooks=runbooks)


def plan(incident: Incident, previous: DeliveryState | None, *, runbooks: str = RUNBOOKS) -> Plan:
    """What to ask for, and what is known of afterwards."""
    main, causes, over = incident.incident_id, _causes(incident), incident.state in CLOSED
    if previous is None or (previous.state in CLOSED and not over):  # what is over by now is told once, too
        calls = [_create(incident, main, runbooks), *_said(incident, (main,), fresh=True)]
        return Plan((main,), causes, tuple(calls))
    aliases = tuple(previous.ids.get("aliases", main).split())
    new = tuple(cause for cause in causes if cause not in previous.ids.get("causes", "").split())
    if over or not new:
        fresh = previous.state != incident.state
        return Plan(aliases, causes, _said(incident, aliases, fresh=fresh))
    further = tuple(f"{main}:{cause}" for cause in new)
    calls = [_create(incident, alias, runbooks) for alias in further]
    return Plan((*aliases, *further), causes, (*calls, *_said(incident, aliases, fresh=False)))


def _said(incident: Incident, aliases: tuple[str, ...], *, fresh: bool) -> tuple[Call, ...]:
    """The news for alerts that are there; `fresh` when the state is news to them."""
    note = {"source": "keyfuse", "note": _text(incident.transition, _NOTE_MAX)}
    if incident.state in CLOSED:
        return tuple(Call(_path(alias, "close"), note) for alias in aliases)
    if incident.state == "acknowledged" and fresh:
        return tuple(Call(_path(alias, "acknowledge"), note) for alias in aliases)
    return (Call(_path(aliases[0], "notes"), note),) if incident.seq > 1 else ()


def _causes(incident: Incident) -> tuple[str, ...]:
    """What must wake somebody once more."""
    failed = sum(step.state == StepState.IRREVOCABLE for step in incident.steps)
    critical = ("critical",) if incident.severity == "critical" else ()
    return (*critical, *(f"failed-{number}" for number in range(1, failed + 1)))


def _create(incident: Incident, alias: str, runbooks: str) -> Call:
    content, facts = message(incident, runbooks), incident.facts
    lines = [content.headline, *(f"{family}: {sentence}" for family, sentence in content.reasons)]
    lines += [*content.steps, content.latest]
    body = {
        "message": _text(content.title, _MESSAGE_MAX),
        "alias": alias,
        "description": _plain("\n".join(lines))[:_DESCRIPTION_MAX],
        "priority": _PRIORITIES[incident.severity],
        "source": "keyfuse",
        "entity": _text(incident.key_id, _ENTITY_MAX),
        "tags": [_text(tag.replace(",", " "), _TAG_MAX) for tag in ("keyfuse", facts.team, facts.env)],
        "details": {label: _plain(value) for label, value in content.facts},
    }
    return Call("/v2/alerts", body)


def _path(alias: str, action: str) -> str:
    return f"/v2/alerts/{quote(alias, safe='')}/{action}?identifierType=alias"


def _text(text: str, limit: int) -> str:
    return _plain(clean(text, limit))


def _plain(text: str) -> str:
    """Opsgenie shows HTML in descriptions and mails; this is none, and as long as before."""
    return text.replace("<", "‹").replace(">", "›").replace("&", "＆")
