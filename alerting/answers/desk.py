"""What people say, wherever they say it: known person, right role, known incident; then a record for the decide stage.

The decide stage checks the role again. Here it is checked so that who may not is told so at once, where they clicked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from alerting.words import INCIDENT_WORDS, clean
from controls.people import People, Person
from schemas.records import CLOSED, Incident, KeyFacts, PeoplesAction, Request, Step, StepState, Via
from schemas.redact import redact

_REASON_MAX: Final = 500


class Incidents(Protocol):
    """Where an incident is looked up."""

    def get(self, incident_id: str) -> Incident | None: ...

    def of_key(self, key_id: str) -> Incident | None: ...

    def open(self) -> list[Incident]: ...

    def complete(self) -> bool:
        """Whether what there was at the start has been read: before, what is not found may be there all the same."""
        ...


class Said(NamedTuple):
    """One word of one person. Nothing in it is trusted but `via` and `who`, which a signature proved."""

    said_id: str  # the same click has the same: a repeat is harmless
    via: Via
    who: str  # their id there, for the audit where nobody knows them
    person: Person | None  # who they are by people.yaml
    action: PeoplesAction
    incident_id: str
    step: Step | None = None
    until_ms: int | None = None
    reason: str = ""


class Answer(NamedTuple):
    """What they are told."""

    taken: bool
    words: str
    known: bool = True  # the incident; one that has just been told of may be unknown for a moment


Older = Callable[[str], Awaitable[Incident | None]]
"""Looks up an incident that `Incidents` does not have."""


async def nowhere(_: str) -> None:
    """There is nothing older."""


def only_revoke(_: Incident, step: Step) -> bool:
    """Where nobody says what else cannot be undone."""
    return step == "revoke"


async def unwritten(_request: Request, _why: str) -> None:
    """Nobody keeps what was refused."""


class Desk:
    """Takes what people say.

    `send` passes on what counts, `refused` keeps what does not, with the reason; they return when the broker has it.
    They and `older` may raise Unavailable. `for_good` says whether a step of the incident's key cannot be undone.
    """

    def __init__(
        self,
        *,
        people: Callable[[], People],
        incidents: Incidents,
        send: Callable[[Request], Awaitable[None]],
        now_ms: Callable[[], int],
        older: Older = nowhere,
        refused: Callable[[Request, str], Awaitable[None]] = unwritten,
        for_good: Callable[[Incident, Step], bool] = only_revoke,
    ) -> None:
        self.people = people
        self.incidents = incidents
        self._send = send
        self._older = older
        self._refused = refused
        self._for_good = for_good
        self._now_ms = now_ms

    async def find(self, incident_id: str) -> Incident | None:
        """The incident, wherever it is kept. May raise Unavailable."""
        return self.incidents.get(incident_id) or await self._older(incident_id)

    def why_not(self, said: Said, incident: Incident | None) -> str:
        """Why this word would not count now; empty when it would. Without an incident it is about a key alone."""
        people = self.people()
        if said.person is None and people.enforced:  # an id from elsewhere is no name, even where it looks like one
            return f"{said.who} is not in people.yaml"
        final = said.step == "revoke"
        if incident is not None:
            final = is_final(incident, said) or (said.step is not None and self._for_good(incident, said.step))
        return people.why_not(_name(said), said.action, via=said.via, final=final)

    async def say(self, said: Said) -> Answer:
        """Check it and send it. Raises Unavailable when that cannot be done now: the same word may be said again."""
        incident = await self.find(said.incident_id)
        if incident is None:
            return Answer(
                False, f"No incident {clean(said.incident_id, 80)} is known here; it may be too old.", known=False
            )
        stop = self.why_not(said, incident)
        if stop:
            return await self.refuse(said, stop, incident)
        await self._send(self._request(said, incident.key_id, incident.incident_id, incident.facts))
        return Answer(True, f"{_taken(said)} The incident was {INCIDENT_WORDS[incident.state]}.")

    async def say_of_key(self, said: Said, key_id: str, facts: KeyFacts) -> Answer:
        """The same of a key, whether or not it has an incident; `facts` are what is known of it."""
        known = self.incidents.of_key(key_id)
        incident_id = known.incident_id if known is not None and known.state not in CLOSED else ""
        request, stop = self._request(said, key_id, incident_id, facts), self.why_not(said, None)
        if stop:
            await self._refused(request, stop)
            return Answer(False, f"Not taken: {stop}.")
        await self._send(request)
        return Answer(True, _taken(said))

    async def refuse(self, said: Said, why: str, incident: Incident | None) -> Answer:
        """A word that does not count: kept with the reason, and told."""
        key_id, facts = (incident.key_id, incident.facts) if incident else ("", None)
        await self._refused(self._request(said, key_id, said.incident_id, facts), why)
        return Answer(False, f"Not taken: {why}.")

    def _request(self, said: Said, key_id: str, incident_id: str, facts: KeyFacts | None) -> Request:
        return Request(
            request_id=said.said_id, at_ms=self._now_ms(), by=_name(said), action=said.action, key_id=key_id,
            incident_id=incident_id, via=said.via, until_ms=said.until_ms, step=said.step,
            reason=redact(said.reason)[:_REASON_MAX], facts=facts,
        )  # fmt: skip


def _taken(said: Said) -> str:
    return f"Taken: {said.action.replace('_', ' ')}, by {_name(said)}."


def _name(said: Said) -> str:
    return said.person.name if said.person else said.who


def is_final(incident: Incident, said: Said) -> bool:
    """Whether the step that is asked for, or waits, cannot be undone."""
    if said.step == "revoke":
        return True
    waiting = [step for step in incident.steps if step.state == StepState.AWAITING_APPROVAL]
    return any(not step.reversible for step in waiting if said.step in (None, step.step))
