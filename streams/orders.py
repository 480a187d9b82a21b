"""The decide stage's orders and what it notes of people's words. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from alerting.case import Change, KeyCase
from containment.ladder import KEYFUSE, Choice
from containment.providers.base import StepSpec
from schemas.records import (
    AuditRow,
    Command,
    Incident,
    KeyFacts,
    Mark,
    Mode,
    Request,
    Step,
    StepState,
    Verdict,
    stable_id,
)

_PEOPLES_STEPS: tuple[Step, ...] = ("disable", "block", "throttle", "revoke")
_VERDICTS: Final[Mapping[str, Verdict]] = {"false_positive": "false_positive", "expected": "expected"}


class Asked(NamedTuple):
    """A step that a person asks for, or approves."""

    incident: Incident | None
    facts: KeyFacts
    step: Step
    reversible: bool
    approvals: tuple[str, ...]  # who stands behind it, they among them


def asked_for(
    case: KeyCase | None, request: Request, facts: KeyFacts, offered: Mapping[Step, StepSpec], *, patience_s: float
) -> Asked | str:
    """What a `contain` or an `approve` means; in words why it means nothing.

    Who stands behind the step for longer than `patience_s` does not count, also while event time stands still.
    """
    incident = case.incident if case else None
    waiting = (
        {step.step: step for step in incident.steps if step.state == StepState.AWAITING_APPROVAL} if incident else {}
    )
    if request.action == "approve" and (not waiting or (request.step and request.step not in waiting)):
        return f"{request.step or 'nothing'} waits for an approval: it may have run, expired or been rejected"
    step = request.step or next(iter(waiting), None) or _usual(request, offered)
    if step is None or step not in offered:
        return f"{facts.provider} offers no such step for this key: name one that it has"
    asked = waiting.get(step)
    before = asked.approvals if asked and request.at_ms <= asked.at_ms + patience_s * 1000 else ()
    people = tuple(sorted({*before, request.by}))
    return Asked(incident, facts, step, offered[step].reversible, people)


def _usual(request: Request, offered: Mapping[Step, StepSpec]) -> Step | None:
    """Of the identity stage never less than a cut, and never what cannot be undone: a person orders that."""
    if request.via != "identity":
        return peoples_step(offered)
    steps: tuple[Step, ...] = ("disable", "block")
    return next(
        (each for each in steps if each in offered and offered[each].scope == "key" and offered[each].reversible), None
    )


def peoples_step(offered: Mapping[Step, StepSpec]) -> Step | None:
    """What a person means who names no step: never what stops healthy keys besides. That has to be named."""
    return next((step for step in _PEOPLES_STEPS if step in offered and offered[step].scope == "key"), None)


def persons(asked: Asked, request: Request, mode: Mode) -> Command:
    """A person's order. The same rung of the same incident is the same command, whoever asks.

    What the identity stage orders because nobody answers is nobody's word: `mode`, caps and freezes hold for it.
    """
    automatic = request.via == "identity" and request.by == KEYFUSE
    incident_id = asked.incident.incident_id if asked.incident else f"manual:{request.request_id}"
    return Command(
        command_id=Command.id_of(incident_id, request.key_id, asked.step), at_ms=request.at_ms,
        incident_id=incident_id, key_id=request.key_id, step=asked.step, automatic=automatic,
        reversible=asked.reversible, mode=mode if automatic else "auto", by=request.by,
        approvals=() if automatic else asked.approvals, reason=request.reason or f"{request.by} asked for it",
        alone=request.alone, facts=asked.facts,
    )  # fmt: skip


def automatic(incident: Incident, choice: Choice, at_ms: int) -> Command:
    """The ladder's order."""
    assert choice.step is not None  # noqa: S101 - the caller checked
    return Command(
        command_id=Command.id_of(incident.incident_id, incident.key_id, choice.step), at_ms=at_ms,
        incident_id=incident.incident_id, key_id=incident.key_id, step=choice.step, automatic=choice.automatic,
        reversible=choice.reversible, mode=choice.mode, by="keyfuse", reason=choice.reason, facts=incident.facts,
    )  # fmt: skip


def given_back(request: Request, facts: KeyFacts) -> Command:
    """What the identity stage did to a key is undone, where no incident holds it."""
    incident_id = f"manual:{request.request_id}"
    return Command(
        command_id=Command.id_of(incident_id, request.key_id, "restore"), at_ms=request.at_ms, incident_id=incident_id,
        key_id=request.key_id, step="restore", automatic=False, reversible=True, mode="auto", by=request.by,
        reason=request.reason, facts=facts,
    )  # fmt: skip


def restore(case: KeyCase, *, at_ms: int, by: str, reason: str) -> Command:
    """Give the key back."""
    incident = case.incident
    assert incident is not None  # noqa: S101 - whoever wants a restore has an incident
    return Command(
        command_id=Command.id_of(f"{incident.incident_id}:{incident.seq}", incident.key_id, "restore"), at_ms=at_ms,
        incident_id=incident.incident_id, key_id=incident.key_id, step="restore", automatic=False, reversible=True,
        mode="auto", by=by, reason=reason, facts=incident.facts,
    )  # fmt: skip


def marks_of(change: Change, request: Request) -> tuple[Mark, ...]:
    """A false positive teaches the detectors that spoke; one that only a person had ordered teaches nobody.

    What is expected until a time moves thresholds until then.
    """
    verdict = _VERDICTS.get(request.action)
    if verdict is None:
        return ()
    return tuple(_mark(told, request, verdict) for told in change.incidents if told.families)


def _mark(told: Incident, request: Request, verdict: Verdict) -> Mark:
    over_ms = max(told.opened_at_ms, told.last_finding_at_ms)
    expected = verdict == "expected"
    # What is expected of a key tells nothing of whether the incident was a theft: it has a name of its own.
    name = Mark.id_of("", "key", told.key_id, verdict, request.request_id) if expected else Mark.id_of(told.incident_id)
    return Mark(
        mark_id=name, at_ms=request.at_ms, by=request.by or "unknown", verdict=verdict,
        reason=request.reason or "no reason was given", key_id=told.key_id, incident_id=told.incident_id,
        families=() if expected else told.families, from_ms=request.at_ms if expected else told.opened_at_ms,
        until_ms=(request.until_ms or over_ms) if expected else over_ms,
    )  # fmt: skip


def word_row(request: Request, result: str, why: str) -> AuditRow:
    """A person's word in the audit: also one that did not count."""
    return AuditRow(
        audit_id=stable_id("aud", "word", request.request_id), at_ms=request.at_ms, actor=request.by,
        action=request.action, key_id=request.key_id, incident_id=request.incident_id, command_id="", result=result,
        detail={
            "via": request.via, "why": why, "reason": request.reason, "step": request.step or "",
            "until_ms": request.until_ms,
        },
    )  # fmt: skip
