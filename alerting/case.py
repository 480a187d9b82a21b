"""All that is remembered of one key between messages, and the value that each message turns into. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from pydantic import Field

from schemas.records import CLOSED, TOLD, Finding, Incident, IncidentStep, Record, StepState, stable_id

REPEAT: Final = "repeat"  # the reason of every change that is none because the message came before
_SEEN_MAX: Final = 64  # more (family, detector) pairs than there are detectors
_HEARD_MAX: Final = 64  # commands, outcomes and requests: a few for each incident
_STEPS_MAX: Final = 32
_LEAKED_MAX: Final = 64  # places where one key was found; a further report of a forgotten one is told again
_SETTLED: Final = frozenset({StepState.DRY_RUN, StepState.REFUSED, StepState.SUPERSEDED, StepState.REJECTED})


class KeyCase(Record):
    """One key's memory: bounded, the same on every machine, stored between messages."""

    key_id: str
    incident: Incident | None = None  # the newest one, open or closed; its `seq` is the last one told
    closed_at_ms: int | None = None  # of the newest closed incident
    closed_id: str = ""
    live_since_ms: int = 0  # when a person or a failure last opened the incident without a finding
    seen: dict[str, int] = Field(default_factory=dict)  # family/detector -> its newest finding
    heard: tuple[str, ...] = ()  # marks of the commands, outcomes and requests already applied
    headline_certain: bool = False  # strength of the finding that gave the headline
    headline_score: float = 0.0
    told_lost_usd: float = 0.0  # the loss that the last version showed
    leaked: tuple[str, ...] = Field(default=(), exclude_if=lambda marks: not marks)  # marks of leak reports heard
    census: tuple[str, ...] = Field(default=(), exclude_if=lambda kinds: not kinds)  # what it told of the open incident

    @property
    def open(self) -> Incident | None:
        """The open incident; there is never more than one."""
        return self.incident if self.incident and self.incident.state not in CLOSED else None


class Change(NamedTuple):
    """What one message changed."""

    case: KeyCase
    incidents: tuple[Incident, ...] = ()  # no or one new version; of a clock that jumped, several
    reason: str = ""  # why there is a new version, or why there is none
    wants_restore: bool = False  # a healthy key is cut or will be: give it back


def case_of(case: KeyCase | None, key_id: str) -> KeyCase:
    """The case, or a new one. ValueError when it belongs to another key: mixing two would cut the wrong one."""
    if case is not None and case.key_id != key_id:
        raise ValueError(f"a message about {key_id} was given the case of {case.key_id}")
    return case or KeyCase(key_id=key_id)


def mark(*parts: object) -> str:
    """A short name of one message, to know it again."""
    return stable_id("m", *parts)[:14]


def hear(case: KeyCase, name: str) -> KeyCase:
    """Remember one message; the oldest is forgotten."""
    return case.model_copy(update={"heard": (*case.heard, name)[-_HEARD_MAX:]})


def see(case: KeyCase, finding: Finding) -> KeyCase | None:
    """Remember the finding; None when this or a newer one of the same detector was seen.

    A leak report is the same when key and place are the same, whenever it comes again.
    """
    if finding.family in TOLD:
        name = mark("leak", finding.finding_id)
        if name in case.leaked:
            return None
        kinds = dict.fromkeys((*case.census, finding.detector)) if finding.family == "identity" else case.census
        return case.model_copy(update={"leaked": (*case.leaked, name)[-_LEAKED_MAX:], "census": tuple(kinds)})
    name = f"{finding.family}/{finding.detector}"
    if finding.at_ms <= case.seen.get(name, -1):
        return None
    seen = {**case.seen, name: finding.at_ms}
    if len(seen) > _SEEN_MAX:
        del seen[min(seen, key=lambda each: (seen[each], each))]
    return case.model_copy(update={"seen": seen})


def with_step(incident: Incident, step: IncidentStep) -> Incident:
    """The incident with this rung added, or changed where the command is already shown."""
    known = any(each.command_id == step.command_id for each in incident.steps)
    steps = [step if each.command_id == step.command_id else each for each in incident.steps]
    if not known:
        steps.append(step)
    if len(steps) > _STEPS_MAX:  # what still matters stays: drop the oldest that came to nothing
        steps.remove(next((each for each in steps if each.state in _SETTLED), steps[0]))
    return incident.model_copy(update={"steps": tuple(steps)})


def with_waiting(incident: Incident, state: StepState, detail: str) -> tuple[IncidentStep, ...]:
    """The incident's steps, those that wait for an approval in another state."""
    update = {"state": state, "detail": detail}
    return tuple(
        each.model_copy(update=update) if each.state == StepState.AWAITING_APPROVAL else each for each in incident.steps
    )


def version(case: KeyCase, incident: Incident, *, at_ms: int, by: str, transition: str) -> Change:
    """Tell people: the incident's next version."""
    told = incident.model_copy(
        update={
            "asked_since_ms": _asked_since_ms(case.incident, incident, at_ms),
            "seq": incident.seq + 1,
            "updated_at_ms": max(incident.updated_at_ms, at_ms),
            "by": by,
            "transition": transition,
        }
    )
    return Change(case.model_copy(update={"incident": told, "told_lost_usd": told.lost_usd}), (told,), transition)


def _asked_since_ms(before: Incident | None, after: Incident, at_ms: int) -> int | None:
    """Who was told of something milder, or had it in hand, has not been asked about what is so now."""
    if before is None or before.incident_id != after.incident_id:
        return None
    again = after.state == "open" and before.state != "open"
    worse = after.severity == "critical" and before.severity != "critical"
    return at_ms if again or worse else before.asked_since_ms


def closed(case: KeyCase, incident: Incident, *, at_ms: int, by: str, transition: str) -> Change:
    """Tell people that it is over; `incident.state` says how. What waited for an approval is no longer wanted."""
    steps = with_waiting(incident, StepState.SUPERSEDED, "the incident was closed before anybody approved")
    over = incident.model_copy(update={"steps": steps, "snoozed_until_ms": None})
    change = version(case, over, at_ms=at_ms, by=by, transition=transition)
    update = {"closed_at_ms": change.incidents[0].updated_at_ms, "closed_id": incident.incident_id, "census": ()}
    return change._replace(case=change.case.model_copy(update=update))
