"""What ends an incident without a word: approvals end, a snooze ends, silence resolves, a key is registered. Pure.

Each happens at the moment it was due, not when somebody looked, so that a replay says the same.
"""

from __future__ import annotations

from functools import partial

from alerting.budgets import why_stays
from alerting.case import Change, KeyCase, closed, version, with_waiting
from alerting.loss import pace_words
from alerting.steps import cut_step, needs_person, pending, still_cut_words
from alerting.words import span
from schemas.config.responses import ResponsesConfig
from schemas.records import Incident, StepState


def on_silence(case: KeyCase, clock_ms: int, *, responses: ResponsesConfig) -> Change:
    """The clock moved on: an incident without findings for `resolve_after_s` resolves itself, unless a person must act.

    What waited too long for an approval is no longer asked for, and a snooze ends.
    """
    if case.open is None:
        return Change(case, (), "no open incident")
    over_ms = max(case.open.last_finding_at_ms, case.live_since_ms) + int(responses.resolve_after_s * 1000)
    silent = clock_ms >= over_ms and not (_why_stays(case.open) or why_stays(case.open, clock_ms))
    told: list[Incident] = []
    reason, until_ms = "not silent for long enough", min(clock_ms, over_ms) if silent else clock_ms
    for due in (partial(_expire, patience_s=responses.approvals.expire_after_s), _wake):
        change = due(case, until_ms)
        if change is not None:
            case, reason = change.case, change.reason
            told.extend(change.incidents)
    if silent and case.open is not None:
        nothing = "nothing suspicious" if case.open.budget is None else "nothing new of this budget"
        words = f"Resolved: {nothing} for {span(responses.resolve_after_s)}.{still_cut_words(case.open)}"
        resolved = case.open.model_copy(update={"state": "resolved"})
        change = closed(case, resolved, at_ms=over_ms, by="keyfuse", transition=words)
        return change._replace(incidents=(*told, *change.incidents))
    if not told and case.open is not None:
        reason = _why_stays(case.open) or why_stays(case.open, clock_ms) or reason
    return Change(case, tuple(told), reason)


def on_registered(case: KeyCase, clock_ms: int) -> Change:
    """Somebody answers for the key now: an incident that was about nothing else is over."""
    incident = case.open
    if incident is None or case.census != ("unknown_key",) or incident.families != ("identity",) or incident.steps:
        return Change(case, (), "it is not about the registration alone")
    words = "Resolved: the key is registered now."
    return closed(
        case, incident.model_copy(update={"state": "resolved"}), at_ms=clock_ms, by="keyfuse", transition=words
    )


def _why_stays(incident: Incident) -> str:
    """Why silence proves nothing here; empty where it does."""
    if needs_person(incident):
        return "a step has failed: a person must act and resolve it"
    if incident.leaks and cut_step(incident) is None:
        return "the key was found by others and still works: a person must act and resolve it"
    if incident.only_told and cut_step(incident) is None and not incident.of_no_key:
        return "whose use this is does not get clear by silence: a person must register the key or resolve it"
    return ""


def _expire(case: KeyCase, clock_ms: int, *, patience_s: float) -> Change | None:
    """An approval asked for yesterday is no approval of what is so today."""
    incident = case.open
    asked = [step.at_ms for step in incident.steps if step.state == StepState.AWAITING_APPROVAL] if incident else []
    over_ms = min(asked, default=clock_ms) + int(patience_s * 1000)
    if incident is None or not asked or clock_ms < over_ms:
        return None
    steps = with_waiting(incident, StepState.SUPERSEDED, f"nobody approved within {span(patience_s)}")
    words = (
        f"Nobody approved within {span(patience_s)}: {', '.join(pending(incident))}. It is asked for again if the key "
        "goes on like this."
    )
    return version(case, incident.model_copy(update={"steps": steps}), at_ms=over_ms, by="keyfuse", transition=words)


def _wake(case: KeyCase, clock_ms: int) -> Change | None:
    """The snooze is over. A key that was cut meanwhile wakes nobody."""
    incident = case.open
    if incident is None or incident.snoozed_until_ms is None or clock_ms < incident.snoozed_until_ms:
        return None
    until_ms, awake = incident.snoozed_until_ms, incident.model_copy(update={"snoozed_until_ms": None})
    if incident.state != "acknowledged":
        return Change(case.model_copy(update={"incident": awake}), (), "the snooze is over")
    words = f"The snooze is over and this is not: {pace_words(incident)}."
    return version(case, awake.model_copy(update={"state": "open"}), at_ms=until_ms, by="keyfuse", transition=words)
