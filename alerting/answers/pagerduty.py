"""PagerDuty's webhooks, version 3: what people did to an incident there, proved by a signature. No I/O of its own.

PagerDuty signs the body, and no time with it: who has once got hold of a signed body could send it again. What is
older than an hour is therefore not taken, and what was taken is not taken twice.

PagerDuty stops a subscription for a day when three of its calls in a row come to nothing, so that whatever is signed is
answered 2xx, also what does not count here. Only who may say it again is answered otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

import structlog
from pydantic import AwareDatetime, BaseModel, Field, SecretStr, ValidationError

from alerting.answers.desk import Desk, Said
from alerting.answers.errors import Unavailable
from alerting.named import is_ours, named_in
from alerting.words import clean
from controls.people import People
from schemas.records import PeoplesAction
from schemas.redact import redact

Result = Literal["taken", "refused", "ignored", "repeat", "stale", "not_understood", "unsigned", "unavailable"]
_ACTIONS: Final[Mapping[str, PeoplesAction]] = {
    "incident.acknowledged": "acknowledge", "incident.resolved": "resolve",
}  # fmt: skip
_PERSON: Final = "user_reference"  # what Keyfuse itself sent comes back as the word of an integration
_LOST: Final = frozenset({"refused", "stale", "unavailable"})  # somebody said something that does not count
_OLDEST_MS: Final = 3_600_000  # PagerDuty tries for some 20 minutes, and keeps later calls waiting behind the first
_AHEAD_MS: Final = 300_000  # clocks differ
_NOT_YET_MS: Final = 60_000  # a worker may hear of an incident a little later than PagerDuty does
_REMEMBERED: Final = 10_000
_SIGNATURES: Final = 16  # looked at in one header; PagerDuty sends one for each secret that counts
log = structlog.get_logger()


class _Agent(BaseModel):
    id: str = ""
    type: str = ""
    summary: str | None = None


class _Incident(BaseModel):
    title: str | None = None
    incident_key: str | None = None  # null where alerts make the incidents, as they do for Events API v2
    resolve_reason: Any = None


class Event(BaseModel):
    """What is read of an event; the rest of it is left alone."""

    id: str = Field(min_length=1, max_length=200)
    event_type: str = Field(max_length=200)
    occurred_at: AwareDatetime
    agent: _Agent | None = None
    data: _Incident = _Incident()


class _Body(BaseModel):
    event: Event


class Reply(NamedTuple):
    """What the call is answered."""

    status: int
    result: Result
    words: str


def signer(body: bytes, header: str, secrets: Mapping[str, SecretStr]) -> str | None:
    """Whose secret signed the body; None when nobody's did.

    Args:
        body: The bytes as they came.
        header: `X-PagerDuty-Signature`: `v1=<hex>`, several with commas between while a secret is being changed.
        secrets: By channel; one may hold several, with blanks between.
    """
    parts = [part.strip() for part in header.split(",", _SIGNATURES)[:_SIGNATURES]]
    given = [part.removeprefix("v1=").encode() for part in parts if part.startswith("v1=")]
    for channel, secret in secrets.items():
        for key in secret.get_secret_value().split():
            expected = hmac.new(key.encode(), body, hashlib.sha256).hexdigest().encode()
            if any(hmac.compare_digest(expected, each) for each in given):
                return channel
    return None


def said_in(event: Event, people: People) -> Said | str:
    """What a person said, or why nobody said anything that counts here."""
    action = _ACTIONS.get(event.event_type)
    if action is None:
        return f"{clean(event.event_type, 60)} changes nothing here"
    agent = event.agent
    if agent is None or agent.type != _PERSON or not agent.id:
        return "no person did it: it may be our own word that comes back"
    if event.data.resolve_reason:
        return "merged into another incident there, which ends nothing"
    key = event.data.incident_key or ""
    incident_id = key if is_ours(key) else named_in(event.data.title or "")
    if not incident_id:
        return "no incident of Keyfuse is named in its title"
    who = f"{clean(redact(agent.summary or ''), 60)} ({clean(agent.id, 40)})".strip()
    return Said(
        said_id=f"pagerduty:{event.id}", via="pagerduty", who=who, person=people.of_pagerduty(agent.id), action=action,
        incident_id=incident_id,
    )  # fmt: skip


class PagerDutyWebhook:
    """Takes the calls of all subscriptions of one install."""

    def __init__(
        self, secrets: Mapping[str, SecretStr], desk: Desk, *, now_ms: Callable[[], int], remember: int = _REMEMBERED
    ) -> None:
        self._secrets = secrets
        self._desk = desk
        self._now_ms = now_ms
        self._remember = remember
        self._taken: dict[str, None] = {}  # the oldest first

    async def take(self, body: bytes, signature: str) -> Reply:
        """One call. Never raises for what was sent."""
        channel = signer(body, signature, self._secrets)
        if channel is None:
            return Reply(401, "unsigned", "no signature fits: compare the webhook secret of the pagerduty channel")
        try:
            event = _Body.model_validate_json(body).event
        except ValidationError:
            log.warning("PagerDuty sent what is no event of version 3", channel=channel, bytes=len(body))
            return Reply(202, "not_understood", "not an event of version 3")
        reply = self._passed_over(event) or await self._say(event)
        told = {"channel": channel, "type": event.event_type, "event_id": event.id, "result": reply.result}
        tell = log.debug if reply.result == "ignored" else log.warning if reply.result in _LOST else log.info
        tell("PagerDuty called", **told, why=reply.words)
        return reply

    def _passed_over(self, event: Event) -> Reply | None:
        if event.event_type == "pagey.ping":
            return Reply(200, "ignored", "here")
        if event.id in self._taken:
            return Reply(202, "repeat", "taken before")
        if not -_AHEAD_MS <= self._age_ms(event) <= _OLDEST_MS:
            return Reply(202, "stale", f"it happened at {event.occurred_at:%Y-%m-%dT%H:%M:%SZ}, which is not lately")
        return None

    def _age_ms(self, event: Event) -> float:
        return self._now_ms() - event.occurred_at.timestamp() * 1000

    async def _say(self, event: Event) -> Reply:
        said = said_in(event, self._desk.people())
        if isinstance(said, str):
            return Reply(202, "ignored", said)
        try:
            answer = await self._desk.say(said)
        except Unavailable as error:
            return Reply(503, "unavailable", f"{error}: send it again later")
        if not answer.known and self._age_ms(event) < _NOT_YET_MS:
            return Reply(503, "unavailable", f"{answer.words} Send it again later")
        if not answer.taken:
            return Reply(202, "refused", answer.words)
        self._taken[event.id] = None
        if len(self._taken) > self._remember:
            del self._taken[next(iter(self._taken))]
        return Reply(202, "taken", answer.words)
