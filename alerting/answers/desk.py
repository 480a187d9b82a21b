"""What people say, wherever they say it: known person, right role, known incident; then a record for the decide stage.

The decide stage checks the role again. Here it is checked so that who may not is told so at once, where they clicked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol

from alerting.words import INCIDENT_WORDS, clean
from controls.people import People, Person
from schemas.records import Incident, PeoplesAction, Request, Step, StepState, Via
from schemas.redact import redact

_REASON_MAX: Final = 500


class Incidents(Protocol):
    """Where an incident is looked up."""

    def get(self, incident_id: str) -> Incident | None: ...

    def of_key(self, key_id: str) -> Incident | None: ...

    def open(self) -> list[Incident]: ...


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


async def unwritten(_request: Request, _why: str) -> None:
    """Nobody keeps what was refused."""


class Desk:
    """Takes what people say.

    `send` passes on what counts, `refused` keeps what does not, with the reason; they return when the broker has it.
    They and `older` may raise Unavailable.
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
    ) -> None:
        self.people = people
        self.incidents = incidents
        self._send = send
        self._older = older
        self._refused = refused
        self._now_ms = now_ms

    async def say(self, said: Said) -> Answer:
        """Check it and send it. Raises Unavailable when that cannot be done now: the same word may be said again."""
        incident = self.incidents.get(said.incident_id) or await self._older(said.incident_id)
        if incident is None:
            return Answer(
                False, f"No incident {clean(said.incident_id, 80)} is known here; it may be too old.", known=False
            )
        name = said.person.name if said.person else said.who
        people = self.people()
        stop = people.why_not(name, said.action, via=said.via, final=is_final(incident, said))
        if said.person is None and people.enforced:  # an id from elsewhere is no name, even where it looks like one
            stop = f"{name} is not in people.yaml"
        request = Request(
            request_id=said.said_id, at_ms=self._now_ms(), by=name, action=said.action, key_id=incident.key_id,
            incident_id=incident.incident_id, via=said.via, until_ms=said.until_ms, step=said.step,
            reason=redact(said.reason)[:_REASON_MAX], facts=incident.facts,
        )  # fmt: skip
        if stop:
            await self._refused(request, stop)
            return Answer(False, f"Not taken: {stop}.")
        await self._send(request)
        what = said.action.replace("_", " ")
        return Answer(True, f"Taken: {what}, by {name}. The incident was {INCIDENT_WORDS[incident.state]}.")


def is_final(incident: Incident, said: Said) -> bool:
    """Whether the step that is asked for, or waits, cannot be undone."""
    if said.step == "revoke":
        return True
    waiting = [step for step in incident.steps if step.state == StepState.AWAITING_APPROVAL]
    return any(not step.reversible for step in waiting if said.step in (None, step.step))
