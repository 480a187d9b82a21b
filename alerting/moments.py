"""The moments of an incident that its picture marks: when it was first suspicious, and each step. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from alerting.words import STATE_WORDS
from schemas.records import Incident, IncidentStep, StepState

MOST: Final = 4
_VERBS: Final = {
    "notify": "people told", "throttle": "throttled", "degrade": "degraded", "block": "blocked", "disable": "disabled",
    "revoke": "revoked", "restore": "restored", "switch": "users switched",
}  # fmt: skip
_SAID: Final = {
    StepState.DRY_RUN: "dry run", StepState.REFUSED: "refused", StepState.IRREVOCABLE: "FAILED",
    StepState.AWAITING_APPROVAL: "waits for approval", StepState.REJECTED: "rejected",
}  # fmt: skip


class Moment(NamedTuple):
    """One mark: when, and what happened in a few words."""

    at_ms: int
    words: str
    done: bool  # it changed the world; False: only said, ordered or refused


def moments(incident: Incident) -> tuple[Moment, ...]:
    """The first finding and the newest steps, oldest first; at most four."""
    steps = [_moment(step) for step in incident.steps if step.state is not StepState.SUPERSEDED]
    newest = sorted(steps, key=lambda moment: moment.at_ms)[-(MOST - 1) :]
    return (Moment(incident.opened_at_ms, "first suspicious", done=False), *newest)


def _moment(step: IncidentStep) -> Moment:
    if step.state is StepState.CONFIRMED:
        return Moment(step.at_ms, _VERBS[step.step], done=True)
    return Moment(step.at_ms, f"{step.step}: {_SAID.get(step.state, STATE_WORDS[step.state])}", done=False)
