"""Whether what somebody answers is still to be answered: the message they pressed may be older than the world. Pure."""

from __future__ import annotations

from typing import Final

from alerting.answers.desk import Said
from alerting.steps import can_be_restored, waiting
from alerting.words import INCIDENT_WORDS, STATE_WORDS, STEP_WORDS, clean
from schemas.records import CLOSED, Incident, Step, StepState

_GOING: Final = frozenset({StepState.IN_FLIGHT, StepState.CONFIRMED})


def why_over(incident: Incident, said: Said) -> str:
    """Why the word comes too late; empty while it does not. Rights are asked first: a stranger learns no more."""
    if said.action == "restore":
        return "" if can_be_restored(incident) else "nothing is in force that could be undone"
    over = incident.state == "false_positive" if said.action == "false_positive" else incident.state in CLOSED
    if over:
        return f"the incident is over: {_state(incident)}"
    if said.action in ("approve", "reject"):
        return _not_waiting(incident, said)
    if said.action == "acknowledge" and incident.state != "open":
        return f"the incident is already {_state(incident)}"
    if said.action == "snooze" and incident.state == "contained":
        return f"the incident is {_state(incident)}, there is nothing to snooze"
    return _already(incident, said.step) if said.action == "contain" else ""


def _not_waiting(incident: Incident, said: Said) -> str:
    for step in waiting(incident):
        if said.step not in (None, step.step):
            continue
        name = said.person.name if said.person else said.who
        if said.action == "approve" and name in step.approvals:
            return f"{name} stands behind it already; it needs somebody else too"
        return ""
    return _already(incident, said.step) or "nothing waits for an approval any more"


def _already(incident: Incident, step: Step | None) -> str:
    known = next((each for each in reversed(incident.steps) if each.step == step), None)
    if known is None or known.state not in _GOING:
        return ""
    return f"{STEP_WORDS[known.step]} is already {STATE_WORDS[known.state]}"


def _state(incident: Incident) -> str:
    by = "" if incident.by == "keyfuse" else f" (the latest word is by {clean(incident.by, 80)})"
    return f"{INCIDENT_WORDS[incident.state]}{by}"
