"""PagerDuty Events API v2: one alert per incident, known by the incident's id.

A trigger for an alert that somebody has acknowledged wakes nobody (PagerDuty's rule). When a step has failed and a
person must act now, when a cut turns out not to hold, or when a snooze is over, the alert is therefore resolved and
triggered again, which pages.

The incident's id stands at the end of the summary, which becomes the title of PagerDuty's incident: its webhooks say
of an incident nothing else that was ours (their `incident_key` is null where alerts make the incidents).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import pagerduty
from pydantic import SecretStr

from alerting.channels.address import checked_url, is_loopback
from alerting.channels.base import DeliveryState, shows
from alerting.channels.errors import ChannelError, Reason, Refused, Retryable, retry_after_s
from alerting.message import message
from alerting.named import named
from alerting.runbook import RUNBOOKS, as_link
from schemas.config.routes import ChannelConfig
from schemas.records import CLOSED, Incident, StepState, rfc3339

__all__ = ["KIND", "PagerDutyChannel", "build"]

KIND: Final = "pagerduty"
_API: Final = "https://events.pagerduty.com"
_SUMMARY_MAX: Final = 1024
_GRACE_S: Final = 1.0  # the client's own timeout comes first; this one is for what it does not cover


class _Events(pagerduty.EventsApiV2Client):
    """The official client, answering at once: it would retry 429 without end, sleeping in a thread."""

    max_network_attempts = 0

    @property
    def url(self) -> str:
        """The base URL. The channel has checked it; the library allows no http, not even to this machine."""
        return str(self._url)

    @url.setter
    def url(self, new_base_url: str) -> None:
        self._url = new_base_url

    def postprocess(self, response: httpx2.Response) -> None:
        """Called for each answer, before the library thinks of retrying."""
        if not response.is_success:
            raise pagerduty.HttpError("not accepted", response)


class PagerDutyChannel:
    """One PagerDuty service, named by its routing key."""

    kind = KIND

    def __init__(self, name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> None:
        if not secret.get_secret_value():
            raise Refused(
                name, Reason.MISCONFIGURED, "an integration (routing) key is needed: secret_env or secret_file"
            )
        self.name = name
        self._runbooks = runbooks
        self._timeout_s = config.timeout_s
        url = checked_url(config.base_url or _API, channel=name, internal=config.internal).rstrip("/")
        local = is_loopback(urlsplit(url).hostname or "")
        self._client = _Events(secret.get_secret_value(), base_url=url, trust_env=not local)
        self._client.timeout = config.timeout_s  # type: ignore[assignment]  # httpx takes fractions of a second too

    def __repr__(self) -> str:
        return f"PagerDutyChannel({self.name!r})"

    async def deliver(self, incident: Incident, previous: DeliveryState | None) -> DeliveryState:
        """Trigger, acknowledge or resolve the incident's alert."""
        failed = _failed_steps(incident)
        for action in _actions(incident, previous, failed):
            await self._send(action, incident)
        return shows(self, incident, {"failed_steps": str(failed)})

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.to_thread(self._client.close)

    async def _send(self, action: str, incident: Incident) -> None:
        event = _event(incident, self._runbooks) if action == "trigger" else {}
        try:
            async with asyncio.timeout(self._timeout_s + _GRACE_S):
                await asyncio.to_thread(self._client.send_event, action, incident.incident_id, **event)
        except TimeoutError:
            verdict: ChannelError | None = self._late()
        except pagerduty.HttpError as error:
            verdict = self._verdict(error.response)
        except pagerduty.Error as error:
            late = isinstance(error.__cause__, httpx2.TimeoutException)
            verdict = self._late() if late else self._unreachable(type(error.__cause__).__name__)
        else:
            verdict = None
        if verdict is not None:
            raise verdict

    def _verdict(self, response: httpx2.Response | None) -> ChannelError:
        if response is None:
            return Retryable(self.name, Reason.BAD_ANSWER, "the answer cannot be read")
        status = response.status_code
        if response.is_success:
            return Retryable(self.name, Reason.BAD_ANSWER, f"the answer with status {status} is not PagerDuty's")
        if status == 429:
            wait_s = retry_after_s(response.headers.get("Retry-After"))
            return Retryable(self.name, Reason.RATE_LIMITED, "PagerDuty asks to slow down", retry_after_s=wait_s)
        if status >= 500 or status == 408:
            return Retryable(self.name, Reason.SERVER_ERROR, f"PagerDuty answered {status}")
        return _refusal(self.name, status)

    def _late(self) -> ChannelError:
        return Retryable(self.name, Reason.TIMEOUT, f"no answer within {self._timeout_s:g} s")

    def _unreachable(self, kind: str) -> ChannelError:
        return Retryable(self.name, Reason.CONNECTION, f"PagerDuty cannot be reached: {kind}")


def build(name: str, config: ChannelConfig, secret: SecretStr, *, runbooks: str = RUNBOOKS) -> PagerDutyChannel:
    """The channel of one entry in `routes.yaml`. Refused when it is misconfigured."""
    return PagerDutyChannel(name, config, secret, runbooks=runbooks)


def _refusal(name: str, status: int) -> Refused:
    if status // 100 == 3:
        return Refused(name, Reason.REDIRECTED, f"PagerDuty answered {status}: check base_url")
    reason = Reason.UNAUTHORIZED if status in (401, 403) else Reason.REJECTED
    return Refused(name, reason, f"PagerDuty answered {status}: check the routing key")


def _actions(incident: Incident, previous: DeliveryState | None, failed: int) -> tuple[str, ...]:
    """Events to send, in order. Sending them twice does no harm."""
    last = {"acknowledged": "acknowledge", "resolved": "resolve", "false_positive": "resolve"}.get(incident.state)
    if previous is None:  # also what is over by now is told once: nobody knows of it yet
        return ("trigger", last) if last else ("trigger",)
    if incident.state in CLOSED:
        return ("resolve",)
    if failed > int(previous.ids.get("failed_steps", "0")) or _reopened(incident, previous):
        return ("resolve", "trigger")
    if incident.state == "acknowledged" and previous.state != "acknowledged":
        return ("acknowledge",)
    return ("trigger",)


def _reopened(incident: Incident, previous: DeliveryState) -> bool:
    """What somebody had in hand is open again, and not because a person said so: they are to hear of it."""
    return incident.state == "open" and previous.state in ("acknowledged", "contained") and incident.by == "keyfuse"


def _failed_steps(incident: Incident) -> int:
    return sum(step.state == StepState.IRREVOCABLE for step in incident.steps)


def _event(incident: Incident, runbooks: str) -> dict[str, Any]:
    content = message(incident, runbooks)
    link = as_link(content.runbook)
    details = dict(content.facts)
    details |= {f"Reason: {family}": sentence for family, sentence in content.reasons}
    details |= {f"Step {number}": step for number, step in enumerate(content.steps, start=1)}
    details["Latest"] = content.latest
    return {
        "client": "keyfuse",
        "links": [{"href": link, "text": "What to do"}] if link else [],
        "payload": {
            "summary": named(f"{content.title}: {content.headline}", incident.incident_id, _SUMMARY_MAX),
            "source": incident.key_id,
            "severity": incident.severity,  # the same three words; PagerDuty has `error` besides
            "timestamp": rfc3339(incident.updated_at_ms),
            "component": incident.facts.app,
            "group": incident.facts.team,
            "class": ",".join(incident.families),
            "custom_details": details,
        },
    }
